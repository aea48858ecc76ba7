//! Tells the binary its commit, and rebuilds it when the embedded data change.

use std::process::Command;

fn main() {
    for folder in ["../fixtures/data/smollm2-135m", "results", "ablations"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=LAPROX_COMMIT={commit}");
}

/// The output of a git command, if it succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
