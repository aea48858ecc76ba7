//! Scores: whole numbers to the bit, all others within their bounds, and the same however they are asked for.

use proptest::prelude::*;

use super::{Used, definition, heads, output_norm, policies, prepare, report, run, score, scored};
use crate::backend::ReferenceLayer;
use crate::conformance::Path;
use crate::conformance::problem::{Problem, around_tiles, problems, sharp_problems};
use crate::conformance::rounding::{Bounds, ScoreBounds};
use crate::conformance::whole::{WholeProblem, whole_problems};
use crate::policy::Policy;
use crate::problem::LayerProblem;
use crate::scores::HeadScores;
use crate::shape::LayerIndex;

/// Whole-number problems score the same to the bit.
pub fn whole_number_scores_are_equal_to_the_bit(paths: &[Path]) {
    run(96, &whole_problems(60), |whole| {
        let problem = whole.problem.layer_problem(LayerIndex(2));
        let reference = definition(&problem);
        for path in paths {
            let layer = prepare(path, &problem);
            for policy in policies().iter().filter(|policy| is_whole(policy, &whole)) {
                let (found, expected) = (scored(layer.as_ref(), policy), scored(&reference, policy));
                let what = || format!("{}: {policy}, {whole:?}: {found:?}, not {expected:?}", path.name);
                assert!(is_equal(path, &found, &expected), "{}", what());
            }
            assert_eq!(output_norm(layer.as_ref()), output_norm(&reference), "{}: {whole:?}", path.name);
        }
    });
}

/// Whether a policy's score of whole-number problems is whole, too.
fn is_whole(policy: &Policy, problem: &WholeProblem) -> bool {
    policy.name() != "centred" || problem.class_len == 2
}

/// Whether scores are the expected ones to the bit, as the path hands them over.
fn is_equal(path: &Path, found: &HeadScores, expected: &HeadScores) -> bool {
    let handed_over = expected.values().map(|score| path.arithmetic.handed_over(score));
    found == expected || found.values().eq(handed_over)
}

/// The reference's scores of every policy.
pub struct Expected {
    /// In the order of [`policies`].
    pub scores: Vec<(Policy, HeadScores)>,
}

impl Expected {
    /// Scores a layer.
    #[must_use]
    pub fn new(reference: &ReferenceLayer) -> Self {
        let score = |policy: Policy| (policy, scored(reference, &policy));
        Self { scores: policies().into_iter().map(score).collect() }
    }
}

/// Holds a path's scores of every policy against the expected ones; the scores found and their bounds, policy by policy.
pub fn hold_scores(
    path: &Path,
    problem: &LayerProblem<'_>,
    bounds: &Bounds<'_>,
    expected: &Expected,
    used: &mut Used,
) -> Vec<(HeadScores, ScoreBounds)> {
    let layer = prepare(path, problem);
    let hold = |(policy, expected): &(Policy, HeadScores)| {
        let (found, expected) = (scored(layer.as_ref(), policy), heads(expected));
        let bounds = bounds.scores(&score(policy), &expected);
        for (head, found) in found.heads().enumerate() {
            assert_eq!(found.len(), expected[head].len(), "{}: {policy}", path.name);
            for (position, &found) in found.iter().enumerate() {
                let what = || format!("{}: {policy}, KV head {head}, position {position}", path.name);
                used.hold(what, found, expected[head][position], bounds[head][position]);
            }
        }
        (found, bounds)
    };
    expected.scores.iter().map(hold).collect()
}

fn hold_scores_of(claim: &str, paths: &[Path], cases: u32, strategy: &impl Strategy<Value = Problem>) {
    let mut used = vec![Used::default(); paths.len()];
    run(cases, strategy, |problem| {
        let layer_problem = problem.layer_problem(LayerIndex(1));
        let reference = definition(&layer_problem);
        let expected = Expected::new(&reference);
        for (path, used) in paths.iter().zip(&mut used) {
            let bounds = Bounds::new(&layer_problem, &reference, path.arithmetic);
            hold_scores(path, &layer_problem, &bounds, &expected, used);
        }
    });
    paths.iter().zip(used).for_each(|(path, used)| report(claim, path, used));
}

/// Scores of alive problems are within the derived bounds.
pub fn scores_are_within_their_bounds(paths: &[Path]) {
    hold_scores_of("scores", paths, 128, &problems());
}

/// So they are if nearly every row is one-hot.
pub fn scores_of_sharp_rows_are_within_their_bounds(paths: &[Path]) {
    hold_scores_of("scores of sharp rows", paths, 64, &sharp_problems());
}

/// So they are for sizes around the path's tiles.
pub fn scores_of_tiles_and_their_neighbours_are_within_their_bounds(paths: &[Path]) {
    for path in paths {
        hold_scores_of("scores around tiles", std::slice::from_ref(path), 24, &around_tiles(&path.tiles));
    }
}

/// Projections of rank one, of rank zero, and narrower than a head score within their bounds.
pub fn a_rank_deficient_projection_is_within_its_bounds(paths: &[Path]) {
    let deficient = (problems(), 0..3_usize).prop_map(|(mut problem, rank)| {
        let width = problem.sizes.query_heads() * problem.sizes.head_dim;
        let first: Vec<f64> = problem.projection[..width].to_vec();
        for (row, numbers) in problem.projection.chunks_exact_mut(width).enumerate() {
            match rank {
                0 => numbers.fill(0.0),
                1 => numbers
                    .iter_mut()
                    .zip(&first)
                    .for_each(|(number, first)| *number = first / (1.0 + row as f64)),
                _ => numbers.chunks_exact_mut(problem.sizes.head_dim).for_each(|head| head[0] = 0.0),
            }
        }
        problem
    });
    hold_scores_of("rank-deficient scores", paths, 48, &deficient);
}

/// A layer that knows its scores in advance gives the same numbers as one that does not, to the bit.
pub fn scores_do_not_depend_on_what_is_shared(paths: &[Path]) {
    run(32, &problems(), |problem| {
        let problem = problem.layer_problem(LayerIndex(0));
        let policies = policies();
        for path in paths {
            let (mut shared, alone) = (prepare(path, &problem), prepare(path, &problem));
            shared.share(&policies.iter().map(score).collect::<Vec<_>>());
            for policy in &policies {
                let scores = [shared.as_ref(), alone.as_ref()].map(|layer| scored(layer, policy));
                assert_eq!(scores[0], scores[1], "{}: {policy}", path.name);
            }
        }
    });
}
