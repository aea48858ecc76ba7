//! Every bound holds on the committed activations, whichever policy evicts.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Parser;
use laprox_experiments::cli::{Cli, Command};
use laprox_experiments::commands::bounds::check;
use laprox_experiments::exit;
use laprox_reference::bounds::{Bound, CHECKS, Case, Check, Evidence};
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

fn outcome(checks: &[Check]) -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = folder.path().join("rows.csv");
    let arguments =
        ["laprox", "bounds", "../fixtures/data/smollm2-135m", "--budget", "20%", "--trials", "2", "--out"];
    let arguments = arguments.map(String::from).into_iter().chain([rows.display().to_string()]);
    let Cli { command: Command::Bounds(arguments), common } = Cli::parse_from(arguments) else {
        panic!("the arguments are those of bounds");
    };
    let outcome = check(&arguments, &common, checks);
    assert!(rows.exists(), "the rows are written whether or not they hold");
    outcome
}

/// B1 with the largest score in place of the sum.
fn wrong(case: &Case<'_>) -> Vec<Bound> {
    let scores = case.pairs.heads.iter().map(|head| head.scores.max());
    let right = scores.fold(0.0, f64::max) / 100.0;
    let evidence = Evidence::AtMost { rounding: 2.0 * case.rounding() };
    vec![Bound { id: "B0", statement: "norm(Delta) <= max p / 100", left: case.error(), right, evidence }]
}

#[test]
fn a_wrong_bound_is_reported_as_violated() {
    let error = outcome(&[wrong]).expect_err("the statement is wrong");
    assert_eq!(exit::code(&error), 1);
    let line = error.to_string();
    assert!(
        line.contains("B0") && line.contains("norm(Delta) <= max p / 100") && line.contains("layer"),
        "{line}"
    );
}

#[test]
fn one_wrong_bound_among_true_ones_is_enough() {
    assert_eq!(exit::code(&outcome(&[CHECKS[0], wrong]).expect_err("one is wrong")), 1);
    outcome(&CHECKS[..1]).expect("all are true");
}
