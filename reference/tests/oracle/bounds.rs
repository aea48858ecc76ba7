//! Lower bounds against the best of all sets, and against the sets of policies.

use laprox_reference::oracle::bound::{Decision, lower_bound};
use laprox_reference::oracle::convexify::Convexified;
use laprox_reference::oracle::gram::indicator;
use laprox_reference::oracle::{PairGram, Rows};
use laprox_reference::{CandidatesPerHead, LayerOrdinal, ModelScores, POLICIES, Policy, PreparedLayer, cut};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::hostile::{hostile, layer, sizes, some_candidates, window_gram, without};
use crate::common::problem::problems_with_candidates;
use crate::common::{config, scored};
use crate::problems::{FORMS, Rounding, certify, dropped, early};

/// Decides some candidates of a set as the set has them.
fn decide(candidates: usize, evicted: &[usize], rng: &mut ChaCha8Rng) -> Vec<Decision> {
    let decide = |candidate: usize| match (rng.random_bool(0.3), evicted.contains(&candidate)) {
        (false, _) => Decision::Open,
        (true, true) => Decision::Evicted,
        (true, false) => Decision::Retained,
    };
    (0..candidates).map(decide).collect()
}

/// The bound is below the error of any set, for any certificate.
#[test]
fn lower_bound_is_below_every_admissible_set() {
    for seed in 0..400 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let candidates = rng.random_range(1..=16);
        let layer = layer(&hostile(sizes(candidates, &mut rng), seed));
        let rounding = Rounding::of(&layer, Rows::Window);
        for form in FORMS {
            let gram = window_gram(&layer, form);
            let convexified = Convexified::new(&gram);
            let count = rng.random_range(0..=candidates);
            let evicted = some_candidates(candidates, count, &mut rng);
            let decisions = decide(candidates, &evicted, &mut rng);
            let error =
                dropped(&layer.evaluate(without(&layer, &evicted).layer(LayerOrdinal(0))).unwrap(), form);
            let allowed = error.squared_error + rounding.of_set(&evicted);
            let random: Vec<f64> = (0..candidates).map(|_| rng.random_range(-0.5..1.5)).collect();
            for x in [indicator(candidates, &evicted), random, vec![0.0; candidates], vec![1.0; candidates]] {
                for product in [gram.product(&x), convexified.product(&x).unwrap()] {
                    let bound = lower_bound(&product, &decisions, count).value;
                    assert!(bound >= 0.0 && bound <= allowed, "seed {seed}: {bound} is above {allowed}");
                }
            }
        }
    }
}

/// Where everything is decided, a set's own certificate leaves nothing but rounding.
#[test]
fn lower_bound_of_a_decided_set_is_its_error() {
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let candidates = rng.random_range(1..=16);
        let layer = layer(&hostile(sizes(candidates, &mut rng), seed));
        let rounding = Rounding::of(&layer, Rows::Window);
        for form in FORMS {
            let gram = window_gram(&layer, form);
            let count = rng.random_range(0..=candidates);
            let evicted = some_candidates(candidates, count, &mut rng);
            let x = indicator(candidates, &evicted);
            let decided = |&share: &f64| if share == 1.0 { Decision::Evicted } else { Decision::Retained };
            let decisions: Vec<Decision> = x.iter().map(decided).collect();
            let product = gram.product(&x);
            let bound = lower_bound(&product, &decisions, count).value;
            assert!(bound <= product.value + rounding.of_set(&evicted));
            assert!(bound >= product.value - rounding.of_a_bound(), "{bound} for {}", product.value);
        }
    }
}

/// Every score policy under either allocation that keeps the budget within the layer.
fn layer_policies() -> Vec<Policy> {
    let scoring = POLICIES.iter().filter(|entry| entry.rule.ranks());
    let policies = scoring.flat_map(|entry| {
        let policy: Policy = entry.name.parse().unwrap();
        let pools = if policy.has_option("pool") { vec!["none", "avg:3"] } else { vec![] };
        let allocations = if policy.has_option("allocation") { vec!["head", "layer"] } else { vec![] };
        let mut variants = vec![policy];
        for (key, values) in [("allocation", allocations), ("pool", pools)] {
            if !values.is_empty() {
                let with = |policy: &Policy| {
                    values.iter().map(|value| policy.with(key, value).unwrap()).collect::<Vec<_>>()
                };
                variants = variants.iter().flat_map(with).collect();
            }
        }
        variants
    });
    policies.collect()
}

#[test]
fn every_score_policy_is_compared_with_the_bound() {
    let policies = layer_policies();
    for name in ["laprox", "centred", "snapkv", "tova", "streaming", "random"] {
        assert!(policies.iter().any(|policy| policy.name() == name), "{name} is missing");
    }
}

proptest! {
    #![proptest_config(config(96, "tests/oracle.proptest-regressions"))]

    #[test]
    fn no_policy_is_below_the_certified_bound(problem in problems_with_candidates(), share in 0.0..1.0_f64) {
        let layer = layer(&problem);
        let shape = layer.shape;
        let per_head = (share * shape.candidate_len() as f64) as usize;
        let rounding = Rounding::of(&layer, Rows::Window);
        let evicted_len = shape.kv_heads * (shape.candidate_len() - per_head);
        let start: Vec<usize> = (0..evicted_len).collect();
        let bounds = FORMS.map(|form| {
            certify(&window_gram(&layer, form), evicted_len, &start, early(8), &mut |_| true).squared_lower_bound
        });
        for policy in layer_policies() {
            let scores = ModelScores::new(vec![scored(&layer, &policy).unwrap()]).unwrap();
            let retained = cut(&policy, &scores, CandidatesPerHead(per_head), shape.window_len).unwrap();
            let kept = retained.positions().len();
            prop_assert_eq!(kept, shape.kv_heads * (per_head + shape.window_len), "{} keeps the budget", policy);
            let errors = layer.evaluate(retained.layer(LayerOrdinal(0))).unwrap();
            for (form, bound) in FORMS.into_iter().zip(bounds) {
                let error = dropped(&errors, form).squared_error;
                prop_assert!(error.is_finite());
                prop_assert!(
                    bound <= error + rounding.of_any(),
                    "{policy}, {form:?}: {error} is below the bound {bound}"
                );
            }
        }
    }
}
