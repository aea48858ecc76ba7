//! The runs that make the results.

use std::fs;

use laprox_experiments::cli::Cli;
use laprox_experiments::tables::kinds::KINDS;
use laprox_experiments::tables::runs::{Runs, Values};

use crate::{laprox, refusal, stdout, text};

fn values() -> Values {
    let values = ["model", "second-model", "dumps", "texts", "data", "experiments", "folder"];
    values.into_iter().map(|name| (name, vec![name.to_owned()])).collect()
}

/// A command that the binary refuses would fail only in a full run.
#[test]
fn every_run_is_a_command_of_this_binary() {
    for (name, run) in Runs::committed().expect("a right file").iter() {
        assert_eq!(run.lacks(&values()), None, "{name}");
        let arguments = run.arguments(&values());
        let parsed = Cli::read(std::iter::once("laprox".to_owned()).chain(arguments));
        assert!(
            parsed.is_ok(),
            "{name}: {}",
            parsed.err().map(|error| error.to_string()).unwrap_or_default()
        );
    }
}

#[test]
fn every_source_has_a_run_and_every_run_a_table() {
    let runs = Runs::committed().expect("a right file");
    let configs: Vec<_> = KINDS.iter().map(|kind| kind.config().expect("a right file")).collect();
    let files: Vec<&String> =
        configs.iter().flat_map(|config| config.sources.iter().chain(&config.optional)).collect();
    for file in &files {
        runs.of_file(file).expect("a run");
    }
    for (name, _) in runs.iter() {
        assert!(
            files.iter().any(|file| file.rsplit_once('/').is_some_and(|(folder, _)| folder == name)),
            "{name}"
        );
    }
    for config in &configs {
        assert!(!config.claims.is_empty() && !config.sources.is_empty(), "{}", config.title);
    }
}

#[test]
fn a_placeholder_that_is_an_argument_stands_for_several() {
    let runs = Runs::committed().expect("a right file");
    let run = runs.of_file("pooling/rows.csv").expect("a run");
    let values =
        Values::from([("dumps", vec!["D".to_owned(), "E".to_owned()]), ("folder", vec!["F".to_owned()])]);
    assert_eq!(run.lacks(&values), Some("experiments"));
    let arguments = run.arguments(&values);
    assert_eq!(arguments[..3], ["ablate", "D", "E"]);
    assert!(arguments.contains(&"{experiments}/ablations/pooling.toml".to_owned()));
    assert_eq!(arguments.last().map(String::as_str), Some("F"));
}

/// The bounds need nothing but the committed dump.
#[test]
fn a_full_run_makes_its_results_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let results = folder.path().join("results");
    let arguments = ["tables", "bounds", "--results", text(&results)];
    let first = stdout(&laprox(&arguments).success());
    assert!(first.contains("SmolLM2-135M") && first.contains("**holds**"), "{first}");
    let rows = fs::read(results.join("bounds/rows.csv")).expect("written");
    let log = || fs::read_to_string(results.join("runs.csv")).expect("written");
    let once = log();
    assert_eq!(once.lines().count(), 2, "{once}");
    assert!(
        once.starts_with("run,command,seconds,exit,seed,threads,processor,commit\nbounds,\"laprox bounds "),
        "{once}"
    );

    let chapter = crate::chapter("bounds", &results);
    let provenance = &chapter["sources"][0]["config"]["provenance"];
    assert_eq!(provenance["seed"], 0, "the run's own configuration is shown: {provenance}");

    let again = laprox(&arguments).success();
    assert!(stdout(&again) == first, "results that are there are read");
    assert_eq!(log(), once);
    assert_eq!(fs::read(results.join("bounds/rows.csv")).expect("still there"), rows);
    assert!(
        stdout(&laprox(&["tables", "bounds", "--quick", "--results", text(&results)]).success()) == first
    );
}

#[test]
fn a_run_without_its_values_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let results = folder.path().join("results");
    let line = refusal(&laprox(&["tables", "bounds", "needle", "--results", text(&results)]).code(2));
    assert!(line.contains("run needle: expected a value for {model}"), "{line}");
    assert!(!results.exists());
}

#[test]
fn a_run_that_fails_ends_the_tables() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (results, nowhere) = (folder.path().join("results"), folder.path().join("nowhere"));
    let arguments = ["tables", "needle", "--results", text(&results), "--model", text(&nowhere)];
    let failed = laprox(&arguments).code(3);
    let stderr = String::from_utf8(failed.get_output().stderr.clone()).expect("text");
    assert!(stderr.contains(text(&nowhere)) && stderr.contains("run needle"), "{stderr}");
    assert!(!results.join("needle/rows.csv").exists());
}
