//! Paths on one sample, layer by layer: scores and errors within their bounds, and the sets that all layers' scores lead to.

use super::body::{Expected, Margins, Used, definition, hold_errors, hold_scores, policies};
use super::{Bounds, Path};
use crate::backend::{Backend, Reference};
use crate::budget::CandidatesPerHead;
use crate::policy::Policy;
use crate::problem::LayerProblem;
use crate::retained::RetainedSet;
use crate::scored::Scored;
use crate::scores::{HeadScores, ModelScores};
use crate::shape::{LayerOrdinal, LayerShape};

/// The results of paths on one sample so far.
pub struct Sample {
    shown: Vec<Shown>,
}

/// The results of one path.
struct Shown {
    path: Path,
    of_scores: Used,
    of_errors: Used,
    scored: Vec<OfPolicy>,
}

/// One policy's scores of the layers, by the reference and by the path, and how far they may be apart.
struct OfPolicy {
    policy: Policy,
    expected: Vec<HeadScores>,
    found: Vec<HeadScores>,
    bounds: Vec<Vec<f64>>,
}

impl Sample {
    /// Starts without results.
    #[must_use]
    pub fn new(paths: Vec<Path>) -> Self {
        let nothing =
            |policy| OfPolicy { policy, expected: Vec::new(), found: Vec::new(), bounds: Vec::new() };
        let shown = |path| Shown {
            path,
            of_scores: Used::default(),
            of_errors: Used::default(),
            scored: policies().into_iter().map(nothing).collect(),
        };
        Self { shown: paths.into_iter().map(shown).collect() }
    }

    /// Holds every path's scores and errors of one layer against the reference's.
    pub fn hold_layer(&mut self, problem: &LayerProblem<'_>) {
        let reference = definition(problem);
        let expected = Expected::new(&reference);
        let set = every_fifth(problem.shape());
        for Shown { path, of_scores, of_errors, scored } in &mut self.shown {
            let bounds = Bounds::new(problem, &reference, path.arithmetic);
            let found = hold_scores(path, problem, &bounds, &expected, of_scores);
            for ((scored, (_, expected)), (found, bounds)) in
                scored.iter_mut().zip(&expected.scores).zip(found)
            {
                scored.expected.push(expected.clone());
                scored.found.push(found);
                scored.bounds.extend(bounds);
            }
            hold_errors(path, problem, &reference, set.layer(LayerOrdinal(0)), of_errors);
        }
    }

    /// Holds the paths' retained sets of all layers against the reference's, and prints a summary of `sample`.
    pub fn hold_sets(&self, sample: &str, window_len: usize) {
        for Shown { path, of_scores, of_errors, scored } in &self.shown {
            let sets: usize = scored.iter().map(|scored| sets_agree(path, scored, window_len)).sum();
            eprintln!(
                "{sample}: {}: at most {:.4} of a bound used by scores, {:.4} by errors; {sets} sets differ in near-ties",
                path.name, of_scores.0, of_errors.0,
            );
        }
    }
}

/// The window and every fifth candidate.
fn every_fifth(shape: LayerShape) -> RetainedSet {
    let kept: Vec<u32> = (0..shape.candidate_len() as u32).step_by(5).collect();
    let heads = vec![kept; shape.kv_heads];
    RetainedSet::from_candidates(shape.kv_heads, shape.context_len, shape.window_len, &heads)
        .expect("ascending candidates")
}

/// Cuts both scores over all layers, and says in how many of the budgets the sets differ at all.
fn sets_agree(path: &Path, scored: &OfPolicy, window_len: usize) -> usize {
    let model = |layers: &[HeadScores]| ModelScores::new(layers.to_vec()).expect("layers of one shape");
    let (expected, found) = (model(&scored.expected), model(&scored.found));
    let margins = Margins {
        scores: scored.expected.iter().flat_map(HeadScores::heads).map(<[f64]>::to_vec).collect(),
        bounds: scored.bounds.clone(),
    };
    let mut differing = 0;
    for allocation in ["head", "model-raw"] {
        let Ok(policy) = scored.policy.with("allocation", allocation) else { continue };
        for share in [20, 5] {
            let per_head = CandidatesPerHead(expected.candidate_len() / share);
            let kept = |backend: &dyn Backend, scores: &ModelScores| {
                let scores = Scored::of_host(scores.clone(), window_len);
                backend.cut(&policy, &scores, per_head).expect("finite scores are cut")
            };
            let (one, two) = (kept(&Reference, &expected), kept(path.backend.as_ref(), &found));
            let what = format!("{}: {policy} at {per_head:?}", path.name);
            margins.assert_agree(&what, &one, &two, allocation == "head");
            differing += usize::from(one != two);
        }
    }
    differing
}
