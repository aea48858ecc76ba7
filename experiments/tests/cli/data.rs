//! The binary without the source tree: embedded data, and data from elsewhere.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;

use crate::{laprox, refusal, synth_of, text};

const EXPERIMENTS: &str = env!("CARGO_MANIFEST_DIR");

/// The commands that read embedded data, when no dump and no results are named.
const READERS: [&[&str]; 4] = [
    &["bounds", "--budget", "20%", "--trials", "2"],
    &["oracle", "--budget", "20%", "--oracle", "certified:nodes=1", "--policy", "laprox"],
    &["ablate", "--budget", "20%", "--policy", "laprox"],
    &["tables", "--quick", "bounds"],
];

fn laprox_with(variable: &str, value: impl AsRef<OsStr>, arguments: &[&str]) -> Assert {
    Command::cargo_bin("laprox").expect("the binary is built").env(variable, value).args(arguments).assert()
}

fn printed(assert: Assert) -> Vec<u8> {
    assert.success().get_output().stdout.clone()
}

#[test]
fn the_binary_names_no_data_of_the_source_tree() {
    let binary = fs::read(assert_cmd::cargo::cargo_bin!("laprox")).expect("the binary");
    for path in ["results", "ablations", "../fixtures"] {
        let path = format!("{EXPERIMENTS}/{path}");
        let found = binary.windows(path.len()).any(|window| window == path.as_bytes());
        assert!(!found, "the binary contains {path}");
    }
}

#[test]
fn embedded_data_are_those_of_the_source_tree() {
    let data = Path::new(EXPERIMENTS).join("../fixtures/data");
    for (reader, data_dir) in READERS.into_iter().zip([text(&data), text(&data), text(&data), EXPERIMENTS]) {
        let embedded = printed(laprox(&[reader, &["--json"]].concat()));
        assert_eq!(printed(laprox(&[reader, &["--json", "--data-dir", data_dir]].concat())), embedded);
        assert_eq!(printed(laprox_with("LAPROX_DATA", data_dir, &[reader, &["--json"]].concat())), embedded);
    }
    let named = text(&data.join("smollm2-135m")).to_owned();
    let evict = |dump: &[&str]| printed(laprox(&[READERS[0], dump, &["--json"]].concat()));
    assert_eq!(evict(&[&named]), evict(&[]));
}

#[test]
fn data_that_are_not_at_the_named_place_end_in_code_3() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let empty = text(folder.path());
    for reader in READERS {
        for refused in
            [laprox_with("LAPROX_DATA", empty, reader), laprox(&[reader, &["--data-dir", empty]].concat())]
        {
            let line = refusal(&refused.code(3));
            assert!(line.contains(empty) && line.contains("no such folder"), "{line}");
        }
    }
}

/// The folder holds the default dump alone, and no ablations.
#[test]
fn a_table_asks_for_the_data_that_its_runs_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    synth_of(folder.path(), "smollm2-135m", "0", "256");
    let (made, data_dir) = (folder.path().join("made"), text(folder.path()));
    laprox(&["tables", "bounds", "--results", text(&made), "--data-dir", data_dir]).success();
    let rows = fs::read_to_string(made.join("bounds/rows.csv")).expect("the rows of the run");
    assert!(
        rows.lines().count() > 1 && rows.lines().skip(1).all(|row| row.starts_with("synthetic,")),
        "{rows}"
    );
}

#[test]
fn a_named_dump_leaves_nothing_for_the_data_folder() {
    for reader in READERS.into_iter().take(3) {
        let line = refusal(&laprox(&[reader, &["D", "--data-dir", "E"]].concat()).code(2));
        assert!(line.contains("--data-dir"), "{line}");
    }
    let line = refusal(&laprox(&["tables", "--quick", "--results", "R", "--data-dir", "E"]).code(2));
    assert!(line.contains("--data-dir"), "{line}");
}

#[test]
fn temporary_copies_are_removed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for reader in READERS {
        laprox_with("TMPDIR", folder.path(), reader).success();
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "{reader:?}");
    }
    let nowhere = folder.path().join("nowhere");
    let line = refusal(&laprox_with("TMPDIR", nowhere, READERS[0]).code(2));
    assert!(line.contains("temporary copy"), "{line}");
}
