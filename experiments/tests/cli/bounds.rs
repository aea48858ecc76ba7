//! Every bound holds on the committed activations, whichever policy evicts.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{laprox, refusal};

fn rows(arguments: &[&str]) -> Vec<Value> {
    let printed = laprox(&[&["bounds", "--json"], arguments].concat()).success();
    let results: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one JSON document");
    results["rows"].as_array().expect("rows").clone()
}

#[test]
fn every_bound_holds_on_the_committed_dump() {
    for policy in ["laprox", "random", "oracle:certified:nodes=1"] {
        let rows = rows(&["--budget", "5%,50%", "--policy", policy, "--trials", "64"]);
        let bounds: BTreeSet<&str> = rows.iter().filter_map(|row| row["bound"].as_str()).collect();
        let families: BTreeSet<&str> = bounds.iter().map(|bound| &bound[..2]).collect();
        assert_eq!(
            families.into_iter().collect::<Vec<_>>(),
            ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9"]
        );
        assert_eq!(rows.len(), 2 * 5 * bounds.len(), "a row a budget, layer and bound");
        for row in &rows {
            assert_eq!(row["holds"], true, "{row}");
            assert!(row["statement"].as_str().is_some_and(|statement| !statement.is_empty()));
        }
    }
}

/// B1's right side is the sum of the scores that LaProx minimises: of all policies its own is the least.
#[test]
fn laprox_has_the_least_sum_of_evicted_scores() {
    let sum = |policy: &str| -> f64 {
        let rows = rows(&["--budget", "20%", "--policy", policy, "--trials", "2"]);
        rows.iter().filter(|row| row["bound"] == "B1a").filter_map(|row| row["right"].as_f64()).sum()
    };
    let least = sum("laprox:allocation=model-raw,pool=none");
    for policy in ["laprox", "snapkv:allocation=model-raw,pool=none", "oracle:certified:nodes=1", "streaming"]
    {
        let other = sum(policy);
        assert!(least < other, "{policy}: {other}, laprox: {least}");
    }
}

#[test]
fn a_statement_is_tried_at_least_twice() {
    refusal(&laprox(&["bounds", "--budget", "5%", "--trials", "1"]).code(2));
    refusal(&laprox(&["bounds"]).code(2));
}
