//! Bad arguments and missing things: one line, the right code, nothing touched.

use std::fs;

use crate::{laprox, refusal, synth, text};

#[test]
fn bad_arguments_end_in_one_line_and_code_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let config = folder.path().join("config.toml");
    fs::write(&config, "policies = ['laprox']\nbudgets = ['5%']\ncolour = 'red'\n").expect("written");
    let out = text(&folder.path().join("out")).to_owned();
    let cases: [(&[&str], &str); 19] = [
        (&["evict", &dump], "--budget"),
        (&["evict", &dump, "--budget", "0"], "window of 8"),
        (&["evict", &dump, "--budget", "8"], "window of 8"),
        (&["evict", &dump, "--budget", "101%"], "at most 100%"),
        (&["evict", &dump, "--budget", "many"], "many"),
        (&["evict", &dump, "--budget", "50%", "--policy", "lapox"], "snapkv"),
        (&["evict", &dump, "--budget", "50%", "--policy", "snapkv:gqa=exact"], "mean|max"),
        (&["evict", &dump, "--budget", "50%", "--policy", "laprox:colour=red"], "allocation, norm, beta"),
        (&["evict", &dump, "--budget", "50%", "--threads", "0"], "--threads"),
        (&["evict", &dump, "--budget", "50%", "--threads", "65535"], "1..=1024"),
        (&["ablate", &dump, "--config", text(&config)], "colour"),
        (&["ablate", &dump, "--allocation", "heads"], "head|layer|model|model-raw"),
        (&["ablate", &dump, "--json", "--format", "csv"], "--format"),
        (&["synth", "--out", &out, "--heads", "9", "--kv-heads", "2"], "2 KV heads"),
        (&["synth", "--out", &out, "--context", "16", "--window", "32"], "window"),
        (&["synth", "--out", &out, "--layers", "18446744073709551615"], "1..=65536"),
        (&["synth", "--out", &out, "--context", "4294967295", "--kv-heads", "9"], "free"),
        (&["ablate", &dump, "--jobs", "65535"], "1..=1024"),
        (&["oracle", &dump, "--budget", "50%", "--seconds", "18446744073709551615"], "0..=31536000"),
    ];
    for (arguments, named) in cases {
        let line = refusal(&laprox(arguments).code(2));
        assert!(line.contains(named), "{arguments:?}: expected {named} in: {line}");
    }
    assert!(!folder.path().join("out").exists());
}

/// Of rows as CSV, the configuration beside them is refused as early as they: before the dump is looked for.
#[test]
fn an_output_that_exists_is_refused_before_anything_is_computed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nowhere = text(&folder.path().join("nowhere")).to_owned();
    let rows = text(&folder.path().join("rows.csv")).to_owned();
    for existing in ["rows.csv", "rows.config.json"] {
        let existing = folder.path().join(existing);
        fs::write(&existing, "kept").expect("a file");
        for command in ["ablate", "bounds", "oracle"] {
            let line = refusal(&laprox(&[command, &nowhere, "--budget", "50%", "--out", &rows]).code(2));
            assert!(line.contains(text(&existing)) && line.contains("--force"), "{command}: {line}");
        }
        assert_eq!(fs::read_to_string(&existing).expect("the file"), "kept");
        fs::remove_file(&existing).expect("removed");
    }
}

#[test]
fn what_is_missing_ends_in_code_3() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let nowhere = text(&folder.path().join("nowhere")).to_owned();
    let out = text(&folder.path().join("out")).to_owned();
    let cases: [&[&str]; 5] = [
        &["inspect", &nowhere],
        &["ablate", &dump, "--config", &nowhere],
        &["score", &nowhere, "--out", &out],
        &["capture", "--model", &nowhere, "--text", &nowhere, "--out", &out],
        &["score", &dump, "--path", "gpu", "--out", &out],
    ];
    for arguments in cases {
        refusal(&laprox(arguments).code(3));
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn the_name_of_a_repository_is_refused_with_the_way_to_download_it() {
    let capture = ["capture", "--model", "Owner/Tiny-1.5B", "--text", "T", "--out", "D"];
    let eval = ["eval", "--model", "Owner/Tiny-1.5B", "--task", "needle", "--budget", "50%"];
    for arguments in [&capture[..], &eval] {
        let line = refusal(&laprox(arguments).code(3));
        assert!(line.contains("`hf download Owner/Tiny-1.5B --local-dir FOLDER`"), "{line}");
    }
    let typo = ["capture", "--model", "models/tiny.gguf", "--text", "T", "--out", "D"];
    assert!(!refusal(&laprox(&typo).code(3)).contains("hf download"));
}

#[test]
fn every_command_that_computes_wants_a_device_for_the_gpu_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let out = text(&folder.path().join("out")).to_owned();
    let cases: [&[&str]; 6] = [
        &["score", &dump, "--out", &out],
        &["evict", &dump, "--budget", "50%"],
        &["bounds", &dump, "--budget", "50%"],
        &["oracle", &dump, "--budget", "50%"],
        &["ablate", &dump, "--budget", "50%"],
        // Any file is a model before it is read.
        &["eval", "--model", &dump, "--task", "fidelity", "--budget", "50%", "--text", &dump],
    ];
    for arguments in cases {
        let line = refusal(&laprox(&[arguments, &["--path", "gpu"]].concat()).code(3));
        assert!(line.contains("no CUDA driver with a device"), "{arguments:?}: {line}");
    }
}

#[test]
fn an_existing_output_stays_unless_forced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let file = folder.path().join("file");
    fs::write(&file, "mine").expect("written");
    let results = folder.path().join("results");
    fs::create_dir(&results).expect("created");
    fs::write(results.join("mine"), "mine").expect("written");

    let score = ["score", &dump, "--out", text(&file)];
    let evict = ["evict", &dump, "--budget", "50%", "--out", text(&results)];
    let ablate = ["ablate", &dump, "--budget", "50%", "--out", text(&file)];
    for arguments in [&score[..], &evict[..], &ablate[..], &["synth", "--out", &dump][..]] {
        assert!(refusal(&laprox(arguments).code(2)).contains("expected a new path"), "{arguments:?}");
    }
    assert_eq!(fs::read_to_string(&file).expect("still there"), "mine");

    laprox(&[&score[..], &["--force"]].concat()).success();
    assert!(fs::read(&file).expect("replaced").starts_with(b"\x93NUMPY"));
    let line = refusal(&laprox(&[&evict[..], &["--force"]].concat()).code(2));
    assert!(line.contains("no such output"), "{line}");
    fs::remove_file(results.join("mine")).expect("removed");
    for _ in 0..2 {
        laprox(&[&evict[..], &["--force"]].concat()).success();
        assert!(results.join("summary.json").exists());
    }
}

#[test]
fn help_shows_examples_and_ends_well() {
    for command in ["inspect", "synth", "capture", "score", "evict", "oracle", "ablate"] {
        let help = laprox(&[command, "--help"]).success();
        let text = String::from_utf8(help.get_output().stdout.clone()).expect("text");
        assert!(text.contains("Example"), "{command}");
    }
}
