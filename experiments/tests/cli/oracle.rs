//! No policy ever beats the proven bound, and the oracle's answer is what it says it is.

use laprox_reference::POLICIES;
use serde_json::Value;

use crate::{laprox, refusal, synth, synth_of};

/// Every policy that ranks, under every allocation that it has.
fn policies(allocations: &[&str]) -> Vec<String> {
    let ranking = POLICIES.iter().filter(|entry| entry.rule.ranks() && entry.needs().is_empty());
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

/// The oracle for later queries is compared by the error that it minimises, which no policy has lower than its bound.
#[test]
fn no_policy_is_below_the_bound_of_the_later_queries_error() {
    let policies = policies(&["head", "model"]);
    let rows = rows(&["oracle", "--budget", "20%", "--oracle", "future:nodes=3"], &policies);
    assert_none_below(&rows, 1 + policies.len());
    for row in &rows {
        assert_eq!(row["objective"], "later-drop");
        let errors =
            ["relative_error", "layer_wise", "future"].map(|error| row[error].as_f64().expect("an error"));
        assert!(errors[0] != errors[1] && errors[0] != errors[2], "{row}");
    }
}

#[test]
fn the_renormalised_oracle_is_compared_by_the_renormalised_error() {
    for row in rows(&["oracle", "--budget", "20%", "--oracle", "renormalised"], &[]) {
        assert_eq!(row["objective"], "renormalised");
        assert_eq!(row["relative_error"], row["renormalised"]);
    }
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
fn a_search_without_time_proves_nothing_and_says_so() {
    for allocation in ["model", "layer"] {
        let oracle = format!("certified:allocation={allocation}");
        let policies = ["laprox:allocation=layer".to_owned()];
        let rows = rows(&["oracle", "--budget", "20%", "--oracle", &oracle, "--seconds", "0"], &policies);
        assert_eq!(rows.len(), 2 * 6);
        for row in rows {
            assert!(row["relative_error"].as_f64().is_some_and(|error| error > 0.0), "{row}");
            assert!(row["over_bound"].is_null(), "{row}");
            assert!(row["ended"].is_null() || row["ended"] == false, "{row}");
        }
    }
}

/// f32 moves the error of heads that cancel below the bound; the row's is in f64.
#[test]
fn an_optimum_is_never_below_its_own_bound() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for seed in 0..12 {
        let dump = synth_of(folder.path(), &format!("dump{seed}"), &seed.to_string(), "12");
        let policies = ["laprox:allocation=layer,pool=none".to_owned()];
        let oracle = "exhaustive:allocation=layer";
        let rows = rows(&["oracle", &dump, "--budget", "10", "--oracle", oracle], &policies);
        assert_none_below(&rows, rows.len());
        for row in rows.iter().filter(|row| !row["nodes"].is_null()) {
            assert_eq!(row["ended"], true);
            let over_bound = row["over_bound"].as_f64().expect("a bound");
            assert!(over_bound < 1.0 + 1e-9, "the optimum is {over_bound} times its bound: {row}");
        }
    }
}

#[test]
fn a_search_that_ends_at_a_limit_says_so_on_stderr() {
    let arguments = ["evict", "../fixtures/data/smollm2-135m", "--budget", "10%", "--seconds", "0"];
    for oracle in ["oracle:certified", "oracle:renormalised"] {
        let line = refusal(&laprox(&[&arguments[..], &["--policy", oracle]].concat()).success());
        assert!(line.contains(oracle) && line.contains("ended at a limit"), "{line}");
    }
}

#[test]
fn what_is_too_large_for_an_oracle_is_refused() {
    let line = refusal(&laprox(&["oracle", "--budget", "20%", "--oracle", "exhaustive"]).code(2));
    assert!(line.contains("at most 24"), "{line}");
    for command in ["oracle", "evict", "ablate"] {
        let policy = if command == "oracle" { "--oracle" } else { "--policy" };
        let arguments =
            [command, "../fixtures/data/smollm2-135m", "--budget", "20%", policy, "oracle:branch-and-bound"];
        let axes: &[&str] = if command == "ablate" { &["--allocation", "model"] } else { &[] };
        let line = refusal(&laprox(&[&arguments, axes].concat()).code(2));
        assert!(line.contains("at most 512"), "{line}");
    }
    refusal(&laprox(&["oracle", "--budget", "20%", "--oracle", "best"]).code(2));
}
