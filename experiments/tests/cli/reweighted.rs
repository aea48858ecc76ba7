//! Reweighted sets: written, read back, measured the same on every path, and refused where only original weights mean something.

use std::fs;
use std::path::Path;

use ndarray::{Array1, Array2};
use ndarray_npy::{read_npy, write_npy};
use serde_json::Value;

use crate::{laprox, refusal, synth, text};

/// Errors by layer, objective and form.
fn errors(arguments: &[&str]) -> Vec<(String, Value)> {
    let printed = laprox(&[&["evict"], arguments, &["--json"]].concat()).success();
    let document: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one document");
    let rows = document["rows"].as_array().expect("rows").iter();
    rows.map(|row| {
        let named = ["layer", "objective", "form"].map(|key| row[key].to_string());
        (named.join(" "), row["squared_error"].clone())
    })
    .collect()
}

#[test]
fn a_reweighted_set_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "5");
    for (policy, has_values) in [
        ("poisson", false),
        ("laprox:refit=bias", false),
        ("snapkv:refit=values", true),
        ("shrunk:refit=values", true),
        ("oracle:certified:refit=bias", false),
    ] {
        let place = folder.path().join(format!("kept-{}", policy.replace([':', '='], "-")));
        let set = text(&place);
        let own = errors(&[&dump, "--policy", policy, "--budget", "25%", "--out", set]);
        assert!(own.iter().all(|(name, _)| !name.contains("drop")), "{own:?}");
        assert!(own.iter().any(|(name, _)| name.contains("future")));
        assert_eq!(errors(&[&dump, "--retained", set]), own, "{policy}");
        assert_eq!(errors(&[&dump, "--retained", set, "--path", "reference"]), own, "{policy}");
        let positions: Array1<u32> = read_npy(place.join("synthetic.positions.npy")).expect("positions");
        let bias: Array1<f32> = read_npy(place.join("synthetic.bias.npy")).expect("biases");
        assert_eq!(bias.len(), positions.len());
        assert!(bias.iter().all(|&bias| bias >= 0.0) && bias.iter().any(|&bias| bias > 0.0), "{policy}");
        let values = place.join("synthetic.values.npy");
        assert_eq!(values.exists(), has_values, "{policy}");
        if has_values {
            let values: Array2<f32> = read_npy(values).expect("values");
            assert_eq!(values.dim(), (positions.len(), 8));
        }
    }
}

#[test]
fn a_bias_changes_what_a_set_costs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "6");
    let set = folder.path().join("set");
    let plain = errors(&[&dump, "--policy", "snapkv", "--budget", "25%", "--out", text(&set)]);
    let positions: Array1<u32> = read_npy(set.join("synthetic.positions.npy")).expect("positions");
    write_npy(set.join("synthetic.bias.npy"), &Array1::<f64>::zeros(positions.len())).expect("written");
    let zero = errors(&[&dump, "--retained", text(&set), "--path", "reference"]);
    let of_plain = errors(&[&dump, "--policy", "snapkv", "--budget", "25%", "--path", "reference"]);
    let undropped: Vec<_> = of_plain.into_iter().filter(|(name, _)| !name.contains("drop")).collect();
    assert_eq!(zero, undropped);
    write_npy(set.join("synthetic.bias.npy"), &Array1::from_elem(positions.len(), 3.0_f32)).expect("written");
    let shifted = errors(&[&dump, "--retained", text(&set)]);
    for ((name, shifted), (_, zero)) in
        shifted.iter().zip(&zero).filter(|((name, _), _)| name.contains("renorm"))
    {
        let [shifted, zero] = [shifted, zero].map(|error| error.as_f64().expect("a number"));
        assert!((shifted - zero).abs() < 1e-9 * zero, "{name}: one bias for all is none: {shifted}, {zero}");
    }
    write_npy(
        set.join("synthetic.bias.npy"),
        &Array1::from_iter((0..positions.len()).map(|i| i as f32 % 5.0)),
    )
    .expect("written");
    assert_ne!(errors(&[&dump, "--retained", text(&set)]), shifted);
    assert!(plain.iter().any(|(name, _)| name.contains("drop")));
}

#[test]
fn bounds_and_drop_oracles_refuse_reweighted_sets() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "7");
    let place = folder.path().join("kept");
    let set = text(&place);
    laprox(&[
        "evict",
        &dump,
        "--policy",
        "laprox:allocation=layer,refit=bias",
        "--budget",
        "25%",
        "--out",
        set,
    ])
    .success();
    let no_drop = "has no drop error";
    for (arguments, expected) in [
        (vec!["bounds", &dump, "--policy", "poisson", "--budget", "25%"], "found a reweighted one"),
        (vec!["bounds", &dump, "--retained", set], "found a reweighted one"),
        (vec!["oracle", &dump, "--budget", "25%", "--policy", "poisson"], no_drop),
        (vec!["oracle", &dump, "--budget", "25%", "--policy", "laprox", "--retained", set], no_drop),
        (
            vec!["oracle", &dump, "--budget", "25%", "--oracle", "oracle:certified:refit=bias"],
            "expected an oracle without refit",
        ),
    ] {
        let line = refusal(&laprox(&arguments).code(2));
        assert!(line.contains(expected), "{line}");
    }
    let compared = ["oracle", &dump, "--budget", "25%", "--oracle", "renormalised", "--policy", "poisson"];
    laprox(&[&compared[..], &["--retained", set]].concat()).success();
}

#[test]
fn hostile_biases_and_values_end_in_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "8");
    let place = folder.path().join("kept");
    laprox(&["evict", &dump, "--policy", "snapkv:refit=values", "--budget", "25%", "--out", text(&place)])
        .success();
    let [bias, values] = ["bias", "values"].map(|name| place.join(format!("synthetic.{name}.npy")));
    let refused = |expected: &str| {
        let line = refusal(&laprox(&["evict", &dump, "--retained", text(&place)]).code(2));
        assert!(line.contains(expected), "{line}");
    };
    let good: Array1<f32> = read_npy(&bias).expect("biases");
    let with = |path: &Path, bytes: &dyn Fn(), expected: &str| {
        let before = fs::read(path).expect("a file");
        bytes();
        refused(expected);
        fs::write(path, before).expect("written");
    };
    let short = good.slice(ndarray::s![1..]).to_owned();
    with(&bias, &|| write_npy(&bias, &short).expect("written"), "synthetic.bias.npy");
    let nan = good.mapv(|_| f32::NAN);
    with(&bias, &|| write_npy(&bias, &nan).expect("written"), "expected finite elements");
    let huge = good.mapv(|_| 1e300_f64);
    with(&bias, &|| write_npy(&bias, &huge).expect("written"), "bias: expected finite numbers");
    with(&bias, &|| fs::remove_file(&bias).expect("removed"), "synthetic.bias.npy beside it");
    let wide = Array2::<f32>::zeros((good.len(), 9));
    with(&values, &|| write_npy(&values, &wide).expect("written"), "synthetic.values.npy");
    laprox(&["evict", &dump, "--retained", text(&place)]).success();
}
