//! Radix selection keeps the sets that sorting keeps.

use laprox_fast::Fast;
use laprox_reference::{
    Backend, CandidatesPerHead, HeadScores, LayerIndex, ModelScores, Policy, Scored, Statistic, cut,
};
use proptest::prelude::*;

const POLICIES: [&str; 7] = [
    "laprox",
    "laprox:norm=output",
    "laprox:norm=none",
    "laprox:allocation=model-raw",
    "laprox:allocation=layer",
    "laprox:allocation=head",
    "streaming",
];

/// Scores with many ties, of both signs, over many orders of magnitude: `[layers][Hkv][n - w]`.
fn scores() -> impl Strategy<Value = Vec<Vec<Vec<f64>>>> {
    let number = prop_oneof![
        4 => (-3..=3_i32).prop_map(f64::from),
        1 => Just(-0.0),
        2 => (-300..=300_i32).prop_map(|power| 10.0_f64.powi(power)),
        2 => any::<f64>().prop_filter("finite", |number| number.abs() < 1e300),
        2 => (0..4_u64).prop_map(|bits| f64::from_bits(1.0_f64.to_bits() + bits)),
    ];
    (1..=3_usize, 1..=3_usize, 0..=40_usize).prop_flat_map(move |(layers, heads, len)| {
        prop::collection::vec(
            prop::collection::vec(prop::collection::vec(number.clone(), len), heads),
            layers,
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn radix_selection_keeps_what_sorting_keeps(scores in scores(), share in 0.0..=1.0_f64, sinks in 0..=6_usize) {
        let layers = scores.iter().enumerate().map(|(i, heads)| HeadScores::new(LayerIndex(i), heads.clone()).unwrap());
        let norms = (1..=scores.len()).map(|layer| layer as f64).collect();
        let model = ModelScores::new(layers.collect()).unwrap().with(Statistic::OutputNorm, norms).unwrap();
        let scored = Scored::of_host(model.clone(), 2);
        let per_head = CandidatesPerHead((share * scores[0][0].len() as f64) as usize);
        for name in POLICIES {
            let policy: Policy = name.parse().unwrap();
            let policy = policy.with("sinks", &sinks.to_string()).unwrap();
            let sorted = cut(&policy, &model, per_head, 2);
            let selected = Fast::default().cut(&policy, &scored, per_head);
            prop_assert_eq!(sorted, selected, "{} at {:?}", policy, per_head);
        }
    }
}

/// Longer than a task's chunk, all digits in use, and every tenth score equal to the cut.
#[test]
fn long_lists_are_cut_like_short_ones() {
    let mut state = 1_u64;
    let mut number = |i: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if i.is_multiple_of(10) { 0.5 } else { (state >> 11) as f64 / (1_u64 << 53) as f64 }
    };
    let heads: Vec<Vec<f64>> = (0..2).map(|_| (0..150_000).map(&mut number).collect()).collect();
    let layer = HeadScores::new(LayerIndex(0), heads).unwrap();
    let model = ModelScores::new(vec![layer]).unwrap().with(Statistic::OutputNorm, vec![1.0]).unwrap();
    let scored = Scored::of_host(model.clone(), 32);
    for name in ["laprox:allocation=model-raw", "laprox:allocation=head"] {
        let policy: Policy = name.parse().unwrap();
        for per_head in [1, 60_000, 70_001, 75_000, 149_999, 150_000].map(CandidatesPerHead) {
            let sorted = cut(&policy, &model, per_head, 32);
            assert_eq!(sorted, Fast::default().cut(&policy, &scored, per_head), "{policy} at {per_head:?}");
        }
    }
}
