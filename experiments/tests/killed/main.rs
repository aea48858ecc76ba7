//! Commands that are killed at random moments: nothing is lost, nothing is left behind, and the next start ends in the
//! bytes of a run that nothing stops.
//!
//! `LAPROX_KILLS` sets how many there are.

#[path = "../cli/results.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod results;
#[path = "../model/synthetic.rs"]
#[allow(dead_code, reason = "shared with the tests of the model")]
mod synthetic;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use candle_core::quantized::gguf_file::Value as Metadata;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};

use results::contents;
use synthetic::Synthetic;

/// Kills if the environment says nothing else.
const KILLS: usize = 12;
/// The seed of their moments.
const SEED: u64 = 7;
const SIGNALS: [Signal; 4] = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP];

type Contents = BTreeMap<PathBuf, Vec<u8>>;

/// A command, and its arguments for a seed.
struct Case {
    name: &'static str,
    /// Its arguments: inputs come from the first folder, outputs go to the second one.
    arguments: fn(&Path, &Path) -> Vec<String>,
    /// An option under which it writes something else, which `--force` replaces; none if it goes on where it stopped.
    older: Option<&'static str>,
}

fn words(line: &str, inputs: &Path, outputs: &Path) -> Vec<String> {
    let filled = |word: &str| {
        word.replace("$IN", inputs.to_str().expect("plain")).replace("$OUT", outputs.to_str().expect("plain"))
    };
    line.split_whitespace().map(filled).collect()
}

const CASES: [Case; 6] = [
    Case {
        name: "ablate",
        arguments: |inputs, outputs| {
            words("ablate $IN/dump --budget 20%,50% --results $OUT/results", inputs, outputs)
        },
        older: None,
    },
    Case {
        name: "eval",
        arguments: |inputs, outputs| {
            let line = "eval --model $IN/tiny.gguf --task fidelity --text $IN/one.txt $IN/two.txt --context 200,300 \
                --window 8 --future 6 --policy laprox snapkv random --budget 10%,50% --results $OUT/results";
            words(line, inputs, outputs)
        },
        older: None,
    },
    Case {
        name: "tables",
        arguments: |inputs, outputs| {
            let line = "tables bounds --data-dir $IN/data --results $OUT/results --out $OUT/tables --html=$OUT/page.html";
            words(line, inputs, outputs)
        },
        older: None,
    },
    Case {
        name: "capture",
        arguments: |inputs, outputs| {
            let line = "capture --model $IN/tiny.gguf --text $IN/one.txt $IN/two.txt --context 1000 --future 4 --out $OUT/dump";
            words(line, inputs, outputs)
        },
        older: Some("--precision f16"),
    },
    Case {
        name: "synth",
        arguments: |inputs, outputs| words("synth --future 16 --out $OUT/dump", inputs, outputs),
        older: Some("--seed 1"),
    },
    Case {
        name: "evict",
        arguments: |inputs, outputs| {
            words("evict $IN/dump --budget 20% --out $OUT/retained", inputs, outputs)
        },
        older: Some("--seed 1"),
    },
];

fn laprox(arguments: &[String], temporary: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("laprox"));
    command.args(arguments).env("TMPDIR", temporary).stdin(Stdio::null());
    command
}

fn successful(arguments: &[String], temporary: &Path) -> Output {
    let output = laprox(arguments, temporary).output().expect("started");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A dump, a tiny model whose tokens are bytes, and two texts.
fn inputs(folder: &Path) {
    for (name, more) in [("dump", "--layers 3"), ("data/smollm2-135m", "--layers 1 --context 700")] {
        let out = folder.join(name);
        fs::create_dir_all(out.parent().expect("a folder")).expect("made");
        let sizes = format!("synth {more} --head-dim 32 --hidden-size 96 --out {}", out.display());
        successful(&words(&sizes, folder, folder), folder);
    }
    fs::create_dir(folder.join("data/ablations")).expect("made");
    let mut model = Synthetic::new("llama");
    model.set("llama.context_length", Metadata::U32(4096));
    fs::write(folder.join("tiny.gguf"), model.bytes()).expect("written");
    for (name, seed) in [("one.txt", 3), ("two.txt", 5)] {
        let words: Vec<String> = (0..400_u64).map(|i| (i * i * seed % 997).to_string()).collect();
        fs::write(folder.join(name), words.join(" ")).expect("written");
    }
}

/// What a command has written. The log of runs holds times.
fn outputs(folder: &Path) -> Contents {
    contents(folder).into_iter().filter(|(path, _)| !path.ends_with("runs.csv")).collect()
}

fn is_unfinished(path: &Path) -> bool {
    path.iter().any(|part| part.to_string_lossy().starts_with(".laprox-"))
}

/// The files that have their names already.
fn visible(folder: &Path) -> Contents {
    contents(folder).into_iter().filter(|(path, _)| !is_unfinished(path)).collect()
}

/// Neither a file nor a folder that a finished command would have renamed or removed.
fn assert_nothing_unfinished(folders: [&Path; 2], what: &str) {
    for folder in folders {
        let mut around = vec![folder.to_owned()];
        while let Some(folder) = around.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                assert!(!is_unfinished(&entry.path()), "{what}: left {}", entry.path().display());
                around.extend(entry.path().is_dir().then(|| entry.path()));
            }
        }
    }
    assert_eq!(fs::read_dir(folders[1]).expect("a folder").count(), 0, "{what}: left temporary copies");
}

fn put(folder: &Path, files: &Contents) {
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }
}

/// Whether a process lives that works on the folder.
fn is_worked_on(folder: &Path) -> bool {
    let name = folder.to_str().expect("plain").as_bytes();
    let lines = fs::read_dir("/proc").expect("processes").flatten().filter_map(|process| {
        let is_process = process.file_name().to_str()?.parse::<u32>().is_ok();
        if is_process { fs::read(process.path().join("cmdline")).ok() } else { None }
    });
    lines.into_iter().any(|line| line.windows(name.len()).any(|window| window == name))
}

fn end(mut process: Child, signal: Signal) -> bool {
    let _ = kill_process(Pid::from_child(&process), signal);
    process.wait().expect("a child").code().is_none()
}

/// What runs that nothing stops write, and how long they take.
struct Whole {
    outputs: Contents,
    /// Under the case's other option.
    older: Option<Contents>,
    time: Duration,
}

impl Whole {
    fn new(case: &Case, inputs: &Path) -> Self {
        let run = |more: &str| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let arguments = [(case.arguments)(inputs, folder.path()), words(more, inputs, inputs)].concat();
            let start = Instant::now();
            successful(&arguments, inputs);
            (outputs(folder.path()), start.elapsed())
        };
        let older = case.older.map(|more| run(more).0);
        let (outputs, time) = run("");
        assert!(older.as_ref() != Some(&outputs), "{}: expected another output", case.name);
        Self { outputs, older, time }
    }

    /// Kills one run after `share` of its time, and starts it again.
    fn kill(&self, case: &Case, inputs: &Path, share: f64, signal: Signal, forced: bool) -> bool {
        let what = format!("{} killed by {signal:?} after {share:.3} of {:?}", case.name, self.time);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [place, temporary] = ["place", "temporary"].map(|name| folder.path().join(name));
        for folder in [&place, &temporary] {
            fs::create_dir(folder).expect("made");
        }
        let mut arguments = (case.arguments)(inputs, &place);
        let older = self.older.as_ref().filter(|_| forced);
        if let Some(older) = older {
            put(&place, older);
            arguments.push("--force".into());
        }
        let process = laprox(&arguments, &temporary).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        sleep(self.time.mul_f64(share));
        let was_killed = end(process.expect("started"), signal);
        let start = Instant::now();
        while is_worked_on(&place) {
            assert!(start.elapsed() < Duration::from_secs(10), "{what}: a child goes on");
            sleep(Duration::from_millis(10));
        }
        if signal != Signal::KILL {
            assert_nothing_unfinished([&place, &temporary], &what);
        }
        let found = visible(&place);
        if case.older.is_some() {
            let (before, after) = (older.cloned().unwrap_or_default(), &self.outputs);
            assert!(found == before || found == *after, "{what}: {:?} is neither old nor new", found.keys());
        }
        if older.is_none() && found.keys().any(|path| !path.starts_with("results")) {
            arguments.push("--force".into());
        }
        successful(&arguments, &temporary);
        assert!(outputs(&place) == self.outputs, "{what}: the next start ends in other bytes");
        assert_nothing_unfinished([&place, &temporary], &what);
        was_killed
    }
}

#[test]
fn nothing_is_lost_and_nothing_left_behind() {
    let kills =
        env::var("LAPROX_KILLS").map_or(KILLS, |kills| kills.parse().expect("LAPROX_KILLS: a number"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    inputs(folder.path());
    let wholes = CASES.map(|case| (Whole::new(&case, folder.path()), case));
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut killed = BTreeMap::new();
    for kill in 0..kills {
        let (whole, case) = &wholes[kill % CASES.len()];
        let (share, signal) = (rng.random_range(0.0..1.0), SIGNALS[rng.random_range(0..SIGNALS.len())]);
        let was_killed = whole.kill(case, folder.path(), share, signal, rng.random());
        let (runs, ended) = killed.entry(case.name).or_insert((0, 0));
        (*runs, *ended) = (*runs + 1, *ended + usize::from(was_killed));
    }
    for (name, (runs, ended)) in &killed {
        println!("{name}: {runs} runs, {ended} of them killed before their end");
    }
    let ended: usize = killed.values().map(|(_, ended)| ended).sum();
    assert!(2 * ended > kills, "only {ended} of {kills} runs were killed before their end");
}
