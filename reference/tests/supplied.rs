//! Scores of tensors that a capture may leave out equal their formulas, and a layer without them is refused.

mod common;

use laprox_reference::{
    Elements, Error, InMemory, InTurn, LayerIndex, LayerProblem, Lookahead, POLICIES, Reference, Supplement,
    pipeline,
};
use proptest::prelude::*;

use common::compare::{Stated, assert_agrees, assert_heads_agree};
use common::problem::{LOOKAHEAD_LEN, Problem, Sizes, TYPICAL, problems, problems_with_candidates};
use common::stated_competitors::{keys, supplied};
use common::{config, policy, scored, scores};

/// The problem whose context and window hold the generated tokens, too.
fn lengthened(problem: &Problem) -> Problem {
    let sizes =
        Sizes { window_len: problem.sizes.window_len + LOOKAHEAD_LEN, future_len: 0, ..problem.sizes };
    let (dim, context) = (sizes.head_dim, problem.sizes.context_len());
    let behind = |of_context: &dyn Fn(usize) -> Vec<f64>, generated: &[f64], heads: usize| -> Vec<f64> {
        let generated = generated.chunks(LOOKAHEAD_LEN * dim);
        (0..heads)
            .zip(generated)
            .flat_map(|(head, generated)| [of_context(head), generated.to_vec()].concat())
            .collect()
    };
    let cached = |at: fn(&Problem, usize, usize) -> &[f64], head: usize| -> Vec<f64> {
        (0..context).flat_map(|i| at(problem, head, i).to_vec()).collect()
    };
    let queries = |head: usize| -> Vec<f64> {
        (0..problem.sizes.window_len).flat_map(|t| problem.query_at(head, t).to_vec()).collect()
    };
    let supplied = |which| problem.supplied(which);
    Problem {
        scale: problem.scale,
        query: behind(&queries, supplied(Supplement::LookaheadQuery), sizes.query_heads()),
        key: behind(
            &|head| cached(Problem::key_at, head),
            supplied(Supplement::LookaheadKey),
            sizes.kv_heads,
        ),
        value: behind(
            &|head| cached(Problem::value_at, head),
            supplied(Supplement::LookaheadValue),
            sizes.kv_heads,
        ),
        projection: problem.projection.clone(),
        ..Problem::zero(sizes)
    }
}

/// The policies with the option, but for those that also read keys of the context.
fn looking_ahead() -> impl Iterator<Item = &'static str> {
    let has = |name: &str| policy(name).has_option("lookahead");
    POLICIES.iter().map(|entry| entry.name).filter(move |name| has(name) && *name != "capkv")
}

proptest! {
    #![proptest_config(config(96, "tests/supplied.proptest-regressions"))]

    #[test]
    fn expected_attention_is_the_attention_of_queries_like_the_contexts(problem in problems()) {
        let (stated, magnitude) = supplied::expected_attention(&problem);
        let rounding = 8.0 * problem.rounding() * (1.0 + magnitude);
        assert_heads_agree("expected_attention", &scores(&problem, "expected_attention"), &stated, rounding);
    }

    #[test]
    fn kvzip_is_the_largest_attention_of_a_repetition(problem in problems()) {
        assert_heads_agree("kvzip", &scores(&problem, "kvzip"), &supplied::kvzip(&problem), 0.0);
        assert_heads_agree("kvzip+", &scores(&problem, "kvzip+"), &supplied::kvzip_plus(&problem), problem.rounding());
    }

    /// A cosine is off by the rounding, magnified where the anchor's keys cancel.
    #[test]
    fn nestedkv_is_the_mean_of_three_anomalies(problem in problems(), block in 1..=5_usize, trail in 1..=7_usize) {
        let text = format!("nestedkv:block={block},trail={trail}");
        let (stated, magnified) = keys::nestedkv(&problem, block, trail);
        for ((found, stated), magnified) in scores(&problem, &text).iter().zip(&stated).zip(magnified) {
            for (&found, &value) in found.iter().zip(stated) {
                assert_agrees(&text, found, Stated { value, magnitude: 4.0 * magnified }, problem.rounding());
            }
        }
    }

    /// A model that runs the generated tokens sees the same attention as one whose context holds them.
    #[test]
    fn generated_rows_are_those_of_a_longer_window(problem in problems_with_candidates()) {
        let longer = lengthened(&problem);
        for name in looking_ahead() {
            let (ahead, only) = (format!("{name}:lookahead=2"), format!("{name}:lookahead=2,lookahead_only=yes"));
            for (text, same) in [(ahead, format!("{name}:window=all")), (only, format!("{name}:window=2"))] {
                let (found, expected) = (scores(&problem, &text), scores(&longer, &same));
                for (&found, &expected) in found.concat().iter().zip(&expected.concat()) {
                    prop_assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{text}: {found} for {expected}");
                }
            }
        }
    }
}

#[test]
fn what_reads_the_window_can_look_ahead() {
    for entry in &POLICIES {
        let (policy, reads) = (policy(entry.name), policy(entry.name).has_option("window"));
        assert_eq!(policy.has_option("lookahead"), reads, "{}", entry.name);
        assert_eq!(policy.has_option("lookahead_only"), reads, "{}", entry.name);
        assert_eq!(policy.options().lookahead, Lookahead { tokens: 0, only: false }, "{}", entry.name);
    }
}

/// Fewer tokens than were captured are the first of them.
#[test]
fn a_shorter_lookahead_reads_the_first_tokens() {
    let problem = Problem::alive(TYPICAL, 3);
    let mut other = problem.clone();
    for (which, numbers) in &mut other.supplements {
        if Supplement::LOOKAHEAD.contains(which) {
            let rows = numbers.chunks_mut(TYPICAL.head_dim).skip(1).step_by(LOOKAHEAD_LEN);
            rows.for_each(|row| row.fill(7.0));
        }
    }
    for name in looking_ahead() {
        let [one, two] = [1, 2].map(|tokens| format!("{name}:lookahead={tokens}"));
        assert_eq!(scores(&problem, &one), scores(&other, &one), "{name}");
        assert_ne!(scores(&problem, &two), scores(&other, &two), "{name}");
        assert_ne!(scores(&problem, &one), scores(&problem, name), "{name}");
    }
}

#[test]
fn a_layer_without_what_a_score_reads_is_refused_with_the_way_to_capture_it() {
    let problem = Problem { supplements: Vec::new(), ..Problem::alive(TYPICAL, 1) };
    let layers = || InMemory::new(&Reference, vec![problem.layer_problem(LayerIndex(0))], InTurn).unwrap();
    for (text, missing, written) in [
        ("expected_attention", "query_mean: expected", "`laprox capture` and capture_hf.py"),
        ("kvzip", "repeat_max: expected", "`laprox capture --repeat`"),
        ("kvzip+", "repeat_relative_max: expected", "`laprox capture --repeat`"),
        ("snapkv:lookahead=4", "q_lookahead: expected", "`laprox capture --lookahead G`"),
    ] {
        let message = common::refusal(pipeline::scores(&layers(), &policy(text)));
        assert!(message.starts_with(missing) && message.contains(written), "{message}");
        assert_eq!(message.lines().count(), 1);
        assert!(!policy(text).needs().is_empty());
    }
    assert!(scored(common::prepare(&problem).as_ref(), &policy("laprox")).is_ok());
}

#[test]
fn more_tokens_than_were_captured_are_refused() {
    let message = common::refusal(scored(
        common::prepare(&Problem::alive(TYPICAL, 1)).as_ref(),
        &policy("laprox:lookahead=3"),
    ));
    assert_eq!(message, "q_lookahead: expected at least 3 tokens, found 2");
    let message = common::refusal("laprox:lookahead_only=yes".parse::<laprox_reference::Policy>());
    assert!(message.ends_with("lookahead_only=yes: expected lookahead= above 0"), "{message}");
}

#[test]
fn a_supplement_of_another_size_or_with_a_number_that_is_none_is_refused() {
    let problem = Problem::alive(TYPICAL, 1);
    let plain = || LayerProblem::new(LayerIndex(0), problem.scale, problem.activations()).unwrap();
    for which in Supplement::ALL {
        let numbers = problem.supplied(which);
        let mut infinite = numbers.to_vec();
        infinite[1] = f64::INFINITY;
        for wrong in [&numbers[1..], &[], &infinite] {
            let refused = plain().with(which, Elements::F64(wrong)).unwrap_err();
            assert!(
                matches!(refused, Error::Supplement { supplement, .. } if supplement == which),
                "{refused}"
            );
        }
        assert!(plain().with(which, Elements::F64(numbers)).is_ok(), "{which}");
    }
    let keys = problem.supplied(Supplement::LookaheadKey);
    let with_queries =
        plain().with(Supplement::LookaheadQuery, Elements::F64(problem.supplied(Supplement::LookaheadQuery)));
    let one_token = &keys[..keys.len() / LOOKAHEAD_LEN];
    let refused = with_queries.unwrap().with(Supplement::LookaheadKey, Elements::F64(one_token)).unwrap_err();
    assert_eq!(refused.to_string(), "k_lookahead: expected shape [3, 2, 5], found 15 elements");
}
