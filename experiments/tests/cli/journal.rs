//! No unit and no result is believed unread: whatever is done to a results folder, its run ends in the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::ablation::{RESULTS, Runs, with_file_limit};
use crate::eval::Given;
use crate::results::contents;
use crate::{laprox, refusal, text};

/// Files of a folder, and what is put in their place: `None` for no file.
type Files = BTreeMap<PathBuf, Vec<u8>>;
type Changes = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Writes what `contents` read.
fn put(folder: &Path, files: &Files) {
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, bytes).expect("written");
    }
}

/// Every way in which the bytes of a file can be another's, or nobody's: `None` for no file.
fn damages(bytes: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let mut damages = vec![("missing".to_owned(), None), ("empty".to_owned(), Some(Vec::new()))];
    let mut damage = |name: String, bytes: Vec<u8>| damages.push((name, Some(bytes)));
    for cut in [1, lines[0].len() - 1, lines[0].len(), bytes.len() / 2, bytes.len() - 1] {
        damage(format!("cut at {cut}"), bytes[..cut].to_vec());
    }
    for flipped in [0, lines[0].len() / 2, bytes.len() / 3, bytes.len() - 2] {
        let mut bytes = bytes.to_vec();
        bytes[flipped] ^= 1;
        damage(format!("flipped at {flipped}"), bytes);
    }
    damage("twice".into(), bytes.repeat(2));
    damage("rows twice".into(), [bytes, &lines[1..].concat()].concat());
    damage("last row twice".into(), [bytes, lines[lines.len() - 1]].concat());
    damage("last row missing".into(), lines[..lines.len() - 1].concat());
    damage("first row missing".into(), [&lines[..1], &lines[2..]].concat().concat());
    damage("rows swapped".into(), [&lines[..1], &[lines[2], lines[1]], &lines[3..]].concat().concat());
    damages
}

/// A size in KiB that every unit of a run stays below, and all its rows together do not.
fn limit(whole: &Files) -> usize {
    whole[Path::new("rows.jsonl")].len() / 2048
}

/// A run that all units are finished of, but no results.
fn unfinished(runs: &Runs, name: &str, more: &[&str], limit: usize) -> Files {
    let path = runs.path(name);
    let more = more.iter().map(|&argument| argument.to_owned());
    let arguments: Vec<String> = runs.arguments(&path).into_iter().chain(more).collect();
    let output = with_file_limit(limit, &arguments);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let found = contents(&path);
    assert!(!found.contains_key(Path::new("rows.jsonl")) && found.len() > 4, "{:?}", found.keys());
    found.into_iter().filter(|(path, _)| !path.ends_with(".lock")).collect()
}

const POLICIES: [&str; 6] = ["--policy", "snapkv", "--policy", "knorm", "--policy", "random"];

#[test]
fn a_damaged_unit_is_computed_anew() {
    let runs = Runs::new("96");
    let more = [&POLICIES[..], &["--allocation", "head"]].concat();
    let whole = runs.whole("whole", &more);
    let journal = unfinished(&runs, "journal", &more, limit(&whole));
    let other = unfinished(&runs, "other", &[&more[..], &["--seed", "1"]].concat(), limit(&whole));
    let [one, two] = ["units/000-00.jsonl", "units/001-00.jsonl"].map(PathBuf::from);
    let mut cases: Vec<(String, Changes)> = Vec::new();
    for (name, bytes) in damages(&journal[&one]) {
        cases.push((name, Changes::from([(one.clone(), bytes)])));
    }
    let swapped = [(one.clone(), Some(journal[&two].clone())), (two.clone(), Some(journal[&one].clone()))];
    cases.push(("swapped units".into(), swapped.into()));
    cases.push(("of another config".into(), [(one.clone(), Some(other[&one].clone()))].into()));
    cases.push(("of no unit".into(), [("units/900-00.jsonl".into(), Some(journal[&one].clone()))].into()));
    for (name, bytes) in damages(&journal[Path::new("config.json")]) {
        cases.push((format!("config {name}"), [("config.json".into(), bytes)].into()));
    }
    for (number, (name, changed)) in cases.into_iter().enumerate() {
        let results = runs.path(&format!("damaged-{number}"));
        let mut files = journal.clone();
        for (path, bytes) in &changed {
            files.remove(path);
            files.extend(bytes.clone().map(|bytes| (path.clone(), bytes)));
        }
        put(&results, &files);
        let arguments: Vec<String> = runs.arguments(&results);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let done = laprox(&arguments).success();
        assert!(contents(&results) == whole, "{name}: a resumed run differs");
        let noted = String::from_utf8(done.get_output().stderr.clone()).expect("text");
        let shown = changed.iter().filter(|(path, bytes)| {
            bytes.is_some() && path.starts_with("units") && !path.ends_with("900-00.jsonl")
        });
        for (path, _) in shown {
            assert!(noted.contains(text(path)), "{name}: expected a note on {}: {noted}", path.display());
        }
    }
}

#[test]
fn a_damaged_result_is_made_anew() {
    let runs = Runs::new("96");
    let whole = runs.whole("whole", &POLICIES);
    assert_eq!(whole.keys().map(|path| text(path)).collect::<Vec<_>>(), RESULTS);
    for name in ["rows.csv", "pivot.md", "laprox.sha256", "config.json"] {
        for (damage, bytes) in damages(&whole[Path::new(name)]) {
            let results = runs.path("damaged");
            let mut files = whole.clone();
            files.remove(Path::new(name));
            files.extend(bytes.map(|bytes| (name.into(), bytes)));
            put(&results, &files);
            assert!(runs.whole("damaged", &POLICIES) == whole, "{name} {damage}: the results differ");
            fs::remove_dir_all(&results).expect("removed");
        }
    }
}

#[test]
fn results_without_their_description_are_no_other_runs() {
    let runs = Runs::new("96");
    let results = runs.path("results");
    runs.whole("results", &POLICIES);
    fs::remove_file(results.join("config.json")).expect("removed");
    let before = contents(&results);
    let arguments = runs.arguments(&results);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--policy", "tova"]).collect();
    for more in [&[][..], &["--force"]] {
        let line = refusal(&laprox(&[&arguments[..], more].concat()).code(2));
        assert!(line.contains("holds something else"), "{line}");
    }
    assert!(contents(&results) == before);
}

#[test]
fn a_damaged_evaluation_ends_in_the_same_bytes() {
    let given = Given::new();
    let arguments = |results: &Path| given.arguments(&["--results", text(results)]);
    let run = |results: &Path| {
        laprox(&arguments(results).iter().map(String::as_str).collect::<Vec<_>>()).success();
        contents(results)
    };
    let whole = run(&given.path("whole"));
    let unfinished = given.path("unfinished");
    assert_eq!(with_file_limit(limit(&whole), &arguments(&unfinished)).status.code(), Some(2));
    let journal = contents(&unfinished);
    let unit = |number: usize| PathBuf::from(format!("units/{number:05}.jsonl"));
    assert!(journal.contains_key(&unit(1)), "{:?}", journal.keys());
    for (name, first) in [("empty", Vec::new()), ("swapped", journal[&unit(1)].clone())] {
        let results = given.path(name);
        put(&results, &journal);
        fs::write(results.join(unit(0)), first).expect("written");
        assert!(run(&results) == whole, "{name}");
    }
    // The questions of a benchmark are read from files that the configuration only names.
    let changed = given.path("changed");
    put(&changed, &journal);
    let questions = given.path("data/trec.jsonl");
    let lines = fs::read_to_string(&questions).expect("written");
    fs::write(&questions, lines.replace("where?", "which?")).expect("written");
    let refused = arguments(&changed);
    let line = refusal(&laprox(&refused.iter().map(String::as_str).collect::<Vec<_>>()).code(2));
    assert!(line.contains("is of another run"), "{line}");
}

#[test]
fn a_link_named_like_the_lock_is_not_followed() {
    let runs = Runs::new("96");
    let results = runs.path("results");
    fs::create_dir(&results).expect("created");
    let mine = runs.path("mine");
    fs::write(&mine, "mine").expect("written");
    std::os::unix::fs::symlink(&mine, results.join(".lock")).expect("linked");
    let arguments = runs.arguments(&results);
    let line = refusal(&laprox(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).code(2));
    assert!(line.contains(".lock"), "{line}");
    assert_eq!(fs::read_to_string(&mine).expect("kept"), "mine");
}
