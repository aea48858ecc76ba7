//! Options that a command does not read are refused, and `--json` works on every command that prints.

use std::fs;

use clap::Command;
use laprox_experiments::cli::Cli;
use laprox_experiments::unread::UNREAD;
use serde_json::{Value, json};

use crate::synthetic::Synthetic;
use crate::{laprox, refusal, synth, text};

#[test]
fn every_command_says_which_options_it_does_not_read() {
    let grammar = Cli::grammar();
    let names: Vec<&str> = grammar.get_subcommands().map(Command::get_name).collect();
    assert_eq!(names, UNREAD.map(|row| row.0));
    let common = |id: &str| grammar.get_arguments().any(|option| option.get_id() == id);
    assert!(UNREAD.iter().flat_map(|row| row.1).all(|option| common(option)));
}

#[test]
fn options_that_a_command_does_not_read_are_refused() {
    let eval = ["eval", "--model", "M", "--budget", "50%", "--task"];
    let of_task = |task, option: [&'static str; 2]| [&eval[..], &[task], &option].concat();
    let cases = [
        (vec!["inspect", "D", "--path", "fast"], "--path: laprox inspect does not"),
        (vec!["inspect", "D", "--seed", "0"], "--seed: laprox inspect does not"),
        (vec!["--force", "inspect", "D"], "--force: laprox inspect does not"),
        (vec!["inspect", "D", "--times"], "--times: laprox inspect does not"),
        (vec!["synth", "--out", "D", "--path", "gpu"], "--path: laprox synth does not"),
        (
            vec!["capture", "--model", "M", "--text", "T", "--out", "D", "--seed", "1"],
            "--seed: laprox capture",
        ),
        (vec!["bounds", "--budget", "5%", "--times"], "--times: laprox bounds does not"),
        (vec!["tasks", "--seed", "1"], "--seed: laprox tasks does not"),
        (vec!["--path", "gpu", "policies"], "--path: laprox policies does not"),
        (vec!["completions", "bash", "--json"], "--json: laprox completions does not"),
        (vec!["--json", "ablate", "--results", "R"], "--json: laprox ablate --results does not"),
        (vec!["tables", "--quick", "--path", "gpu"], "--path: laprox tables --quick does not"),
        (of_task("fidelity", ["--depth", "50"]), "--depth: laprox eval --task fidelity does not"),
        (of_task("speed,fidelity", ["--question", "aware"]), "--question: laprox eval --task speed,fidelity"),
        (of_task("fidelity", ["--samples", "3"]), "--samples: laprox eval"),
        (of_task("needle-multivalue", ["--depth", "50"]), "--depth: laprox eval"),
        (of_task("frequent-words", ["--haystack", "H"]), "--haystack: laprox eval"),
        (of_task("needle", ["--data", "D"]), "--data: laprox eval"),
        (of_task("needle", ["--text", "T"]), "--text: laprox eval"),
        (
            of_task("longbench:trec", ["--future", "8"]),
            "--future: laprox eval --task longbench:trec does not",
        ),
        (vec!["tables", "bounds", "--results", "R", "--model", "M"], "--model: none of these tables"),
        (
            vec!["tables", "needle", "--results", "R", "--model", "M", "N", "O"],
            "--model: expected at most two",
        ),
        (vec!["tables", "fidelity", "--results", "R", "--dump", "D"], "--dump: none of these tables"),
    ];
    for (arguments, named) in cases {
        let line = refusal(&laprox(&arguments).code(2));
        assert!(line.contains(named), "{arguments:?}: expected {named} in: {line}");
    }
}

/// The file is missing, so the option before it was accepted.
#[test]
fn an_option_that_one_of_the_tasks_reads_is_accepted() {
    let eval = ["eval", "--model", "nowhere", "--budget", "50%", "--task", "fidelity,needle,longbench:trec"];
    let options =
        ["--depth", "50", "--samples", "1", "--question", "aware", "--future", "8", "--threads", "1"];
    let files = ["--haystack", "nowhere", "--data", "nowhere", "--text", "nowhere"];
    let line = refusal(&laprox(&[&eval[..], &options, &files].concat()).code(3));
    assert!(line.contains("nowhere: no such file"), "{line}");
}

#[test]
fn help_lists_only_options_that_the_command_reads() {
    let help = |command: &str| {
        let printed = laprox(&[command, "--help"]).success();
        String::from_utf8(printed.get_output().stdout.clone()).expect("text")
    };
    assert!(!help("inspect").contains("--seed") && help("inspect").contains("--json"));
    assert!(!help("bounds").contains("--times") && help("evict").contains("--times"));
}

#[test]
fn every_command_that_prints_or_writes_a_result_can_print_json() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let (model, words) = (path("tiny.gguf"), path("words.txt"));
    fs::write(&model, Synthetic::new("llama").bytes()).expect("written");
    fs::write(&words, "one two three ".repeat(20)).expect("written");
    let (dump, made, captured, scores) =
        (synth(folder.path(), "dump", "1"), path("made"), path("captured"), path("scores.npy"));
    let lengths = ["--context", "40", "--window", "4", "--future", "8"];
    let document = |arguments: &[&str]| -> Value {
        let printed = laprox(&[arguments, &["--json"]].concat()).success();
        serde_json::from_slice(&printed.get_output().stdout).expect("one JSON document")
    };
    assert_eq!(document(&["synth", "--out", &made])["manifest"]["window"], 32);
    let capture = ["capture", "--model", &model, "--text", &words, "--out", &captured];
    let capture = document(&[&capture[..], &lengths].concat());
    assert_eq!(capture, document(&["inspect", &captured]));
    let written = document(&["score", &dump, "--out", &scores]);
    assert_eq!(written["files"], json!([scores]));
    for listing in [&["tasks"][..], &["policies"], &["tables", "--quick", "bounds"]] {
        assert!(!document(listing).is_null());
    }
    for command in
        [&["evict"][..], &["oracle"], &["bounds", "--trials", "2"], &["ablate", "--policy", "laprox"]]
    {
        assert!(document(&[command, &[&dump, "--budget", "50%"]].concat())["rows"].is_array(), "{command:?}");
    }
}
