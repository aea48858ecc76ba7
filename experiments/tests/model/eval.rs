//! From a prefill over evictions to answers, on tiny models.

use laprox_experiments::eval::{
    Evicted, Evictions, Fidelity, Prefilled, evicted_answers, fidelity, full_answer,
};
use laprox_experiments::model::{ARCHITECTURES, Model, Wanted};
use laprox_reference::{Budget, KvHead, LayerOrdinal, Policy, Reference};

use super::naive::{Look, run_where};
use super::synthetic::{KV_HEADS, LAYERS, Synthetic, tokens};
use super::tiny::{assert_close, rounding_bound};

const CONTEXT_LEN: usize = 40;
const WINDOW_LEN: usize = 4;

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn evict(
    model: &Model,
    prefilled: &Prefilled<'_>,
    later: &[u32],
    policies: &[&str],
    budgets: &[&str],
) -> Vec<Evicted> {
    let (policies, budgets): (Vec<Policy>, Vec<Budget>) = (parsed(policies), parsed(budgets));
    let evictions = Evictions::new(model, &Reference, &policies).unwrap();
    evictions.of(prefilled, "prompt", &budgets, later, 7).unwrap()
}

#[test]
fn a_budget_of_everything_answers_as_the_full_cache_does() {
    let model = Synthetic::new("llama").load().unwrap();
    let (context, question) = (tokens(CONTEXT_LEN), [3, 1, 4, 1, 5]);
    let prefilled = Prefilled::new(&model, &context, WINDOW_LEN, Wanted::NOTHING, &mut ()).unwrap();
    for question in [&question[..], &[]] {
        let full = full_answer(&model, &prefilled, question, 8).unwrap().tokens;
        let evicted = evict(&model, &prefilled, question, &["laprox", "random", "full"], &["100%", "40"]);
        let answers = evicted_answers(&model, &prefilled, &evicted, question, 8).unwrap();
        assert!(answers.len() == 6 && answers.iter().all(|answer| answer.tokens == full));
        for evicted in &evicted {
            assert_eq!(evicted.errors.drop.unwrap().layer_wise.squared_error, 0.0);
            assert_eq!(evicted.errors.renormalised.layer_wise.squared_error, 0.0);
        }
    }
}

/// Later tokens see what was retained and each other, and nothing else.
#[test]
fn logits_after_an_eviction_are_those_of_a_decoder_that_hides_what_was_evicted() {
    for architecture in ARCHITECTURES.iter().map(|row| row.name) {
        let synthetic = Synthetic::new(architecture);
        let model = synthetic.load().unwrap();
        let (context, later) = (tokens(CONTEXT_LEN), tokens(CONTEXT_LEN + 9)[CONTEXT_LEN..].to_vec());
        let prefilled = Prefilled::new(&model, &context, WINDOW_LEN, Wanted::NOTHING, &mut ()).unwrap();
        let policies = ["laprox:allocation=model-raw", "random", "streaming"];
        for evicted in evict(&model, &prefilled, &later, &policies, &["8", "50%"]) {
            let sequence = prefilled.evicted(&evicted, later.len()).unwrap();
            let found = fidelity::predictions(&model, sequence, &later).unwrap().concat();
            let sees = |look: Look| {
                let kept = evicted.retained.layer(LayerOrdinal(look.layer)).head(KvHead(look.kv_head));
                look.from < CONTEXT_LEN || look.to >= CONTEXT_LEN || kept.contains(&(look.to as u32))
            };
            let all = [&context[..], &later].concat();
            let expected = run_where(&synthetic, &all, &sees).0[CONTEXT_LEN..].concat();
            assert_close(&found, &expected, rounding_bound(all.len()));
        }
    }
}

#[test]
fn evicted_caches_take_the_memory_of_their_budget() {
    let model = Synthetic::new("qwen2").load().unwrap();
    let prefilled =
        Prefilled::new(&model, &tokens(CONTEXT_LEN), WINDOW_LEN, Wanted::NOTHING, &mut ()).unwrap();
    let evicted = evict(&model, &prefilled, &[], &["snapkv", "laprox"], &["10", "20"]);
    let answers = evicted_answers(&model, &prefilled, &evicted, &[], 2).unwrap();
    let entry = prefilled.allocated_bytes() / (LAYERS * KV_HEADS * CONTEXT_LEN);
    for (evicted, answer) in evicted.iter().zip(answers) {
        assert_eq!(answer.cache_bytes, LAYERS * KV_HEADS * (evicted.entries_per_head.0 + 2) * entry);
        assert_eq!(evicted.retained.positions().len(), LAYERS * KV_HEADS * evicted.entries_per_head.0);
    }
}

/// Three tokens, two predictions: `p = (1/2, 1/4, 1/4)` and `(1/4, 1/4, 1/2)`, both predicted `(1/2, 1/4, 1/4)`.
#[test]
fn fidelity_is_what_its_formulas_say() {
    let logits = |shares: [f32; 3]| shares.map(f32::ln).to_vec();
    let (half_first, half_last) = (logits([0.5, 0.25, 0.25]), logits([0.25, 0.25, 0.5]));
    let full = [half_first.clone(), half_last];
    let same = Fidelity::new(&full, &full, &[0, 1]);
    assert!(same.divergence.abs() < 1e-15 && same.agreement == 1.0);
    let evicted = Fidelity::new(&full, &[half_first.clone(), half_first], &[0, 1]);
    let ln2 = std::f64::consts::LN_2;
    // Half of the second: 1/4 ln(1/2) + 1/2 ln 2.
    approx::assert_relative_eq!(evicted.divergence, 0.125 * ln2, max_relative = 1e-6);
    approx::assert_relative_eq!(evicted.negative_log_likelihood, 1.5 * ln2, max_relative = 1e-6);
    assert_eq!(evicted.agreement, 0.5);
}

#[test]
fn a_budget_that_does_not_hold_the_window_is_refused() {
    let model = Synthetic::new("llama").load().unwrap();
    let prefilled =
        Prefilled::new(&model, &tokens(CONTEXT_LEN), WINDOW_LEN, Wanted::NOTHING, &mut ()).unwrap();
    let (policies, budgets): (Vec<Policy>, Vec<Budget>) = (parsed(&["laprox"]), parsed(&["4"]));
    let evictions = Evictions::new(&model, &Reference, &policies).unwrap();
    let refusal = evictions.of(&prefilled, "prompt", &budgets, &[], 0).unwrap_err().to_string();
    assert!(refusal.contains("window of 4"), "{refusal}");
}
