//! What the commands write, and that it is always the same.

use std::fs;
use std::path::Path;

use laprox_reference::{Allocation, POLICIES, PolicyEntry, RetainedSet};
use ndarray_npy::read_npy;
use serde_json::Value;

use crate::{laprox, refusal, synth, text};

const WINDOW_LEN: u32 = 8;

const DUMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/data/smollm2-135m");

fn positions(folder: &Path, sample: &str) -> (Vec<u64>, Vec<u32>) {
    let read = |name: &str| folder.join(format!("{sample}.{name}.npy"));
    let offsets: ndarray::Array1<u64> = read_npy(read("offsets")).expect("offsets are u64");
    let positions: ndarray::Array1<u32> = read_npy(read("positions")).expect("positions are u32");
    (offsets.to_vec(), positions.to_vec())
}

#[test]
fn scores_have_the_shape_of_the_candidates() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let out = folder.path().join("scores.npy");
    laprox(&["score", &dump, "--policy", "laprox", "--out", text(&out)]).success();
    let scores: ndarray::Array3<f64> = read_npy(&out).expect("scores are f64");
    assert_eq!(scores.dim(), (2, 2, 88));
    assert!(scores.iter().all(|score| score.is_finite() && *score > 0.0));
}

#[test]
fn an_eviction_keeps_the_budget_and_the_window() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "2");
    for policy in ["laprox", "laprox:allocation=head", "snapkv:allocation=layer", "random", "tova"] {
        let out = folder.path().join(policy);
        laprox(&["evict", &dump, "--policy", policy, "--budget", "20", "--out", text(&out)]).success();
        let (offsets, positions) = positions(&out, "synthetic");
        assert_eq!(offsets.len(), 5);
        assert_eq!(positions.len(), 4 * 20, "{policy}");
        for head in offsets.windows(2) {
            let kept = &positions[head[0] as usize..head[1] as usize];
            assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "{policy}: {kept:?}");
            assert!(kept.ends_with(&(96 - WINDOW_LEN..96).collect::<Vec<_>>()), "{policy}: {kept:?}");
        }
    }
}

#[test]
fn every_policy_evicts_the_committed_dump() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Ten per cent of 1024 entries in each of 15 heads, the last 32 of them the window.
    let runs = |entry: &&'static PolicyEntry| entry.rule.ranks() && entry.needs().is_empty();
    for policy in POLICIES.iter().filter(runs).map(|entry| entry.name) {
        let out = folder.path().join("retained");
        let arguments =
            ["evict", DUMP, "--policy", policy, "--budget", "10%", "--force", "--out", text(&out)];
        laprox(&arguments).success();
        let (offsets, positions) = positions(&out, "moby-dick-1");
        assert_eq!((offsets.len(), positions.len()), (16, 15 * 102), "{policy}");
        for head in offsets.windows(2) {
            let kept = &positions[head[0] as usize..head[1] as usize];
            assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "{policy}");
            assert!(kept.ends_with(&(992..1024).collect::<Vec<_>>()), "{policy}");
        }
    }
}

#[test]
fn every_policy_is_listed_with_its_formula_and_every_allocation_with_its_rule() {
    let printed = laprox(&["policies"]).success();
    let listed = String::from_utf8(printed.get_output().stdout.clone()).expect("text");
    let says = |name: &str, rule: &str| {
        let mut lines = listed.lines().filter(|line| line.starts_with(&format!("| {name} ")));
        lines.any(|line| line.contains(rule))
    };
    for entry in &POLICIES {
        assert!(says(entry.name, entry.formula), "{}", entry.name);
    }
    for allocation in Allocation::ALL {
        assert!(says(allocation.name(), allocation.entry().formula), "{}", allocation.name());
    }
    assert!(listed.contains("h2o sums over the window's queries"));
    let line =
        refusal(&laprox(&["evict", DUMP, "--budget", "10%", "--policy", "expected_attention"]).code(2));
    assert!(line.contains("layer_001.query_mean.npy") && line.contains("`laprox capture`"), "{line}");
}

#[test]
fn a_policy_that_a_dump_limits_says_so_in_its_output() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let printed = |arguments: &[&str]| {
        let printed = laprox(&[arguments, &["--budget", "50%"]].concat()).success();
        String::from_utf8(printed.get_output().stdout.clone()).expect("text")
    };
    for command in ["evict", "ablate"] {
        let says = |policy: &str, more: &[&str]| {
            printed(&[&[command, &dump, "--policy", policy], more].concat())
                .contains("h2o sums over the window's queries")
        };
        assert!(says("h2o", &[]) && says("h2o:pool=avg:3", &["--json"]), "{command}");
        assert!(!says("snapkv", &[]) && !says("snapkv", &["--json"]), "{command}");
    }
}

#[test]
fn the_summary_holds_three_errors_a_layer_and_over_the_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "3");
    let out = folder.path().join("retained");
    let printed = laprox(&["evict", &dump, "--budget", "25%", "--out", text(&out), "--json"]).success();
    let summary: Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).expect("written")).expect("JSON");
    let on_stdout: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one JSON document");
    assert_eq!(summary, on_stdout);
    let rows = summary["rows"].as_array().expect("rows");
    // Two layers and the model, three objectives, two forms.
    assert_eq!(rows.len(), 3 * 3 * 2);
    assert!(rows.iter().all(|row| row["relative_error"].as_f64().is_some_and(|error| error > 0.0)));
    assert_eq!(summary["provenance"]["dumps"][0]["sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn a_full_budget_keeps_everything_and_costs_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "4");
    let printed = laprox(&["evict", &dump, "--budget", "100%", "--json"]).success();
    let summary: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one JSON document");
    let rows = summary["rows"].as_array().expect("rows");
    assert!(!rows.is_empty() && rows.iter().all(|row| row["squared_error"].as_f64() == Some(0.0)));
    let everything = RetainedSet::everything(2, 2, 96).expect("a set");
    assert_eq!(everything.positions().len(), 4 * 96);
}

#[test]
fn outputs_do_not_depend_on_the_run_or_the_number_of_threads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "5");
    let run = |name: &str, threads: &str| {
        let path = |kind: &str| folder.path().join(format!("{kind}-{name}"));
        let (scores, retained) = (path("scores"), path("retained"));
        let rows = folder.path().join(format!("{name}.csv"));
        let common = ["--threads", threads, "--out"];
        laprox(&[&["score", &dump], &common[..], &[text(&scores)]].concat()).success();
        laprox(
            &[&["evict", &dump, "--policy", "random", "--budget", "30"], &common[..], &[text(&retained)]]
                .concat(),
        )
        .success();
        laprox(
            &[&["ablate", &dump, "--budget", "20,50%", "--format", "csv"], &common[..], &[text(&rows)]]
                .concat(),
        )
        .success();
        let files = ["synthetic.offsets.npy", "synthetic.positions.npy", "summary.json"];
        let retained = files.map(|file| fs::read(retained.join(file)).expect("written"));
        (fs::read(scores).expect("written"), retained, fs::read(rows).expect("written"))
    };
    let first = run("first", "1");
    assert!(first == run("again", "1"), "two runs differ");
    assert!(first == run("threads", "2"), "one and two threads differ");
}

#[test]
fn the_same_seed_writes_the_same_dump_and_another_seed_another() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let digest = |dump: &str| {
        let printed = laprox(&["inspect", dump, "--json"]).success();
        let inspected: Value =
            serde_json::from_slice(&printed.get_output().stdout).expect("one JSON document");
        inspected["sha256"].as_str().expect("a digest").to_owned()
    };
    let [one, two, other] = [("one", "7"), ("two", "7"), ("other", "8")]
        .map(|(name, seed)| digest(&synth(folder.path(), name, seed)));
    assert_eq!(one, two);
    assert_ne!(one, other);
}

#[test]
fn the_default_ablation_compares_every_policy_on_the_committed_dump() {
    let printed = laprox(&["ablate"]).success();
    let table = String::from_utf8(printed.get_output().stdout.clone()).expect("text");
    let compared = |policy: &&'static PolicyEntry| {
        policy.rule.ranks() && policy.needs().is_empty() || policy.name == "full"
    };
    for policy in POLICIES.iter().filter(compared) {
        assert!(table.contains(&format!("| {} ", policy.name)), "{} is missing", policy.name);
    }
    for column in ["5% drop", "10% renorm", "20% future", "50% drop"] {
        assert!(table.contains(column), "{column} is missing");
    }
}

#[test]
fn a_csv_file_has_its_configuration_beside_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let out = folder.path().join("rows.csv");
    let config = folder.path().join("rows.config.json");
    for command in [["bounds", "--trials", "8"].as_slice(), &["oracle"], &["ablate", "--policy", "laprox"]] {
        laprox(&[command, &[&dump, "--budget", "30%", "--out", text(&out), "--force"]].concat()).success();
        let found: Value =
            serde_json::from_slice(&fs::read(&config).expect("beside the rows")).expect("one document");
        assert!(found["rows"].is_null() && found["provenance"]["dumps"][0]["sha256"].is_string(), "{found}");
        let written = found.to_string();
        assert!(written.contains("\"30%\"") && written.contains("budgets"), "{written}");
        fs::remove_file(&config).expect("removed");
    }
    fs::write(&config, "mine").expect("written");
    fs::remove_file(&out).expect("removed");
    refusal(&laprox(&["oracle", &dump, "--budget", "30%", "--out", text(&out)]).code(2));
    assert_eq!(fs::read_to_string(&config).expect("kept"), "mine");
    assert!(!out.exists());
}
