//! Every policy runs on a dump that `capture` makes with default options; files that some policies read are checked like others.

use std::fs;
use std::path::Path;

use laprox_reference::POLICIES;
use ndarray::{Array2, Array3};
use ndarray_npy::{read_npy, write_npy};
use serde_json::{Value, json};

use crate::synthetic::Synthetic;
use crate::{laprox, refusal, synth, text};

const ALL: [&str; 5] =
    ["query_mean", "query_covariance", "query_rotation", "repeat_max", "repeat_relative_max"];

/// A dump of a tiny model: 10 tokens of context, a window of 3.
fn captured(folder: &Path, name: &str, options: &[&str]) -> String {
    let place = |name: &str| text(&folder.join(name)).to_owned();
    let (model, words, dump) = (place("model.gguf"), place("text.txt"), place(name));
    fs::write(&words, "It's a text of some length").unwrap();
    fs::write(&model, Synthetic::new("qwen2").bytes()).unwrap();
    let of_model = ["capture", "--model", &model, "--text", &words, "--out", &dump];
    let lengths = ["--context", "10", "--window", "3", "--future", "2"];
    laprox(&[&of_model[..], &lengths, options].concat()).success();
    dump
}

fn document(arguments: &[&str]) -> Value {
    let printed = laprox(&[arguments, &["--json"]].concat()).success();
    serde_json::from_slice(&printed.get_output().stdout).expect("one document")
}

#[test]
fn every_policy_runs_on_a_dump_that_capture_makes_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let dump = captured(folder.path(), "dump", &[]);
    let inspected = document(&["inspect", &dump, "--check"]);
    assert_eq!(inspected["supplements"], json!([{"sample": "text", "names": ALL}]));
    let out = text(&folder.path().join("retained")).to_owned();
    for policy in POLICIES.iter().filter(|entry| entry.rule.ranks()).map(|entry| entry.name) {
        let arguments = ["evict", &dump, "--policy", policy, "--budget", "6", "--force", "--out", &out];
        laprox(&arguments).success();
        let positions: ndarray::Array1<u32> = read_npy(Path::new(&out).join("text.positions.npy")).unwrap();
        // Two layers of two KV heads keep 6 entries each on average, the last 3 of them the window.
        assert_eq!(positions.len(), 2 * 2 * 6, "{policy}");
        assert_eq!(positions.iter().filter(|&&position| position >= 7).count(), 2 * 2 * 3, "{policy}");
    }
    let compared = document(&["ablate", &dump, "--budget", "6"]);
    for policy in ["expected_attention", "kvzip", "kvzip+"] {
        assert!(compared["rows"].as_array().unwrap().iter().any(|row| row["policy"] == policy), "{policy}");
    }
}

#[test]
fn capture_writes_what_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let names = |dump: &str| document(&["inspect", dump])["supplements"][0]["names"].clone();
    let without = captured(folder.path(), "without", &["--repeat=no"]);
    assert_eq!(names(&without), json!(ALL[..3]));
    let ahead = captured(folder.path(), "ahead", &["--repeat", "--lookahead", "4", "--precision", "f16"]);
    let expected = [&ALL[..], &["q_lookahead", "k_lookahead", "v_lookahead"]].concat();
    assert_eq!(names(&ahead), json!(expected));
    let place = |name: &str| Path::new(&ahead).join(format!("text/layer_001.{name}.npy"));
    let queries: Array3<f32> = read_npy(place("q_lookahead")).unwrap();
    let maxima: Array2<f32> = read_npy(place("repeat_max")).unwrap();
    assert_eq!((queries.dim(), maxima.dim()), ((6, 4, 8), (2, 10)));
    assert!(maxima.iter().all(|&most| most > 0.0 && most <= 1.0));
    let evict = |dump: &str, policy: &str| laprox(&["evict", dump, "--policy", policy, "--budget", "6"]);
    for path in ["reference", "fast"] {
        for policy in ["laprox:lookahead=4", "centred:lookahead=2,lookahead_only=yes", "tova"] {
            laprox(&["evict", &ahead, "--policy", policy, "--budget", "6", "--path", path]).success();
        }
    }
    let line = refusal(&evict(&ahead, "snapkv:lookahead=5").code(2));
    assert!(line.contains("q_lookahead: expected at least 5 tokens, found 4"), "{line}");
    let line = refusal(&evict(&without, "kvzip").code(2));
    assert!(line.contains("layer_000.repeat_max.npy") && line.contains("capture --repeat"), "{line}");
    // A dump with supplements is nothing but a dump, so that it may be replaced.
    captured(folder.path(), "ahead", &["--force"]);
    assert_eq!(names(&ahead), json!(ALL));
}

#[test]
fn a_capture_that_has_no_room_for_a_repetition_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| text(&folder.path().join(name)).to_owned();
    fs::write(place("text.txt"), "It's a text of some length").unwrap();
    fs::write(place("model.gguf"), Synthetic::new("qwen2").bytes()).unwrap();
    let (model, words, out) = (place("model.gguf"), place("text.txt"), place("dump"));
    let arguments = [
        "capture",
        "--model",
        &model,
        "--text",
        &words,
        "--out",
        &out,
        "--context",
        "20",
        "--future",
        "0",
        "--window",
        "4",
    ];
    let line = refusal(&laprox(&[&arguments[..], &["--repeat"]].concat()).code(2));
    let expected =
        "--repeat: context and repetition are 79 tokens, expected at most the model's context length 64";
    assert!(line.contains(expected), "{line}");
    let done = laprox(&arguments).success();
    let said = String::from_utf8(done.get_output().stderr.clone()).unwrap();
    assert!(said.contains("nothing for kvzip"), "{said}");
}

#[test]
fn a_supplement_changes_the_digest_and_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let dump = synth(folder.path(), "dump", "1");
    let digest = || document(&["inspect", &dump])["sha256"].as_str().unwrap().to_owned();
    let (before, file) = (digest(), Path::new(&dump).join("synthetic/layer_001.repeat_max.npy"));
    write_npy(&file, &Array2::<f32>::ones((2, 96))).unwrap();
    assert_ne!(digest(), before);
    assert_eq!(document(&["inspect", &dump])["supplements"][0]["names"], json!([]));
    let line = refusal(&laprox(&["evict", &dump, "--policy", "kvzip", "--budget", "20"]).code(2));
    assert!(line.contains("layer_000.repeat_max.npy, found nothing"), "{line}");
    write_npy(&file, &Array2::<f32>::ones((2, 95))).unwrap();
    let line = refusal(&laprox(&["inspect", &dump]).code(2));
    assert!(line.contains("layer_001.repeat_max.npy: expected shape [2, 96], found [2, 95]"), "{line}");
    write_npy(&file, &Array2::<f32>::from_elem((2, 96), f32::NAN)).unwrap();
    let line = refusal(&laprox(&["inspect", &dump, "--check"]).code(2));
    assert!(line.contains("layer_001.repeat_max.npy: expected finite elements"), "{line}");
    let line = refusal(&laprox(&["evict", &dump, "--policy", "laprox", "--budget", "20"]).code(2));
    assert!(line.contains("layer_001.repeat_max.npy") && line.contains("finite"), "{line}");
}
