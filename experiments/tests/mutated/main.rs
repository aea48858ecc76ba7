//! Damaged input of every kind ends within 10 s of processor time and 1 GiB, in an exit code of the contract and messages that fit a line.
//!
//! Each target starts from sound files, damages one of them at random, and runs the binary on the result. `LAPROX_MUTATIONS` sets
//! the number of cases per target, or, as `600s`, the time per target. `LAPROX_MUTATION_SEED` sets the first seed, and
//! `LAPROX_MUTATION_TARGETS` names some of the targets, as `gguf,snapshot`. A case that breaks the claim is kept in a folder, whose path is printed.

mod child;
#[path = "../model/hub.rs"]
#[allow(dead_code, reason = "shared with the tests of the model")]
mod hub;
mod mutation;
#[path = "../model/synthetic.rs"]
#[allow(dead_code, reason = "shared with the tests of the model")]
mod synthetic;
mod targets;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use targets::Target;

/// Files by their path inside the folder in which the binary runs.
type Files = BTreeMap<String, Vec<u8>>;

/// When a target ends.
#[derive(Clone, Copy)]
enum Length {
    Cases(u64),
    Time(Duration),
}

/// A short run, unless the environment asks for more.
fn length() -> Length {
    let Ok(asked) = env::var("LAPROX_MUTATIONS") else { return Length::Cases(40) };
    let number = |text: &str| text.parse().expect("LAPROX_MUTATIONS is a number, or seconds as 600s");
    match asked.strip_suffix('s') {
        Some(seconds) => Length::Time(Duration::from_secs(number(seconds))),
        None => Length::Cases(number(&asked)),
    }
}

fn first_seed() -> u64 {
    env::var("LAPROX_MUTATION_SEED").map_or(0, |seed| seed.parse().expect("LAPROX_MUTATION_SEED is a number"))
}

/// The faults of a target's cases, each with the folder that keeps the case.
fn faults(target: &Target) -> Vec<String> {
    let (start, seed) = (Instant::now(), first_seed());
    let mut found = Vec::new();
    let mut codes = BTreeMap::<i32, u64>::new();
    let mut cases = 0;
    let goes_on = |cases| match length() {
        Length::Cases(most) => cases < most,
        Length::Time(most) => start.elapsed() < most,
    };
    while goes_on(cases) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed + cases);
        let (files, arguments) = target.case(&mut rng);
        match check(&files, &arguments) {
            Ok(code) => *codes.entry(code).or_default() += 1,
            Err(fault) => {
                let name = format!("{}-{}", target.name, seed + cases);
                found.push(format!("{name}: {fault}; {}", keep(&name, &files, &arguments)));
            }
        }
        cases += 1;
    }
    eprintln!(
        "{}: {cases} cases from seed {seed}, {} faults, exit codes {codes:?}",
        target.name,
        found.len()
    );
    found
}

fn check(files: &Files, arguments: &[String]) -> Result<i32, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), files);
    child::run(folder.path(), arguments)
}

fn write(folder: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }
}

/// Keeps the case for a human: its files and its command.
fn keep(name: &str, files: &Files, arguments: &[String]) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mutated").join(name);
    write(&folder, files);
    format!("cd {} && laprox {}", folder.display(), arguments.join(" "))
}

#[test]
fn damaged_input_ends_soon_in_a_code_of_the_contract_and_short_lines() {
    child::limit_memory();
    let asked = env::var("LAPROX_MUTATION_TARGETS").unwrap_or_default();
    let is_asked = |target: &&Target| asked.is_empty() || asked.split(',').any(|name| name == target.name);
    let faults: Vec<String> = targets::all().iter().filter(is_asked).flat_map(faults).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn undamaged_input_is_read() {
    for target in targets::all() {
        for (files, arguments) in target.sound() {
            let name = format!("{}-undamaged", target.name);
            assert_eq!(check(&files, arguments), Ok(0), "{}", keep(&name, &files, arguments));
        }
    }
}
