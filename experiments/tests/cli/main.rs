//! What scripts outside the project rely on: exit codes, files, determinism.

mod ablation;
mod bounds;
#[path = "../../../fixtures/tests/broken/mod.rs"]
mod broken;
mod data;
mod eval;
mod eval_given;
mod force;
mod given;
mod inputs;
mod journal;
mod malformed;
mod numerics;
mod oracle;
mod outputs;
mod refusals;
mod results;
mod reweighted;
mod streams;
mod supplements;
#[path = "../model/synthetic.rs"]
#[allow(dead_code, reason = "shared with the tests of the model")]
mod synthetic;
mod tokens;
mod unread;

use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;

/// Runs the binary as on a machine without a GPU.
fn laprox(arguments: &[&str]) -> Assert {
    let mut command = Command::cargo_bin("laprox").expect("the binary is built");
    command.env("CUDA_VISIBLE_DEVICES", "-1").args(arguments).assert()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are plain")
}

/// A small synthetic dump in `folder`.
fn synth(folder: &Path, name: &str, seed: &str) -> String {
    synth_of(folder, name, seed, "96")
}

/// The same with another context.
fn synth_of(folder: &Path, name: &str, seed: &str, context: &str) -> String {
    let dump = text(&folder.join(name)).to_owned();
    let shapes =
        ["--layers", "2", "--heads", "4", "--kv-heads", "2", "--head-dim", "8", "--hidden-size", "12"];
    let lengths = ["--context", context, "--window", "8", "--future", "4", "--seed", seed, "--out", &dump];
    laprox(&[&["synth"], &shapes[..], &lengths[..]].concat()).success();
    dump
}

/// The one line that a refusal prints.
fn refusal(assert: &Assert) -> String {
    let stderr = String::from_utf8(assert.get_output().stderr.clone()).expect("stderr is text");
    assert_eq!(stderr.lines().count(), 1, "expected one line, found: {stderr}");
    stderr
}
