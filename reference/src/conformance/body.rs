//! The claims, one function each. Every one prints the largest share of a bound that it saw used.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::Path;
use super::compare::{Stated, assert_agrees};
use super::problem::{Problem, Sizes, problems, problems_with_candidates};
use super::rounding::{Bounds, ScoreBounds};
use super::whole::{WholeProblem, whole_problems};
use crate::backend::{Backend, PreparedLayer, Reference};
use crate::error::Error;
use crate::layer::Layer;
use crate::output_error::{ObjectiveError, OutputErrors};
use crate::policies::POLICIES;
use crate::policy::{Policy, Rule};
use crate::problem::LayerProblem;
use crate::retained::{LayerRetained, RetainedSet};
use crate::scores::{HeadScores, ModelScores};
use crate::shape::LayerIndex;
use crate::tensor::{Elements, TensorView};

/// The scores that paths compute on their own, each group rule and kind of pooling at least once.
const SCORES: [&str; 11] = [
    "laprox:pool=none",
    "laprox",
    "laprox:gqa=attention,pool=none",
    "laprox:gqa=exact,pool=none",
    "laprox:gqa=exact,pool=max:3",
    "centred",
    "snapkv:pool=none",
    "snapkv",
    "snapkv:gqa=max,pool=max:5",
    "tova",
    "tova:pool=avg:3",
];

/// Every policy that ranks or keeps everything: those that paths compute on their own, and each entry's defaults.
#[must_use]
pub fn policies() -> Vec<Policy> {
    let scores = |rule| !matches!(rule, Rule::Oracle(_) | Rule::Unavailable(_));
    let defaults = POLICIES.iter().filter(|entry| scores(entry.rule)).map(|entry| entry.name);
    let mut policies: Vec<Policy> = Vec::new();
    for name in SCORES.into_iter().chain(defaults) {
        let policy: Policy = name.parse().expect("a policy of the table parses");
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    policies
}

/// The largest share of a bound that was used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used(pub f64);

impl Used {
    /// Asserts that two numbers are equal or differ by at most `bound`.
    #[track_caller]
    pub fn hold(&mut self, what: impl Fn() -> String, found: f64, expected: f64, bound: f64) {
        if found.to_bits() == expected.to_bits() {
            return;
        }
        assert_agrees(&what(), found, Stated { value: expected, magnitude: bound }, 1.0);
        self.0 = self.0.max((found - expected).abs() / bound);
    }
}

/// Says what was seen of a claim.
fn report(claim: &str, path: &Path, used: Used) {
    eprintln!("{claim}, {}: at most {:.4} of a bound used", path.name, used.0);
}

fn run<T: std::fmt::Debug>(cases: u32, strategy: &impl Strategy<Value = T>, mut test: impl FnMut(T)) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let test = std::cell::RefCell::new(&mut test);
    let result = runner.run(strategy, |value| {
        (test.borrow_mut())(value);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

fn prepare<'a>(path: &Path, problem: &LayerProblem<'a>) -> Box<dyn PreparedLayer + 'a> {
    path.backend.prepare(problem).unwrap_or_else(|error| panic!("{}: {error}", path.name))
}

/// Scores of a policy, `[Hkv][n - w]`.
fn heads(scores: &HeadScores) -> Vec<Vec<f64>> {
    scores.heads().map(<[f64]>::to_vec).collect()
}

fn scored(layer: &dyn PreparedLayer, policy: &Policy) -> HeadScores {
    layer.score(policy).unwrap_or_else(|error| panic!("{policy}: {error}"))
}

/// Whether a policy's score of whole-number problems is whole, too.
fn is_whole(policy: &Policy, problem: &WholeProblem) -> bool {
    policy.name() != "centred" || problem.class_len == 2
}

/// Whether scores are the expected ones to the bit, as the path hands them over.
fn is_equal(path: &Path, found: &HeadScores, expected: &HeadScores) -> bool {
    let handed_over = expected.values().iter().map(|&score| path.arithmetic.handed_over(score));
    found == expected || found.values().iter().copied().eq(handed_over)
}

/// Whole-number problems score the same to the bit.
pub fn whole_number_scores_are_equal_to_the_bit(paths: &[Path]) {
    run(96, &whole_problems(60), |whole| {
        let problem = whole.problem.layer_problem(LayerIndex(2));
        let reference = Layer::new(&problem);
        for path in paths {
            let layer = prepare(path, &problem);
            for policy in policies().iter().filter(|policy| is_whole(policy, &whole)) {
                let (found, expected) = (scored(layer.as_ref(), policy), scored(&reference, policy));
                let what = || format!("{}: {policy}, {whole:?}: {found:?}, not {expected:?}", path.name);
                assert!(is_equal(path, &found, &expected), "{}", what());
            }
            assert_eq!(layer.output_norm(), reference.output_norm(), "{}: {whole:?}", path.name);
        }
    });
}

/// Evictions of whole-number problems cost the same to the bit.
pub fn whole_number_errors_are_equal_to_the_bit(paths: &[Path]) {
    run(96, &whole_problems(60), |whole| {
        let problem = whole.problem.layer_problem(LayerIndex(0));
        let retained = whole.problem.retained(&whole.keeps);
        let expected = Layer::new(&problem).evaluate(retained.layer(0)).expect("a set of these sizes");
        for path in paths {
            let found = prepare(path, &problem).evaluate(retained.layer(0)).expect("a set of these sizes");
            assert_eq!(found, expected, "{}: {whole:?}", path.name);
        }
    });
}

/// The reference's scores of every policy.
pub struct Expected {
    /// In the order of [`policies`].
    pub scores: Vec<(Policy, HeadScores)>,
}

impl Expected {
    /// Scores a layer.
    #[must_use]
    pub fn new(reference: &Layer) -> Self {
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
        let bounds = bounds.scores(policy, &expected);
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
        let reference = Layer::new(&layer_problem);
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

/// So they are where nearly every row is one-hot.
pub fn scores_of_sharp_rows_are_within_their_bounds(paths: &[Path]) {
    hold_scores_of(
        "scores of sharp rows",
        paths,
        64,
        &problems().prop_map(|problem| problem.sharpened(30.0)),
    );
}

/// So they are for sizes around the path's tiles.
pub fn scores_of_tiles_and_their_neighbours_are_within_their_bounds(paths: &[Path]) {
    for path in paths {
        hold_scores_of("scores around tiles", std::slice::from_ref(path), 24, &around_tiles(&path.tiles));
    }
}

/// Alive problems with sizes at, one below and one above a tile's.
fn around_tiles(tiles: &[usize]) -> impl Strategy<Value = Problem> + use<> {
    let near = |most: usize| -> Vec<usize> {
        let mut sizes: Vec<usize> =
            tiles.iter().flat_map(|&tile| tile.saturating_sub(1)..=tile + 1).collect();
        sizes.push(1);
        sizes.retain(|&size| (1..=most).contains(&size));
        sizes
    };
    let sizes = (
        1..=2_usize,
        prop::sample::select(vec![1_usize, 3, 4, 8]),
        prop::sample::select(near(70)),
        prop::sample::select(near(70)),
        prop::sample::select([near(1000), vec![0]].concat()),
        prop::sample::select(near(50)),
        prop::sample::select([near(20), vec![0]].concat()),
    );
    (sizes, any::<u64>()).prop_map(|(sizes, seed)| {
        let (kv_heads, group_size, head_dim, hidden_dim, candidate_len, window_len, future_len) = sizes;
        let sizes =
            Sizes { kv_heads, group_size, head_dim, hidden_dim, candidate_len, window_len, future_len };
        Problem::alive(sizes, seed)
    })
}

/// Holds the errors of one eviction, and the norm of the output, against the reference's.
pub fn hold_errors(
    path: &Path,
    problem: &LayerProblem<'_>,
    reference: &Layer,
    retained: LayerRetained<'_>,
    used: &mut Used,
) {
    let bounds = Bounds::new(problem, reference, path.arithmetic);
    let layer = prepare(path, problem);
    let evaluate = |layer: &dyn PreparedLayer| {
        layer.evaluate(retained).unwrap_or_else(|error| panic!("{}: {error}", path.name))
    };
    let (found, expected) = (objectives(evaluate(layer.as_ref())), objectives(evaluate(reference)));
    let limits = bounds.errors(retained);
    assert_eq!((found.len(), expected.len()), (limits.len(), limits.len()), "{}", path.name);
    for (objective, limits) in limits.iter().enumerate() {
        let roots = |error: &ObjectiveError| {
            [error.layer_wise.squared_error.sqrt(), error.head_wise.squared_error.sqrt()]
        };
        let pairs = roots(&found[objective]).into_iter().zip(roots(&expected[objective])).zip(limits);
        for (form, ((found, expected), &limit)) in pairs.enumerate() {
            let what = || format!("{}: objective {objective}, form {form}", path.name);
            used.hold(what, found, expected, limit);
        }
    }
    let output = bounds.output_norm();
    let norms = [layer.output_norm(), found[0].layer_wise.squared_norm.sqrt()];
    norms.into_iter().for_each(|norm| {
        used.hold(|| format!("{}: output", path.name), norm, output.value, output.magnitude);
    });
}

fn objectives(errors: OutputErrors) -> Vec<ObjectiveError> {
    [Some(errors.drop), Some(errors.renormalised), errors.future].into_iter().flatten().collect()
}

fn hold_errors_of(claim: &str, paths: &[Path], cases: u32, strategy: &impl Strategy<Value = Problem>) {
    let mut used = vec![Used::default(); paths.len()];
    run(cases, strategy, |problem| {
        let layer_problem = problem.layer_problem(LayerIndex(0));
        let reference = Layer::new(&layer_problem);
        let seed = problem.seed.unwrap_or_default();
        for keeps in [problem.some_kept(seed), problem.all_kept(), problem.all_evicted()] {
            let retained = problem.retained(&keeps);
            for (path, used) in paths.iter().zip(&mut used) {
                hold_errors(path, &layer_problem, &reference, retained.layer(0), used);
            }
        }
    });
    paths.iter().zip(used).for_each(|(path, used)| report(claim, path, used));
}

/// Errors of evictions of some, no and all candidates are within the derived bounds, sharp rows included.
pub fn errors_are_within_their_bounds(paths: &[Path]) {
    hold_errors_of("errors", paths, 96, &problems());
    hold_errors_of(
        "errors of sharp rows",
        paths,
        48,
        &problems().prop_map(|problem| problem.sharpened(30.0)),
    );
}

/// So they are for sizes around the path's tiles.
pub fn errors_of_tiles_and_their_neighbours_are_within_their_bounds(paths: &[Path]) {
    for path in paths {
        hold_errors_of("errors around tiles", std::slice::from_ref(path), 16, &around_tiles(&path.tiles));
    }
}

/// Two paths' sets differ only in candidates whose score is within twice the bound of the cut.
pub fn retained_sets_agree_up_to_near_ties(paths: &[Path]) {
    run(64, &(problems_with_candidates(), any::<u64>()), |(problem, seed)| {
        let layer_problem = problem.layer_problem(LayerIndex(0));
        let reference = Layer::new(&layer_problem);
        let per_head = (seed % (problem.sizes.candidate_len as u64 + 1)) as usize;
        for path in paths {
            let layer = prepare(path, &layer_problem);
            let bounds = Bounds::new(&layer_problem, &reference, path.arithmetic);
            for policy in policies() {
                let expected = scored(&reference, &policy);
                let found = scored(layer.as_ref(), &policy);
                let bounds = bounds.scores(&policy, &heads(&expected));
                for allocation in ["head", "layer", "model-raw"] {
                    let Ok(policy) = policy.with("allocation", allocation) else { continue };
                    let keep = |backend: &dyn Backend, scores: &HeadScores| {
                        let scores =
                            ModelScores::new(vec![scores.clone()], vec![1.0], problem.sizes.kv_heads)?;
                        backend.evict(&policy, &scores, per_head, problem.sizes.window_len)
                    };
                    let sets = [keep(&Reference, &expected), keep(path.backend.as_ref(), &found)];
                    let [one, two] =
                        sets.map(|set: Result<RetainedSet, Error>| set.expect("finite scores are cut"));
                    let margins = Margins { scores: heads(&expected), bounds: bounds.clone() };
                    let what = format!("{}: {policy} at {per_head}, {problem:?}", path.name);
                    margins.assert_agree(&what, &one, &two, allocation == "head");
                }
            }
        }
    });
}

/// The scores that sets were cut by, and how far each may be off, per KV head of each layer.
pub struct Margins {
    /// The reference's scores.
    pub scores: Vec<Vec<f64>>,
    /// Their bounds.
    pub bounds: ScoreBounds,
}

impl Margins {
    /// Asserts that `two` differs from `one`, cut by the scores head by head or over all heads, in near-ties alone.
    #[track_caller]
    pub fn assert_agree(&self, what: &str, one: &RetainedSet, two: &RetainedSet, head_by_head: bool) {
        assert_eq!(one.positions().len(), two.positions().len(), "{what}: sizes differ");
        let kept = self.scores.iter().enumerate().map(|(head, scores)| {
            let of = |set: &RetainedSet| {
                let (layer, head) = (head / self.kv_heads(set), head % self.kv_heads(set));
                let keeps = set.layer(layer).keeps(crate::shape::KvHead(head));
                keeps[..scores.len()].to_vec()
            };
            [of(one), of(two)]
        });
        let kept: Vec<[Vec<bool>; 2]> = kept.collect();
        let heads: Vec<usize> = (0..self.scores.len()).collect();
        let parts: Vec<&[usize]> = if head_by_head { heads.chunks(1).collect() } else { vec![&heads] };
        for part in parts {
            self.assert_part_agrees(what, part, &kept);
        }
    }

    fn kv_heads(&self, set: &RetainedSet) -> usize {
        self.scores.len() / set.layer_count()
    }

    #[track_caller]
    fn assert_part_agrees(&self, what: &str, heads: &[usize], kept: &[[Vec<bool>; 2]]) {
        let slots = || heads.iter().flat_map(|&head| (0..self.scores[head].len()).map(move |i| (head, i)));
        let cut = slots()
            .filter(|&(head, i)| kept[head][0][i])
            .map(|(head, i)| self.scores[head][i])
            .fold(f64::INFINITY, f64::min);
        let widest = slots().map(|(head, i)| self.bounds[head][i]).fold(0.0, f64::max);
        for (head, i) in slots().filter(|&(head, i)| kept[head][0][i] != kept[head][1][i]) {
            let away = (self.scores[head][i] - cut).abs();
            assert!(
                away <= 2.0 * widest,
                "{what}: head {head}, position {i} is {away:e} from the cut, bound {widest:e}"
            );
        }
    }
}

/// A layer that was told what it will be asked scores as one that was not, to the bit.
pub fn scores_do_not_depend_on_what_is_shared(paths: &[Path]) {
    run(32, &problems(), |problem| {
        let problem = problem.layer_problem(LayerIndex(0));
        let policies = policies();
        for path in paths {
            let (mut shared, alone) = (prepare(path, &problem), prepare(path, &problem));
            shared.share(&policies.iter().collect::<Vec<_>>());
            for policy in &policies {
                assert_eq!(
                    scored(shared.as_ref(), policy),
                    scored(alone.as_ref(), policy),
                    "{}: {policy}",
                    path.name
                );
            }
        }
    });
}

/// Numbers that f16 and f32 hold score the same from files of those precisions.
pub fn halves_and_singles_score_like_the_doubles_they_are(paths: &[Path]) {
    run(32, &problems(), |problem| {
        let problem = problem.in_halves();
        let narrow = Narrow::new(&problem);
        let (wide, narrow) = (problem.layer_problem(LayerIndex(0)), narrow.layer_problem(&problem));
        let retained = problem.retained(&problem.some_kept(7));
        for path in paths {
            let [one, two] = [&wide, &narrow].map(|problem| prepare(path, problem));
            for policy in policies() {
                assert_eq!(
                    scored(one.as_ref(), &policy),
                    scored(two.as_ref(), &policy),
                    "{}: {policy}",
                    path.name
                );
            }
            let [one, two] = [one, two].map(|layer| layer.evaluate(retained.layer(0)));
            assert_eq!(one, two, "{}", path.name);
        }
    });
}

/// A problem's tensors in half precision, the values' in single.
struct Narrow {
    halves: [Vec<half::f16>; 4],
    values: Vec<f32>,
}

impl Narrow {
    fn new(problem: &Problem) -> Self {
        let halves = |numbers: &Vec<f64>| numbers.iter().map(|&x| half::f16::from_f64(x)).collect();
        Self {
            halves: [&problem.query, &problem.key, &problem.projection, &problem.future_query].map(halves),
            values: problem.value.iter().map(|&x| x as f32).collect(),
        }
    }

    fn layer_problem(&self, problem: &Problem) -> LayerProblem<'_> {
        let wide = problem.activations();
        let [query, key, projection, future] = &self.halves;
        let view = "the shapes are those of the doubles";
        let narrow = crate::problem::Activations {
            query: TensorView::new(wide.query.shape(), Elements::F16(query)).expect(view),
            key: TensorView::new(wide.key.shape(), Elements::F16(key)).expect(view),
            value: TensorView::new(wide.value.shape(), Elements::F32(&self.values)).expect(view),
            output_projection: TensorView::new(wide.output_projection.shape(), Elements::F16(projection))
                .expect(view),
            future_query: wide
                .future_query
                .map(|wide| TensorView::new(wide.shape(), Elements::F16(future)).expect(view)),
        };
        LayerProblem::new(LayerIndex(0), problem.scale, narrow).expect(view)
    }
}

/// Projections of rank one, of rank zero, and narrower than a head score within their bounds.
pub fn a_rank_deficient_projection_is_within_its_bounds(paths: &[Path]) {
    let mut used = vec![Used::default(); paths.len()];
    run(48, &(problems(), 0..3_usize), |(mut problem, rank)| {
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
        let layer_problem = problem.layer_problem(LayerIndex(0));
        let reference = Layer::new(&layer_problem);
        let expected = Expected::new(&reference);
        for (path, used) in paths.iter().zip(&mut used) {
            let bounds = Bounds::new(&layer_problem, &reference, path.arithmetic);
            hold_scores(path, &layer_problem, &bounds, &expected, used);
        }
    });
    paths.iter().zip(used).for_each(|(path, used)| report("rank-deficient scores", path, used));
}

/// A retained set of other sizes is an error that says so, not a panic.
pub fn a_set_of_another_size_is_refused(paths: &[Path]) {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 3,
        head_dim: 4,
        hidden_dim: 5,
        candidate_len: 6,
        window_len: 2,
        future_len: 0,
    };
    let problem = Problem::alive(sizes, 1);
    let problem = problem.layer_problem(LayerIndex(0));
    for path in paths {
        for (kv_heads, context) in [(1, 8), (2, 7), (2, 9)] {
            let set = RetainedSet::everything(1, kv_heads, context).expect("a set");
            let layer = prepare(path, &problem);
            assert!(matches!(layer.evaluate(set.layer(0)), Err(Error::Shape { .. })), "{}", path.name);
        }
    }
}
