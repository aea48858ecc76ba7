//! Lists that name something twice, and inputs that are no files.

use std::fs;

use crate::synthetic::Synthetic;
use crate::{laprox, refusal, synth, text};

#[test]
fn what_is_given_twice_is_refused_by_every_command() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| text(&folder.path().join(name)).to_owned();
    let dump = synth(folder.path(), "dump", "1");
    for name in ["a", "b"] {
        fs::create_dir(place(name)).expect("made");
        fs::write(place(&format!("{name}/x.txt")), "Whales.").expect("written");
    }
    let (one, two, other) = (place("a/x.txt"), place("b/x.txt"), place("a/../a/x.txt"));
    let config = place("config.toml");
    fs::write(&config, "policies = ['laprox']\nbudgets = ['50%']\nsamples = ['s', 's']\n").expect("written");
    let eval = ["eval", "--model", &one, "--task", "fidelity", "--budget", "50%"];
    let out = place("out");
    let capture = ["capture", "--model", &one, "--out", &out];
    let cases: [(&[&str], &[&str], &str); 14] = [
        (&eval, &["--policy", "snapkv", "snapkv:allocation=head"], "--policy: snapkv is given twice"),
        (&eval, &["--budget", "0.5"], "--budget: 50% is given twice"),
        (&eval, &["--task", "fidelity"], "--task: fidelity is given twice"),
        (&eval, &["--context", "64,64"], "--context: 64 is given twice"),
        (&eval, &["--task", "needle", "--depth", "25,25%"], "--depth: 25 is given twice"),
        (&eval, &["--text", &one, &two], "texts of one name"),
        (&capture, &["--text", &one, &other], "--text: "),
        (&capture, &["--text", &one, "--layers", "0,0"], "--layers: 0 is given twice"),
        (&["ablate", &dump], &["--budget", "50%,0.5"], "budgets: 50% is given twice"),
        (&["ablate", &dump], &["--policy", "laprox", "--policy", "laprox:pool=avg:7"], "policies: laprox is"),
        (&["ablate", &dump], &["--allocation", "head,head"], "axis allocation: head is given twice"),
        (&["ablate", &dump], &["--config", &config], "samples: s is given twice"),
        (&["oracle", &dump], &["--budget", "50%,50%"], "--budget: 50% is given twice"),
        (&["bounds", &dump], &["--budget", "50%,0.50"], "--budget: 50% is given twice"),
    ];
    for (command, more, named) in cases {
        let line = refusal(&laprox(&[command, more].concat()).code(2));
        assert!(line.contains(named), "{more:?}: expected {named} in: {line}");
    }
    assert!(!folder.path().join("out").exists());
}

#[cfg(unix)]
#[test]
fn pipes_devices_and_folders_are_no_inputs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| text(&folder.path().join(name)).to_owned();
    let apart = tempfile::tempdir().expect("a temporary folder");
    let (model, pipe, out) = (place("tiny.gguf"), place("pipe"), text(&apart.path().join("out")).to_owned());
    fs::write(&model, Synthetic::new("qwen2").bytes()).expect("written");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    for input in [&pipe, "/dev/zero", text(folder.path())] {
        let ruler = format!("ruler:{input}");
        let eval = ["eval", "--model", &model, "--budget", "50%", "--context", "64", "--task"];
        let cases: [&[&str]; 5] = [
            &[&eval[..], &["fidelity", "--text", input]].concat(),
            &[&eval[..], &["needle", "--haystack", input]].concat(),
            &[&eval[..], &[&ruler]].concat(),
            &["capture", "--model", &model, "--text", input, "--out", &out],
            &["ablate", "--config", input],
        ];
        for arguments in cases {
            let line = refusal(&laprox(arguments).code(2));
            assert!(line.contains(&format!("{input}: expected a file")), "{arguments:?}: {line}");
        }
    }
}

#[test]
fn samples_have_legal_names_whatever_their_files_are_called() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| text(&folder.path().join(name)).to_owned();
    fs::write(place("tiny.gguf"), Synthetic::new("llama").bytes()).expect("written");
    fs::create_dir(place("again")).expect("made");
    let long = "a".repeat(140);
    let names = ["Weights.txt", "manifest.json.txt", "naïve one.txt", "..txt", "again/weights.md"];
    let names = names.into_iter().map(str::to_owned).chain([format!("{long}.txt"), format!("{long}b.txt")]);
    let texts: Vec<String> = names.map(|name| place(&name)).collect();
    texts.iter().for_each(|path| fs::write(path, "Call me Ishmael. ".repeat(4)).expect("written"));
    let (model, dump) = (place("tiny.gguf"), place("dump"));
    let fixed =
        ["capture", "--model", &model, "--context", "40", "--window", "4", "--future", "4", "--out", &dump];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    laprox(&[&fixed[..], &["--text"], &texts].concat()).success();
    let manifest = fs::read(folder.path().join("dump/manifest.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let found: Vec<_> =
        manifest["samples"].as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
    let (cut, second) = ("a".repeat(100), format!("{}-2", "a".repeat(100)));
    assert_eq!(
        found,
        ["text_Weights", "text_manifest.json", "na_ve_one", "text_", "text_weights-2", &cut, &second]
    );
}

#[test]
fn budgets_that_a_comparison_leaves_out_are_named_on_stderr() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let longer = crate::synth_of(folder.path(), "longest", "3", "200");
    let printed = laprox(&["ablate", &dump, &longer, "--budget", "5%,50%", "--format", "csv"]).success();
    let notes = String::from_utf8(printed.get_output().stderr.clone()).expect("text");
    assert!(notes.contains("5% of 96 left out, not more than the window of 8"), "{notes}");
    assert_eq!(notes.lines().count(), 1, "{notes}");
}
