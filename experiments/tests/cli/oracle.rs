//! No policy ever beats the proven bound, and the oracle's answer is what it says it is.

use laprox_reference::POLICIES;
use serde_json::Value;

use crate::{laprox, refusal, synth};

/// Every policy that ranks, under every allocation that it has.
fn policies(allocations: &[&str]) -> Vec<String> {
    let ranking = POLICIES.iter().filter(|entry| entry.rule.ranks());
    let names: Vec<_> =
        ranking.map(|entry| entry.name).chain(["laprox:pool=none", "laprox:gqa=exact"]).collect();
    let under = |name: &str, allocation: &&str| {
        let separator = if name.contains(':') { ',' } else { ':' };
        format!("{name}{separator}allocation={allocation}")
    };
    names.iter().flat_map(|name| allocations.iter().map(|allocation| under(name, allocation))).collect()
}

fn rows(arguments: &[&str], policies: &[String]) -> Vec<Value> {
    let policies = policies.iter().flat_map(|policy| ["--policy", policy]);
    let arguments: Vec<&str> = arguments.iter().copied().chain(policies).chain(["--json"]).collect();
    let printed = laprox(&arguments).success();
    let results: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one JSON document");
    results["rows"].as_array().expect("rows").clone()
}

fn assert_none_below(rows: &[Value], compared: usize) {
    let bounded: Vec<_> = rows.iter().filter_map(|row| Some((row, row["over_bound"].as_f64()?))).collect();
    assert_eq!(bounded.len(), compared);
    for (row, over_bound) in bounded {
        assert!(over_bound >= 1.0, "below the bound: {row}");
    }
}

#[test]
fn no_policy_on_the_committed_dump_is_below_the_bound_of_the_whole_model() {
    let policies = policies(&["head", "layer", "model", "model-raw"]);
    let rows = rows(&["oracle", "--budget", "5%,20%,50%", "--oracle", "certified:nodes=3"], &policies);
    assert_none_below(&rows, 3 * (1 + policies.len()));
}

#[test]
fn no_policy_on_the_committed_dump_is_below_the_bound_of_a_layer() {
    let policies = policies(&["head", "layer"]);
    let oracle = "certified:allocation=layer,nodes=3";
    let rows = rows(&["oracle", "--budget", "10%", "--oracle", oracle], &policies);
    // Five layers, and all of them together.
    assert_none_below(&rows, 6 * (1 + policies.len()));
}

#[test]
fn no_policy_is_below_the_bound_of_the_head_wise_error() {
    let policies = policies(&["head", "layer"]);
    let oracle = "certified:allocation=layer,form=head-wise,nodes=3";
    let rows = rows(&["oracle", "--budget", "20%", "--oracle", oracle], &policies);
    assert_none_below(&rows, 6 * (1 + policies.len()));
}

#[test]
fn an_oracle_evicts_like_any_policy() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let error = |policy: &str| {
        let printed = laprox(&["evict", &dump, "--budget", "20", "--policy", policy, "--json"]).success();
        let summary: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one JSON document");
        let rows = summary["rows"].as_array().expect("rows").clone();
        let wanted = |objective: &str| {
            let total = rows.iter().find(|row| {
                row["layer"].is_null() && row["form"] == "layer-wise" && row["objective"] == objective
            });
            total.and_then(|row| row["squared_error"].as_f64()).expect("a total")
        };
        (wanted("drop"), wanted("future"))
    };
    let laprox_error = error("laprox:allocation=model-raw,pool=none");
    assert!(error("oracle:certified").0 <= laprox_error.0);
    assert!(error("oracle:certified:allocation=layer").0 >= error("oracle:certified").0);
    assert!(error("oracle:renormalised").0.is_finite());
    assert!(error("oracle:future").1.is_finite());
}

#[test]
fn a_search_that_runs_out_of_time_is_still_valid() {
    let policies = policies(&["model-raw"]);
    let rows = rows(&["oracle", "--budget", "20%", "--seconds", "0"], &policies);
    assert_none_below(&rows, 1 + policies.len());
}

#[test]
fn what_is_too_large_for_an_oracle_is_refused() {
    let line = refusal(&laprox(&["oracle", "--budget", "20%", "--oracle", "exhaustive"]).code(2));
    assert!(line.contains("at most 24"), "{line}");
    refusal(&laprox(&["oracle", "--budget", "20%", "--oracle", "best"]).code(2));
}
