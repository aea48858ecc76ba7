//! Only what this project has written is replaced, and no output touches an input.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::results::contents;
use crate::{laprox, refusal, synth, text};

/// A folder of somebody else, with names that this project's folders have, too.
const FOREIGN: [(&str, &str); 4] = [
    ("manifest.json", "{\"format\": \"web-extension\"}"),
    ("config.json", "{\"config\": {}}"),
    ("summary.json", "{}"),
    ("laprox.sha256", ""),
];

#[test]
fn a_folder_of_somebody_else_is_never_replaced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let two = synth(folder.path(), "two", "2");
    let foreign = folder.path().join("foreign");
    let commands: [&[&str]; 5] = [
        &["synth", "--out", text(&foreign)],
        &["evict", &dump, "--budget", "50%", "--out", text(&foreign)],
        &["ablate", &dump, "--budget", "50%", "--results", text(&foreign)],
        &["ablate", &dump, "--budget", "50%", "--out", text(&foreign)],
        &["tables", "--quick", "bounds", "--out", text(&foreign)],
    ];
    for (name, contained) in FOREIGN {
        fs::create_dir(&foreign).expect("created");
        fs::write(foreign.join(name), contained).expect("written");
        for command in commands {
            for more in [&[][..], &["--force"]] {
                refusal(&laprox(&[command, more].concat()).code(2));
                assert_eq!(fs::read_to_string(foreign.join(name)).expect("kept"), contained, "{command:?}");
                assert_eq!(contents(&foreign).len(), 1, "{command:?} in a folder with {name}");
            }
        }
        fs::remove_dir_all(&foreign).expect("removed");
    }
    // A folder of one kind is no output of another one.
    let forced = ["evict", &dump, "--budget", "50%", "--force", "--out", &two];
    refusal(&laprox(&forced).code(2));
    laprox(&["inspect", &two, "--check"]).success();
}

#[test]
fn a_folder_that_was_written_is_replaced_until_something_is_added_or_changed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let out = folder.path().join("out");
    let evict = ["evict", &dump, "--budget", "50%", "--force", "--out", text(&out)];
    laprox(&evict).success();
    let written = contents(&out);
    laprox(&evict).success();
    assert!(contents(&out) == written);
    let changes: [&dyn Fn(); 3] = [
        &|| fs::write(out.join("notes.txt"), "mine").expect("written"),
        &|| fs::write(out.join("summary.json"), "mine").expect("written"),
        &|| fs::create_dir(out.join("more")).expect("created"),
    ];
    for change in changes {
        change();
        let line = refusal(&laprox(&evict).code(2));
        assert!(line.contains("no such output"), "{line}");
        fs::remove_dir_all(&out).expect("removed");
        laprox(&evict).success();
    }
    let results = folder.path().join("results");
    let ablate = |policy: &'static str| {
        ["ablate", &dump, "--budget", "50%", "--policy", policy, "--force", "--results", text(&results)]
            .map(str::to_owned)
    };
    let run = |policy| laprox(&ablate(policy).iter().map(String::as_str).collect::<Vec<_>>());
    run("snapkv").success();
    run("knorm").success();
    fs::write(results.join("notes.txt"), "mine").expect("written");
    refusal(&run("snapkv").code(2));
    assert_eq!(fs::read_to_string(results.join("notes.txt")).expect("kept"), "mine");
}

#[test]
fn an_output_lies_apart_from_every_input() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).expect("created");
    let dump = synth(&inner, "dump", "1");
    let link = folder.path().join("link");
    symlink(&dump, &link).expect("linked");
    let before = contents(folder.path());
    let [inside, beside] = ["rows.csv", "../dump/new"].map(|name| format!("{dump}/{name}"));
    let around = text(&inner);
    for out in [&dump[..], &inside, &beside, around, text(&link)] {
        let commands: [&[&str]; 6] = [
            &["evict", &dump, "--budget", "50%", "--out", out],
            &["score", &dump, "--out", out],
            &["bounds", &dump, "--budget", "50%", "--out", out],
            &["oracle", &dump, "--budget", "50%", "--out", out],
            &["ablate", &dump, "--budget", "50%", "--out", out],
            &["ablate", &dump, "--budget", "50%", "--results", out],
        ];
        for command in commands {
            let line = refusal(&laprox(&[command, &["--force"]].concat()).code(2));
            assert!(line.contains("apart from"), "{command:?}: {line}");
        }
    }
    let page = format!("--html={}", text(&folder.path().join("out/page.html")));
    let out = folder.path().join("out");
    let line = refusal(&laprox(&["tables", "--quick", "bounds", "--out", text(&out), &page]).code(2));
    assert!(line.contains("apart from"), "{line}");
    assert!(contents(folder.path()) == before);
}

#[test]
fn an_output_is_a_regular_file_in_a_folder_that_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let path = |name: &str| folder.path().join(name);
    assert!(Command::new("mkfifo").arg(path("pipe")).status().expect("started").success());
    fs::write(path("file"), "mine").expect("written");
    symlink(path("file"), path("link")).expect("linked");
    for name in ["pipe", "link", "/dev/null", "/dev/full"] {
        let out = path(name);
        let commands: [&[&str]; 4] = [
            &["score", &dump, "--out", text(&out)],
            &["ablate", &dump, "--budget", "50%", "--format", "json", "--out", text(&out)],
            &["evict", &dump, "--budget", "50%", "--out", text(&out)],
            &["synth", "--out", text(&out)],
        ];
        for command in commands {
            let line = refusal(&laprox(&[command, &["--force"]].concat()).code(2));
            assert!(line.contains("to replace"), "{command:?}: {line}");
        }
        assert!(out.symlink_metadata().is_ok_and(|found| !found.is_file()), "{name} was replaced");
    }
    assert_eq!(fs::read_to_string(path("file")).expect("kept"), "mine");
    // What has no place is refused before the input is looked for.
    let nowhere = text(&path("nowhere")).to_owned();
    for (out, named) in [(path("no/out"), "no such folder"), ("/proc/out".into(), "expected to write it")] {
        let commands: [&[&str]; 5] = [
            &["ablate", &nowhere, "--budget", "50%", "--out", text(&out)],
            &["bounds", &nowhere, "--budget", "50%", "--out", text(&out)],
            &["evict", &nowhere, "--budget", "50%", "--out", text(&out)],
            &["synth", "--out", text(&out)],
            &["capture", "--model", &dump, "--text", &dump, "--out", text(&out)],
        ];
        for command in commands {
            let line = refusal(&laprox(command).code(2));
            assert!(line.contains(named), "{command:?}: {line}");
        }
    }
    let results = ["ablate", &nowhere, "--results", "/proc/results"];
    assert!(refusal(&laprox(&results).code(2)).contains("can be written to"));
}
