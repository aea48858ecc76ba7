//! Every test of a claim, on both sides of its threshold and on neither.

use serde_json::Value;

use crate::results::{ABLATION, CORRELATIONS, EVAL, errors, needles, write};
use crate::{chapter, outcome};

const SUFFICES: &str = "5 % of the cache suffices";
const HALF: &str = "half the accuracy loss at extreme compression";
const WINS: &str = "consistent wins";

/// The needle table of losses by policy and budget.
fn needle(losses: &[(&str, &str, &[f64])]) -> Value {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows: Vec<String> =
        losses.iter().flat_map(|(policy, budget, losses)| needles(policy, budget, losses)).collect();
    write(folder.path(), "needle/rows.csv", EVAL, &rows);
    chapter("needle", folder.path())
}

/// `ones` needles of twenty are lost.
fn lost(ones: usize) -> [f64; 20] {
    std::array::from_fn(|place| if place < ones { 1.0 } else { 0.0 })
}

/// Of none the loss is surely 0, of sixteen surely more than 0.05; of one it is 0.05, with an interval from 0 on.
#[test]
fn a_loss_is_held_against_its_threshold() {
    let of = |ones| needle(&[("laprox", "5%", &lost(ones))]);
    assert_eq!(outcome(&of(0), SUFFICES, ""), "holds");
    assert_eq!(outcome(&of(16), SUFFICES, ""), "does-not-hold");
    assert_eq!(outcome(&of(1), SUFFICES, ""), "undecided");
}

#[test]
fn what_was_not_measured_is_undecided() {
    let chapter = needle(&[("laprox", "10%", &lost(0))]);
    assert_eq!(outcome(&chapter, SUFFICES, ""), "undecided");
    assert_eq!(chapter["verdicts"][0]["remark"], "not measured");
    assert_eq!(chapter["verdicts"][0]["value"], Value::Null);
}

/// One prompt has no interval, however clear it looks.
#[test]
fn one_prompt_decides_nothing() {
    let chapter = needle(&[("laprox", "5%", &[0.0]), ("snapkv", "5%", &[1.0])]);
    for claim in [SUFFICES, HALF, WINS] {
        assert_eq!(outcome(&chapter, claim, ""), "undecided", "{claim}");
    }
}

/// A quarter of the other's loss, all of it, and half of it on the nose.
#[test]
fn half_the_loss_is_half_of_the_best_competitors() {
    let of = |own: usize, other: usize| {
        needle(&[
            ("laprox", "5%", &lost(own)),
            ("snapkv", "5%", &lost(other)),
            ("streaming", "5%", &lost(20)),
        ])
    };
    assert_eq!(outcome(&of(4, 16), HALF, ""), "holds");
    assert_eq!(outcome(&of(16, 16), HALF, ""), "does-not-hold");
    let half = of(8, 16);
    assert_eq!(outcome(&half, HALF, ""), "undecided");
    let verdict = &half["verdicts"][1];
    // 8/20 less half of 16/20; the share is 0.4 of 0.8.
    assert_eq!(verdict["value"].as_f64(), Some(0.0));
    assert!(
        verdict["remark"].as_str().is_some_and(|remark| remark.ends_with("a share of 0.50")),
        "{verdict}"
    );
}

#[test]
fn there_is_no_half_of_no_loss() {
    let chapter = needle(&[("laprox", "5%", &lost(0)), ("snapkv", "5%", &lost(0))]);
    assert_eq!(outcome(&chapter, HALF, ""), "undecided");
    assert!(chapter["verdicts"][1]["remark"].as_str().is_some_and(|remark| remark.contains("loses nothing")));
}

#[test]
fn wins_have_to_be_everywhere() {
    let of = |at_ten: usize| {
        needle(&[
            ("laprox", "5%", &lost(4)),
            ("snapkv", "5%", &lost(16)),
            ("laprox", "10%", &lost(4)),
            ("snapkv", "10%", &lost(at_ten)),
            // Not among the competitors that the claim names.
            ("centred", "5%", &lost(0)),
        ])
    };
    assert_eq!(outcome(&of(16), WINS, ""), "holds");
    assert_eq!(outcome(&of(4), WINS, ""), "undecided");
    let behind = of(0);
    assert_eq!(outcome(&behind, WINS, ""), "does-not-hold");
    let verdict = &behind["verdicts"][2];
    assert_eq!(verdict["value"].as_f64(), Some(-0.2));
    assert!(verdict["remark"].as_str().is_some_and(|remark| remark.starts_with("least over snapkv at 10%")));
    // Two comparisons: each at 1 - 0.05 / 2.
    assert_eq!(verdict["level"].as_f64(), Some(0.975));
}

/// Prompt by prompt the policy is ahead by a little, while both vary by much: only paired differences see it.
#[test]
fn differences_are_paired() {
    let own: Vec<f64> = (0..20).map(|place| f64::from(place) / 40.0).collect();
    let other: Vec<f64> = own.iter().map(|loss| loss + 0.01).collect();
    assert_eq!(outcome(&needle(&[("laprox", "5%", &own), ("snapkv", "5%", &other)]), WINS, ""), "holds");
    let shuffled: Vec<f64> = other.iter().rev().copied().collect();
    assert_eq!(
        outcome(&needle(&[("laprox", "5%", &own), ("snapkv", "5%", &shuffled)]), WINS, ""),
        "undecided"
    );
}

#[test]
fn parts_of_the_method_help_or_do_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = [
        errors("laprox", "laprox", "model", "5%", &[0.20, 0.30, 0.40]),
        errors("laprox:allocation=head", "laprox", "head", "5%", &[0.30, 0.40, 0.50]),
        errors("laprox:allocation=layer", "laprox", "layer", "5%", &[0.21, 0.31, 0.41]),
        errors("laprox:allocation=model-raw", "laprox", "model-raw", "5%", &[0.10, 0.20, 0.30]),
        errors("laprox:pool=none", "laprox:pool=none", "model", "5%", &[0.10, 0.30, 0.60]),
    ];
    write(folder.path(), "head_vs_layer/rows.csv", ABLATION, &rows.concat());
    let chapter = chapter("ablation", folder.path());
    let of = |claim| outcome(&chapter, claim, "drop error");
    assert_eq!(of("one budget for the model is better than one a head or a layer"), "holds");
    assert_eq!(of("normalising the layers is better than not"), "does-not-hold");
    assert_eq!(of("pooling is better than not"), "undecided");
}

#[test]
fn a_correlation_has_to_be_high_on_every_task() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let row = |task: &str, error: &str, [value, low, high]: [f64; 3]| {
        format!("{task},,nll,{error},9,{value},{low},{high}")
    };
    write(folder.path(), "needle/rows.csv", EVAL, &needles("laprox", "5%", &[0.0]));
    write(
        folder.path(),
        "needle/correlations.csv",
        CORRELATIONS,
        &[
            row("needle", "drop", [0.9, 0.8, 1.0]),
            row("needle", "renormalised", [0.9, 0.8, 1.0]),
            row("needle", "future", [0.9, 0.8, 1.0]),
        ],
    );
    write(folder.path(), "fidelity/rows.csv", EVAL, &needles("laprox", "5%", &[0.0]));
    write(
        folder.path(),
        "fidelity/correlations.csv",
        CORRELATIONS,
        &[
            row("fidelity", "drop", [0.7, 0.6, 0.8]),
            row("fidelity", "renormalised", [0.3, 0.2, 0.4]),
            row("fidelity", "future", [0.6, 0.4, 0.8]),
        ],
    );
    let chapter = chapter("prediction", folder.path());
    let found = |error: &str| outcome(&chapter, &format!("the {error} error predicts the loss"), "");
    assert_eq!(found("drop"), "holds");
    assert_eq!(found("renormalised"), "does-not-hold");
    assert_eq!(found("future"), "undecided");
    assert_eq!(chapter["verdicts"][0]["model"], "M");
}
