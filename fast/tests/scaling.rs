//! Values and weights of any size: the path divides small ones by a power of two, which changes no digit of any result.

use laprox_fast::{Fast, Level};
use laprox_reference::conformance::problem::{Problem, Sizes, TYPICAL};
use laprox_reference::{
    Backend, Elements, LayerIndex, LayerOrdinal, LayerProblem, Policy, PreparedLayer, Reference, RetainedSet,
    Statistic, TensorView,
};

const SIZES: Sizes = Sizes { candidate_len: 70, window_len: 5, future_len: 2, ..TYPICAL };

/// The scores that the path computes with kernels of its own from values.
const SCORES: [&str; 4] = ["laprox", "laprox:gqa=attention", "laprox:gqa=exact", "centred"];

/// The same problem with its values and its weights times powers of two; of one KV head or of all.
fn times(value: f64, weight: f64, heads: usize) -> Problem {
    let mut problem = Problem::alive(SIZES, 5);
    let len = problem.value.len() / SIZES.kv_heads * heads;
    problem.value[..len].iter_mut().for_each(|number| *number *= value);
    problem.projection.iter_mut().for_each(|number| *number *= weight);
    problem
}

fn scores(layer: &dyn PreparedLayer, policy: &str) -> Vec<f64> {
    let policy: Policy = policy.parse().unwrap();
    layer.score(&policy.score().unwrap()).unwrap().into_host().unwrap().values().collect()
}

/// A set that keeps every third candidate.
fn set() -> RetainedSet {
    let kept: Vec<u32> = (0..SIZES.candidate_len as u32).step_by(3).collect();
    RetainedSet::from_candidates(
        SIZES.kv_heads,
        SIZES.context_len(),
        SIZES.window_len,
        &vec![kept; SIZES.kv_heads],
    )
    .unwrap()
}

/// Squared norms and errors, and the norm of the output.
fn squares(layer: &dyn PreparedLayer) -> Vec<f64> {
    let errors = layer.evaluate(set().layer(LayerOrdinal(0))).unwrap();
    let of = |error: laprox_reference::ObjectiveError| {
        [error.layer_wise, error.head_wise].map(|error| [error.squared_error, error.squared_norm]).concat()
    };
    let norm = layer.statistic(Statistic::OutputNorm, SIZES.window_len).unwrap();
    [of(errors.drop.unwrap()), of(errors.renormalised), of(errors.future.unwrap()), vec![norm * norm]]
        .concat()
}

#[test]
fn powers_of_two_change_no_digit() {
    for level in Level::all() {
        let ordinary = times(1.0, 1.0, 0);
        let problem = ordinary.layer_problem(LayerIndex(0));
        let ordinary = Fast::at(level).prepare(&problem).unwrap();
        for (value, weight) in [(-90, 0), (-140, 0), (0, -90), (-90, -100), (-150, -150)] {
            let [value, weight] = [value, weight].map(|power| 2.0_f64.powi(power));
            let small = times(value, weight, SIZES.kv_heads);
            let problem = small.layer_problem(LayerIndex(0));
            let small = Fast::at(level).prepare(&problem).unwrap();
            for policy in SCORES {
                let expected =
                    scores(ordinary.as_ref(), policy).into_iter().map(|score| score * value * weight);
                assert_eq!(scores(small.as_ref(), policy), expected.collect::<Vec<_>>(), "{level}: {policy}");
            }
            let unit = (value * weight).powi(2);
            for (one, two) in squares(small.as_ref()).into_iter().zip(squares(ordinary.as_ref())) {
                let relative = (one / (two * unit) - 1.0).abs();
                assert!(relative < 1e-12, "{level}: {one:e} for {two:e} times {unit:e}");
            }
        }
    }
}

/// A KV head whose values are far below the others' keeps its own order.
#[test]
fn a_dead_head_keeps_its_ranking() {
    let dead = times(2.0_f64.powi(-90), 1.0, 1);
    let problem = dead.layer_problem(LayerIndex(0));
    let [fast, reference] =
        [&Fast::default() as &dyn Backend, &Reference].map(|path| path.prepare(&problem).unwrap());
    for policy in SCORES {
        let pairs = scores(fast.as_ref(), policy).into_iter().zip(scores(reference.as_ref(), policy));
        for (fast, reference) in pairs.take(SIZES.candidate_len) {
            assert!(
                reference > 0.0 && (fast / reference - 1.0).abs() < 1e-3,
                "{policy}: {fast:e}, {reference:e}"
            );
        }
    }
}

/// Logits beyond f32 are the reference's.
#[test]
fn a_scale_beyond_f32_is_left_to_the_reference() {
    let mut problem = times(1.0, 1.0, 0);
    problem.scale = 1e38;
    let problem = problem.layer_problem(LayerIndex(0));
    let [fast, reference] =
        [&Fast::default() as &dyn Backend, &Reference].map(|path| path.prepare(&problem).unwrap());
    assert_eq!(scores(fast.as_ref(), "laprox"), scores(reference.as_ref(), "laprox"));
    assert_eq!(squares(fast.as_ref()), squares(reference.as_ref()));
}

/// Singles below the least normal one are scaled, too.
#[test]
fn subnormal_singles_score_as_the_reference_says() {
    let problem = times(1.0, 1.0, 0);
    let shape = [SIZES.kv_heads, SIZES.cached_len(), SIZES.head_dim];
    let values: Vec<f32> = problem.value.iter().map(|&number| (number * 2.0_f64.powi(-142)) as f32).collect();
    let lent = problem.layer_problem(LayerIndex(0));
    let mut activations = *lent.activations();
    activations.value = TensorView::new(shape, Elements::F32(&values)).unwrap();
    let lent = LayerProblem::new(LayerIndex(0), problem.scale, activations).unwrap();
    let [fast, reference] =
        [&Fast::default() as &dyn Backend, &Reference].map(|path| path.prepare(&lent).unwrap());
    for (fast, reference) in
        scores(fast.as_ref(), "laprox").into_iter().zip(scores(reference.as_ref(), "laprox"))
    {
        assert!((fast - reference).abs() <= 1e-4 * reference, "{fast:e}, {reference:e}");
    }
}
