//! The tables, from small results whose numbers are worked out by hand.

mod axis;
mod files;
mod hostile;
mod kinds;
mod pivot;
mod results;
mod rows;
mod runs;
mod verdicts;

use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;

fn laprox(arguments: &[&str]) -> Assert {
    Command::cargo_bin("laprox").expect("the binary is built").args(arguments).assert()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are plain")
}

/// The one line that a refusal prints.
fn refusal(assert: &Assert) -> String {
    let stderr = String::from_utf8(assert.get_output().stderr.clone()).expect("stderr is text");
    assert_eq!(stderr.lines().count(), 1, "expected one line, found: {stderr}");
    stderr
}

fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).expect("stdout is text")
}

/// One table's chapter, made of a results folder.
fn chapter(name: &str, results: &Path) -> Value {
    let printed = laprox(&["tables", "--quick", "--json", name, "--results", text(results)]).success();
    let document: Value = serde_json::from_str(&stdout(&printed)).expect("one JSON document");
    document["chapters"][0].clone()
}

/// The table whose title ends like this.
fn table<'a>(chapter: &'a Value, ending: &str) -> &'a Value {
    let tables = chapter["tables"].as_array().expect("tables");
    let titled = |table: &&Value| table["title"].as_str().is_some_and(|title| title.ends_with(ending));
    tables.iter().find(titled).unwrap_or_else(|| panic!("no table ends in {ending}"))
}

/// A cell's value, by the labels of its line and its column.
fn value(table: &Value, labels: &[&str], column: &str) -> Option<f64> {
    cell(table, labels, column)["value"].as_f64()
}

fn cell<'a>(table: &'a Value, labels: &[&str], column: &str) -> &'a Value {
    let columns = table["columns"].as_array().expect("columns");
    let place =
        columns.iter().position(|name| name == column).unwrap_or_else(|| panic!("no column {column}"));
    let lines = table["lines"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["labels"] == serde_json::json!(labels));
    &line.unwrap_or_else(|| panic!("no line {labels:?}"))["cells"][place]
}

/// The outcome of a claim, by its words and what else is said of it.
fn outcome<'a>(chapter: &'a Value, claim: &str, measure: &str) -> &'a str {
    let verdicts = chapter["verdicts"].as_array().expect("verdicts");
    let about = |verdict: &&Value| {
        verdict["claim"] == claim && verdict["measure"].as_str().is_some_and(|found| found.contains(measure))
    };
    let verdict = verdicts.iter().find(about).unwrap_or_else(|| panic!("no verdict on {claim}"));
    verdict["outcome"].as_str().expect("a word")
}
