//! Full disks and closed streams: no panic, no half output.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::ablation::with_file_limit;
use crate::{synth, text};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("laprox"));
    command.args(arguments);
    command
}

fn full() -> File {
    File::options().write(true).open("/dev/full").expect("a full disk")
}

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().expect("started");
    let pipe = reader.stdin.take().expect("a pipe");
    reader.wait().expect("ended");
    pipe.into()
}

#[test]
fn messages_that_cannot_be_written_are_dropped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let cases: [(&[&str], i32); 5] = [
        (&["evict", &dump, "--budget", "50%", "--times"], 0),
        (&["ablate", &dump, "--budget", "50%"], 0),
        (&["evict", &dump, "--budget", "8"], 2),
        (&["evict", "--budgets"], 2),
        (&["inspect", "nowhere"], 3),
    ];
    for (arguments, code) in cases {
        for stderr in [Stdio::from(full()), closed()] {
            let status = command(arguments).stdout(Stdio::null()).stderr(stderr).status().expect("started");
            assert_eq!(status.code(), Some(code), "{arguments:?}");
        }
    }
}

#[test]
fn a_stdout_that_is_closed_early_ends_quietly_and_a_full_one_in_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let cases: [&[&str]; 6] = [
        &["evict", &dump, "--budget", "50%", "--json"],
        &["ablate", &dump, "--budget", "50%", "--format", "csv"],
        &["inspect", &dump],
        &["policies"],
        &["completions", "bash"],
        &["--help"],
    ];
    for arguments in cases {
        let output = command(arguments).stdout(closed()).output().expect("started");
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{arguments:?}");
        if *arguments != ["--help"] {
            let output = command(arguments).stdout(full()).output().expect("started");
            let stderr = String::from_utf8(output.stderr).expect("text");
            assert_eq!(
                (output.status.code(), stderr.lines().count()),
                (Some(2), 1),
                "{arguments:?}: {stderr}"
            );
        }
    }
}

/// The limit is that of `ulimit -f`, whose signal would end a process that does not handle it.
#[test]
fn a_full_disk_leaves_neither_of_two_files_and_nothing_hidden() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let place = folder.path().join("place");
    fs::create_dir(&place).expect("created");
    let out = |name: &str| text(&place.join(name)).to_owned();
    let cases: [&[&str]; 5] = [
        &["ablate", &dump, "--budget", "50%", "--out", &out("rows.csv")],
        &["bounds", &dump, "--budget", "50%", "--out", &out("rows.csv")],
        &["evict", &dump, "--budget", "50%", "--out", &out("retained")],
        &["synth", "--out", &out("dump")],
        &["tables", "--quick", "--out", &out("tables")],
    ];
    for arguments in cases {
        // Large enough for the configuration beside the rows, but not for the rows.
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let output = with_file_limit(4, &arguments);
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{arguments:?}: {stderr}");
        assert_eq!(fs::read_dir(&place).expect("a folder").count(), 0, "{arguments:?}: {stderr}");
    }
}
