//! Numbers of any size: small ones give the reference's sets, and those that f64 does not hold are refused by name.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use ndarray_npy::{ReadableElement, WritableElement, read_npy, write_npy};
use serde_json::Value;

use crate::{laprox, refusal, text};

/// A synthetic dump in f32.
fn singles(folder: &Path) -> PathBuf {
    let dump = folder.join("dump");
    let shapes =
        ["--layers", "2", "--heads", "4", "--kv-heads", "2", "--head-dim", "8", "--hidden-size", "12"];
    let lengths =
        ["--context", "96", "--window", "8", "--future", "4", "--precision", "f32", "--out", text(&dump)];
    laprox(&[&["synth"], &shapes[..], &lengths[..]].concat()).success();
    dump
}

/// Replaces a tensor by what `make` makes of it.
fn rewrite<T: WritableElement>(path: &Path, make: impl Fn(f32) -> T) {
    let array: ArrayD<f32> = read_npy(path).expect("an array of singles");
    write_npy(path, &array.mapv(make)).expect("written");
}

fn read<T: ReadableElement>(path: &Path) -> Vec<T> {
    read_npy::<_, ArrayD<T>>(path).expect("an array").into_iter().collect()
}

/// The positions and the relative errors of an eviction.
fn evicted(dump: &Path, path: &str) -> (Vec<u32>, Vec<f64>) {
    let out = dump.with_file_name(path);
    let arguments =
        ["evict", text(dump), "--budget", "20", "--path", path, "--json", "--force", "--out", text(&out)];
    let printed = laprox(&arguments).success();
    let summary: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one JSON document");
    let errors = summary["rows"].as_array().expect("rows").iter();
    let errors = errors.map(|row| row["relative_error"].as_f64().expect("an error")).collect();
    (read(&out.join("synthetic.positions.npy")), errors)
}

#[test]
fn small_values_and_weights_evict_as_the_reference_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = singles(folder.path());
    for (value, weight) in [(1e-25, 1.0), (1e-10, 1e-30)] {
        rewrite(&dump.join("synthetic/layer_000.v.npy"), |number| number * value);
        rewrite(&dump.join("weights/layer_000.o_proj.npy"), |number| number * weight);
        let ((one, fast), (two, reference)) = (evicted(&dump, "fast"), evicted(&dump, "reference"));
        assert_eq!(one, two);
        for (fast, reference) in fast.iter().zip(reference) {
            assert!(reference > 0.0 && (fast / reference - 1.0).abs() < 1e-3, "{fast} for {reference}");
        }
    }
}

#[test]
fn logits_beyond_f32_are_the_references() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = singles(folder.path());
    let manifest = dump.join("manifest.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&manifest).expect("read")).expect("JSON");
    json["model"]["attention_scale"] = 1e38.into();
    fs::write(&manifest, json.to_string()).expect("written");
    assert_eq!(evicted(&dump, "fast"), evicted(&dump, "reference"));
}

#[test]
fn what_f64_does_not_hold_is_refused_with_its_layer() {
    let huge = |tensor: &str, factor: f64| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dump = singles(folder.path());
        rewrite(&dump.join(tensor), |number| f64::from(number) * factor);
        let rows = folder.path().join("rows.csv");
        for path in ["fast", "reference"] {
            let results = folder.path().join(path);
            for command in [
                &["evict", text(&dump), "--budget", "20"][..],
                &["bounds", text(&dump), "--budget", "20", "--out", text(&rows)],
                &["oracle", text(&dump), "--budget", "20", "--out", text(&rows)],
                &["ablate", text(&dump), "--budget", "20", "--policy", "laprox", "--results", text(&results)],
            ] {
                let line = refusal(&laprox(&[command, &["--path", path]].concat()).code(2));
                assert!(line.contains("layer 1") && line.contains("beyond the range of f64"), "{line}");
                assert!(!rows.exists());
            }
        }
    };
    huge("synthetic/layer_001.v.npy", 1e200);
    huge("weights/layer_001.o_proj.npy", 1e180);
    huge("weights/layer_001.o_proj.npy", 1e-200);
}

/// The fourth powers of B4 leave the finite numbers, but squares do not.
#[test]
fn large_numbers_that_f64_holds_are_no_violation() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = singles(folder.path());
    rewrite(&dump.join("synthetic/layer_000.v.npy"), |number| f64::from(number) * 1e100);
    let errors = evicted(&dump, "fast").1;
    assert!(errors.iter().all(|error| error.is_finite()));
    let outcome = laprox(&["bounds", text(&dump), "--budget", "20", "--json"]);
    let code = outcome.get_output().status.code();
    assert!(code == Some(0) || code == Some(2) && refusal(&outcome).contains("layer 0"), "{code:?}");
}
