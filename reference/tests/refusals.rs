//! Bad data is refused by name.

mod common;

use half::f16;
use laprox_reference::{
    Activations, CandidatesPerHead, Elements, Error, HeadScores, KvHead, LayerIndex, LayerOrdinal,
    LayerProblem, ModelScores, Position, ReferenceLayer, RetainedSet, Statistic, Tensor, TensorView, cut,
};
use proptest::prelude::*;

use common::problem::{Problem, Sizes};
use common::{config, policy, prepare, refusal, scored};

const SIZES: Sizes = Sizes {
    kv_heads: 2,
    group_size: 3,
    head_dim: 4,
    hidden_dim: 5,
    candidate_len: 6,
    window_len: 2,
    future_len: 3,
};

const NOT_FINITE: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

static ZEROS: [f64; 1000] = [0.0; 1000];

fn zeros<const RANK: usize>(shape: [usize; RANK]) -> TensorView<'static, RANK> {
    TensorView::new(shape, Elements::F64(&ZEROS[..shape.iter().product()])).unwrap()
}

/// Tensors of zeros that agree: `H = 6`, `Hkv = 2`, `d = 4`, `D = 5`, `n = 8`, `w = 2`, `t = 3`.
fn agreeing() -> Activations<'static> {
    Activations {
        query: zeros([6, 2, 4]),
        key: zeros([2, 11, 4]),
        value: zeros([2, 11, 4]),
        output_projection: zeros([5, 24]),
        future_query: Some(zeros([6, 3, 4])),
    }
}

/// Which size or tensor is blamed for these activations.
fn blamed(activations: Activations<'_>) -> &'static str {
    match LayerProblem::new(LayerIndex(0), 0.5, activations).unwrap_err() {
        Error::Shape { what, .. } => what,
        Error::Size { size, .. } => size.name(),
        other => panic!("{other}"),
    }
}

#[test]
fn agreeing_tensors_make_a_problem() {
    let problem = LayerProblem::new(LayerIndex(7), 0.5, agreeing()).unwrap();
    let shape = problem.shape();
    assert_eq!((shape.query_heads, shape.kv_heads, shape.head_dim, shape.hidden_dim), (6, 2, 4, 5));
    assert_eq!((shape.context_len, shape.window_len, shape.future_len), (8, 2, 3));
    assert_eq!((problem.layer(), problem.attention_scale()), (LayerIndex(7), 0.5));
}

#[test]
fn a_key_that_disagrees_is_named() {
    assert_eq!(blamed(Activations { key: zeros([2, 11, 3]), ..agreeing() }), "key");
    assert_eq!(blamed(Activations { key: zeros([2, 2, 4]), ..agreeing() }), "key");
}

#[test]
fn a_value_that_disagrees_is_named() {
    for shape in [[1, 11, 4], [3, 11, 4], [2, 10, 4], [2, 12, 4], [2, 11, 3], [2, 11, 5], [2, 4, 11]] {
        assert_eq!(blamed(Activations { value: zeros(shape), ..agreeing() }), "value", "{shape:?}");
    }
}

#[test]
fn an_output_projection_that_disagrees_is_named() {
    for shape in [[5, 23], [5, 25], [24, 5]] {
        let activations = Activations { output_projection: zeros(shape), ..agreeing() };
        assert_eq!(blamed(activations), "output_projection", "{shape:?}");
    }
}

#[test]
fn a_future_query_that_disagrees_is_named() {
    for shape in [[5, 3, 4], [7, 3, 4], [6, 3, 3], [6, 3, 5]] {
        let activations = Activations { future_query: Some(zeros(shape)), ..agreeing() };
        assert_eq!(blamed(activations), "future_query", "{shape:?}");
    }
}

#[test]
fn heads_and_windows_that_cannot_be_are_named() {
    assert_eq!(blamed(Activations { query: zeros([5, 2, 4]), ..agreeing() }), "query_heads");
    assert_eq!(blamed(Activations { query: zeros([6, 9, 4]), ..agreeing() }), "window_len");
}

#[test]
fn every_empty_size_is_named() {
    assert_eq!(blamed(Activations { query: zeros([0, 2, 4]), ..agreeing() }), "query_heads");
    assert_eq!(blamed(Activations { query: zeros([6, 0, 4]), ..agreeing() }), "window_len");
    assert_eq!(blamed(Activations { query: zeros([6, 2, 0]), ..agreeing() }), "head_dim");
    assert_eq!(blamed(Activations { key: zeros([0, 11, 4]), ..agreeing() }), "kv_heads");
    assert_eq!(blamed(Activations { key: zeros([2, 3, 4]), ..agreeing() }), "context_len");
    assert_eq!(blamed(Activations { output_projection: zeros([0, 24]), ..agreeing() }), "hidden_dim");
}

#[test]
fn a_scale_that_is_no_positive_number_is_refused() {
    for scale in [0.0, -0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let message = refusal(LayerProblem::new(LayerIndex(0), scale, agreeing()));
        assert_eq!(message, format!("attention_scale: expected a finite number above 0, found {scale}"));
    }
}

/// A problem's tensors.
fn tensors(problem: &mut Problem) -> [(Tensor, &mut Vec<f64>); 5] {
    [
        (Tensor::Query, &mut problem.query),
        (Tensor::Key, &mut problem.key),
        (Tensor::Value, &mut problem.value),
        (Tensor::OutputProjection, &mut problem.projection),
        (Tensor::FutureQuery, &mut problem.future_query),
    ]
}

proptest! {
    #![proptest_config(config(256, "tests/refusals.proptest-regressions"))]

    #[test]
    fn a_number_that_is_not_finite_is_refused_with_its_tensor_and_index(
        tensor in 0..5_usize,
        index: prop::sample::Index,
        bad in prop::sample::select(NOT_FINITE.to_vec()),
    ) {
        let mut problem = Problem::alive(SIZES, 1);
        let (tensor, numbers) = &mut tensors(&mut problem)[tensor];
        let (tensor, index) = (*tensor, index.index(numbers.len()));
        numbers[index] = bad;
        let refused = LayerProblem::new(LayerIndex(0), 1.0, problem.activations()).unwrap_err();
        prop_assert_eq!(refused, Error::NonFinite { tensor, index });
    }

    #[test]
    fn a_score_that_is_not_finite_is_refused_with_its_slot(
        layer in 0..9_usize,
        kv_head in 0..3_usize,
        position in 0..4_usize,
        bad in prop::sample::select(NOT_FINITE.to_vec()),
    ) {
        let mut heads = vec![vec![1.0; 4]; 3];
        heads[kv_head][position] = bad;
        match HeadScores::new(LayerIndex(layer), heads).unwrap_err() {
            Error::Score { layer: l, kv_head: h, position: p, value } => {
                prop_assert_eq!((l, h, p), (LayerIndex(layer), KvHead(kv_head), Position(position)));
                prop_assert_eq!(value.to_bits(), bad.to_bits());
            }
            other => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn narrow_tensors_are_searched_too() {
    let mut halves = vec![f16::ZERO; 48];
    halves[17] = f16::NAN;
    let query = TensorView::new([6, 2, 4], Elements::F16(&halves)).unwrap();
    let refused = LayerProblem::new(LayerIndex(0), 1.0, Activations { query, ..agreeing() });
    assert_eq!(refusal(refused), "query: element 17 is not finite");

    let mut singles = vec![0.0_f32; 88];
    singles[87] = f32::NEG_INFINITY;
    let value = TensorView::new([2, 11, 4], Elements::F32(&singles)).unwrap();
    let refused = LayerProblem::new(LayerIndex(0), 1.0, Activations { value, ..agreeing() });
    assert_eq!(refusal(refused), "value: element 87 is not finite");
}

#[test]
fn the_first_bad_slot_is_named_in_words() {
    let heads = [vec![0.0, 1.0], vec![f64::NAN, f64::INFINITY]];
    assert_eq!(
        refusal(HeadScores::new(LayerIndex(4), heads.to_vec())),
        "score of layer 4, KV head 1, position 0 is NaN, expected a finite number"
    );
}

/// Each number of the projected value has a square, but their sum overflows.
#[test]
fn a_score_that_overflows_is_refused_with_its_slot() {
    let mut problem = Problem::zero(Sizes { group_size: 1, ..SIZES });
    problem.value.fill(0.0);
    problem.value[(11 + 3) * 4] = 1e77;
    problem.projection.fill(1e77);
    let message = refusal(scored(prepare(&problem).as_ref(), &policy("laprox:pool=none")));
    assert!(message.starts_with("score of layer 0, KV head 1, position 3 is inf"), "{message}");
}

#[test]
fn heads_that_differ_in_length_are_refused() {
    assert!(matches!(HeadScores::new(LayerIndex(0), vec![]), Err(Error::Shape { what: "scores", .. })));
    let ragged = [vec![1.0, 2.0], vec![1.0]];
    let refused = HeadScores::new(LayerIndex(0), ragged.to_vec());
    assert!(matches!(refused, Err(Error::Shape { what: "scores", .. })));
}

#[test]
fn layers_that_differ_in_size_are_refused() {
    let layer =
        |heads, candidates| HeadScores::new(LayerIndex(0), vec![vec![1.0; candidates]; heads]).unwrap();
    let refused = |layers: Vec<HeadScores>| {
        matches!(ModelScores::new(layers), Err(Error::Shape { what: "model scores", .. }))
    };
    assert!(!refused(vec![layer(2, 3), layer(2, 3)]));
    assert!(refused(vec![]), "no layer");
    assert!(refused(vec![layer(2, 3), layer(2, 4)]), "other candidates");
    assert!(refused(vec![layer(2, 3), layer(3, 3)]), "other heads");
    assert!(refused(vec![layer(2, 3), layer(3, 2)]), "as many scores in another shape");
}

#[test]
fn an_output_norm_of_zero_is_refused_where_scores_are_not() {
    let layers = |score| vec![HeadScores::new(LayerIndex(5), vec![vec![0.0, score]]).unwrap()];
    let run = |score| {
        let scores = ModelScores::new(layers(score)).unwrap().with(Statistic::OutputNorm, vec![0.0]).unwrap();
        cut(&policy("laprox:norm=output"), &scores, CandidatesPerHead(1), 1)
    };
    assert!(refusal(run(2.0)).starts_with("score of layer 5, KV head 0, position 1 is inf"));
    assert_eq!(run(0.0).unwrap().positions(), [0, 2]);
}

#[test]
fn a_tensor_whose_count_differs_or_overflows_is_refused() {
    let four = Elements::F64(&ZEROS[..4]);
    assert!(TensorView::new([2, 2], four).is_ok());
    assert!(TensorView::new([4, 0], Elements::F64(&[])).is_ok());
    for shape in [[2, 1], [2, 3], [0, 4], [usize::MAX, 2], [1 << 63, 2], [(1 << 62) + 1, 4]] {
        assert!(
            matches!(TensorView::new(shape, four), Err(Error::Shape { what: "tensor", .. })),
            "{shape:?}"
        );
    }
}

#[test]
fn lists_that_are_no_retained_set_are_refused() {
    let refused = |heads: &[Vec<u32>]| RetainedSet::from_candidates(2, 6, 2, heads).is_err();
    assert!(!refused(&[vec![0, 3], vec![]]));
    assert!(refused(&[]), "no list");
    assert!(refused(&[vec![0]]), "half a layer");
    assert!(refused(&[vec![0], vec![1], vec![2]]), "a layer and a half");
    assert!(refused(&[vec![1, 0], vec![]]), "descending");
    assert!(refused(&[vec![1, 1], vec![]]), "twice the same");
    assert!(refused(&[vec![], vec![4]]), "in the window");
    assert!(refused(&[vec![], vec![u32::MAX]]), "far behind the context");
}

#[test]
fn a_retained_set_of_no_possible_size_is_refused() {
    assert!(RetainedSet::from_candidates(0, 6, 2, &[vec![]]).is_err(), "no KV head");
    assert!(RetainedSet::from_candidates(1, 2, 3, &[vec![]]).is_err(), "a window longer than the context");
    assert!(RetainedSet::from_candidates(1, 1 << 33, 1, &[vec![]]).is_err(), "a context beyond 32 bits");
    assert!(RetainedSet::everything(0, 2, 4).is_err(), "no layer");
    assert!(RetainedSet::everything(2, 0, 4).is_err(), "no KV head");
}

#[test]
fn a_retained_set_of_another_problem_is_refused() {
    let problem = Problem::alive(SIZES, 2);
    let layer = prepare(&problem);
    for (kv_heads, context_len) in [(1, 8), (3, 8), (2, 7), (2, 11)] {
        let other = RetainedSet::everything(1, kv_heads, context_len).unwrap();
        let message = refusal(layer.evaluate(other.layer(LayerOrdinal(0))));
        let found = format!("found {kv_heads} KV heads and {context_len} positions");
        assert!(message.contains("2 KV heads and 8 positions") && message.ends_with(&found), "{message}");
    }
}

/// A layer whose numbers are ordinary but for one tensor.
fn with_largest(change: impl Fn(&mut Problem)) -> Result<(), Error> {
    let mut problem = Problem::alive(SIZES, 3);
    change(&mut problem);
    ReferenceLayer::new(&problem.layer_problem(LayerIndex(4))).map(drop)
}

#[test]
fn quantities_that_f64_does_not_hold_are_refused_with_their_layer() {
    fn times(factor: f64) -> impl Fn(&mut Vec<f64>) {
        move |numbers| numbers.iter_mut().for_each(|number| *number *= factor)
    }
    with_largest(|_| {}).unwrap();
    with_largest(|problem| times(1e100)(&mut problem.value)).unwrap();
    with_largest(|problem| times(0.0)(&mut problem.value)).unwrap();
    for (what, outcome) in [
        (
            "attention",
            with_largest(|problem| {
                times(1e200)(&mut problem.query);
                times(1e200)(&mut problem.key);
            }),
        ),
        ("projected value", with_largest(|problem| times(1e160)(&mut problem.value))),
        ("projected value", with_largest(|problem| times(1e-170)(&mut problem.projection))),
    ] {
        let line = refusal(outcome);
        assert!(line.contains(what) && line.contains("layer 4") && line.contains("range of f64"), "{line}");
    }
    let sum = HeadScores::new(LayerIndex(4), vec![vec![1e308, 1e308]]).unwrap();
    let scores = ModelScores::new(vec![sum]).unwrap();
    let line = refusal(scores.normalised(laprox_reference::Normaliser::Sum));
    assert!(line.contains("sum of the scores of layer 4 is inf"), "{line}");
}
