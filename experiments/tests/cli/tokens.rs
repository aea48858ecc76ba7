//! A dump knows its tokens, and a retained set those that it was made for.

use std::fs;
use std::path::Path;

use candle_core::quantized::gguf_file::Value as Metadata;
use ndarray::Array1;
use ndarray_npy::{read_npy, write_npy};
use serde_json::{Value, json};

use crate::synthetic::{EOS, Synthetic};
use crate::{laprox, refusal, synth, text};

fn document(arguments: &[&str]) -> Value {
    let printed = laprox(arguments).success();
    serde_json::from_slice(&printed.get_output().stdout).expect("one document")
}

/// Gives a synthetic dump tokens.
fn add_tokens(dump: &str, first: u32) {
    let manifest = Path::new(dump).join("manifest.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    document["samples"][0]["bos"] = json!(false);
    fs::write(&manifest, document.to_string()).unwrap();
    let tokens: Array1<u32> = (first..first + 100).collect();
    write_npy(Path::new(dump).join("synthetic/tokens.npy"), &tokens).unwrap();
}

#[test]
fn capture_writes_the_tokens_and_whether_the_first_was_added() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| text(&folder.path().join(name)).to_owned();
    fs::write(place("text.txt"), "It's a text of some length").unwrap();
    for added in [false, true] {
        let mut model = Synthetic::new("qwen2");
        model.set("tokenizer.ggml.bos_token_id", Metadata::U32(EOS));
        model.set("tokenizer.ggml.add_bos_token", Metadata::Bool(added));
        fs::write(place("model.gguf"), model.bytes()).unwrap();
        let dump = place(&format!("dump-{added}"));
        let of_model =
            ["capture", "--model", &place("model.gguf"), "--text", &place("text.txt"), "--out", &dump];
        laprox(&[&of_model[..], &["--context", "9", "--window", "3", "--future", "2"]].concat()).success();
        let tokens: Array1<u32> = read_npy(Path::new(&dump).join("text/tokens.npy")).unwrap();
        let expected = model.load().unwrap().tokenizer().encode("It's a text of some length").unwrap();
        assert_eq!(tokens.to_vec(), expected[..11]);
        assert_eq!(tokens[0] == EOS, added);
        let inspected = document(&["inspect", &dump, "--json"]);
        assert_eq!(inspected["manifest"]["samples"][0]["bos"], added);
        assert_eq!(inspected["tokens"], json!([{"sample": "text", "ids": expected[..11]}]));
        let shown = laprox(&["inspect", &dump]).success();
        let shown = String::from_utf8(shown.get_output().stdout.clone()).unwrap();
        let first = expected[..8].iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let start = if added { "| added " } else { "| not added " };
        assert!(shown.contains(&format!("{first}, ..")) && shown.contains(start), "{shown}");
    }
}

#[test]
fn a_set_is_refused_for_other_tokens_than_those_it_was_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let [own, other, silent] = ["own", "other", "silent"].map(|name| synth(folder.path(), name, "5"));
    add_tokens(&own, 7);
    add_tokens(&other, 8);
    let set = text(&folder.path().join("set")).to_owned();
    laprox(&["evict", &own, "--policy", "laprox", "--budget", "20", "--out", &set]).success();
    let with_set = |dump: &str| laprox(&["evict", dump, "--retained", &set]);
    with_set(&own).success();
    with_set(&silent).success();
    let line = refusal(&with_set(&other).code(2));
    assert!(line.contains("summary.json: synthetic: expected a set for tokens with SHA-256 "), "{line}");
    let summary = Path::new(&set).join("summary.json");
    let whole = fs::read_to_string(&summary).unwrap();
    fs::write(&summary, "[").unwrap();
    let line = refusal(&with_set(&own).code(2));
    assert!(line.contains("summary.json: expected a summary of a set, found a fault: "), "{line}");
    fs::remove_file(&summary).unwrap();
    with_set(&other).success();
    // The future is no part of what a set was made for.
    let tokens = Path::new(&own).join("synthetic/tokens.npy");
    let mut changed: Array1<u32> = read_npy(&tokens).unwrap();
    changed[99] += 1;
    write_npy(&tokens, &changed).unwrap();
    fs::write(&summary, whole).unwrap();
    with_set(&own).success();
}

#[test]
fn a_set_of_a_dump_without_tokens_says_nothing_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let dump = synth(folder.path(), "dump", "5");
    let set = text(&folder.path().join("set")).to_owned();
    laprox(&["evict", &dump, "--policy", "laprox", "--budget", "20", "--out", &set]).success();
    let summary: Value =
        serde_json::from_slice(&fs::read(Path::new(&set).join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["sets"][0]["sample"], "synthetic");
    assert!(summary["sets"][0].get("tokens_sha256").is_none());
}
