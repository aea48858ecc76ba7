//! The committed dump is what the command beside it writes. Runs where `LAPROX_MODEL` names the model's file.

use std::env;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use laprox_fixtures::Dump;
use laprox_reference::{Elements, LayerProblem};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/data");

fn model() -> Option<PathBuf> {
    let model = env::var_os("LAPROX_MODEL").map(PathBuf::from);
    if model.is_none() {
        assert!(
            env::var_os("LAPROX_REQUIRE_MODEL").is_none(),
            "LAPROX_REQUIRE_MODEL is set, LAPROX_MODEL is not"
        );
        eprintln!("skipped: LAPROX_MODEL does not name the model's file");
    }
    model
}

#[test]
fn the_committed_dump_is_what_its_command_writes() {
    let Some(model) = model() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("smollm2-135m");
    capture(&model, &out);
    let [committed, made] =
        [Path::new(DATA).join("smollm2-135m"), out].map(|path| Dump::open(path).expect("a dump"));
    assert_eq!(committed.manifest(), made.manifest());
    let mut largest = 0.0_f64;
    for ordinal in committed.manifest().ordinals() {
        let layers = [&committed, &made].map(|dump| dump.layer(0, ordinal).expect("a layer"));
        let [committed, made] = layers.each_ref().map(|layer| layer.problem().expect("a valid layer"));
        for (name, committed, made) in
            tensors(&committed).into_iter().zip(tensors(&made)).map(|(a, b)| (a.0, a.1, b.1))
        {
            let share = share_of_bound(committed, made);
            assert!(share <= 1.0, "layer {ordinal} of the dump, {name}: {share} of the bound");
            largest = largest.max(share);
        }
    }
    eprintln!("largest share of the bound used: {largest}");
}

/// The options of `smollm2-135m.sh`.
fn capture(model: &Path, out: &Path) {
    let text = Path::new(DATA).join("moby-dick-1.txt");
    let mut command = Command::cargo_bin("laprox").expect("the binary is built");
    command.arg("capture").arg("--model").arg(model).arg("--text").arg(text).arg("--out").arg(out);
    command.args(["--context", "1024", "--window", "32", "--future", "32"]);
    command.args(["--layers", "1,10,15,20,29", "--precision", "f16"]).assert().success();
}

fn tensors<'a>(problem: &LayerProblem<'a>) -> [(&'static str, Elements<'a>); 5] {
    let activations = problem.activations();
    let future = activations.future_query.expect("the dump has later queries");
    [
        ("query", activations.query.elements()),
        ("key", activations.key.elements()),
        ("value", activations.value.elements()),
        ("output projection", activations.output_projection.elements()),
        ("future query", future.elements()),
    ]
}

/// How much of the allowed difference is used: the products of another CPU may round differently, by at most 1e-4 of
/// the tensor's largest value (what the runner may differ from transformers by), and may then fall on the next f16, 2^-10 of
/// the value away. NaN uses all of it and more.
fn share_of_bound(committed: Elements<'_>, made: Elements<'_>) -> f64 {
    let (committed, made) = (committed.to_f64(), made.to_f64());
    assert_eq!(committed.len(), made.len());
    let largest = committed.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let share = |(one, two): (&f64, &f64)| {
        let share = (one - two).abs() / (1e-4 * largest + one.abs() / 1024.0);
        if share.is_nan() { f64::INFINITY } else { share }
    };
    committed.iter().zip(&made).map(share).fold(0.0, f64::max)
}
