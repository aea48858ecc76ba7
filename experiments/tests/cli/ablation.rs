//! The ablation: what is crossed, what is left out, and runs that are stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use laprox_experiments::ablation::Config;
use laprox_experiments::ablation::config::DEFAULT;
use laprox_reference::{POLICIES, Policy, Rule};
use ndarray_npy::read_npy;
use serde_json::Value;

use crate::results::{contents, finished_units};
use crate::{laprox, refusal, synth, synth_of, text};

/// Writes a configuration into `folder`.
fn config(folder: &Path, toml: &str) -> String {
    let path = folder.join("config.toml");
    fs::write(&path, toml).expect("written");
    text(&path).to_owned()
}

/// The rows that a comparison prints.
fn rows(arguments: &[&str]) -> Vec<Value> {
    let printed = laprox(&[arguments, &["--json"]].concat()).success();
    let document: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one JSON document");
    document["rows"].as_array().expect("rows").clone()
}

#[test]
fn the_default_comparison_holds_every_policy_that_runs_on_its_own() {
    let config = Config::read(DEFAULT).expect("the default comparison");
    let compared: Vec<&str> = config.policies.iter().chain(&config.also).map(Policy::name).collect();
    for entry in &POLICIES {
        let runs = matches!(entry.rule, Rule::Score(_) | Rule::Draw(_) | Rule::Shrunk | Rule::Everything)
            && entry.needs().is_empty();
        assert_eq!(compared.contains(&entry.name), runs, "{}", entry.name);
    }
}

/// Every value of one column, once, in order.
fn column(rows: &[Value], key: &str) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for row in rows {
        let value = row[key].as_str().map_or_else(|| row[key].to_string(), str::to_owned);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// No file is cut off: each ends in a full line, and every line of rows is a whole row.
fn assert_no_broken_row(folder: &Path) {
    for (path, bytes) in contents(folder) {
        let name = path.display().to_string();
        let whole = String::from_utf8(bytes).expect("text");
        if name.ends_with(".jsonl") {
            assert!(whole.ends_with('\n'), "{name}");
            // The first line of a unit identifies it.
            for line in whole.lines().skip(usize::from(name.starts_with("units"))) {
                let row: Value = serde_json::from_str(line).expect("a row");
                assert!(row["squared_norm"].is_number(), "{name}: {line}");
            }
        } else if name == "config.json" {
            serde_json::from_str::<Value>(&whole).expect("a document");
        }
    }
}

#[test]
fn axes_are_crossed_with_the_policies_that_have_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let config = config(
        folder.path(),
        "policies = ['laprox', 'knorm']\nalso = ['snapkv', 'full']\nbudgets = ['20', '50%']\n\
         [axes]\ngqa = ['mean', 'exact']\npool = ['none', 'avg:3@attention']\nallocation = ['head', 'model']\n\
         norm = ['sum', 'none']\nwindow = [4, 'all']\n",
    );
    let rows = rows(&["ablate", &dump, "--config", &config]);
    // laprox: heads have no norm, so 1 + 2 cuts, and exact cannot pool attention, so 3 scores: 2 windows x 3 x 3.
    // knorm has no attention to pool and reads no window: 3 cuts without pooling. Two stand as they are.
    let policies = column(&rows, "policy");
    assert_eq!(policies.len(), 2 * 3 * 3 + 3 + 2, "{policies:?}");
    assert!(policies.contains(&"laprox:norm=none,window=4,pool=avg:3@attention".to_owned()), "{policies:?}");
    assert!(!policies.iter().any(|policy| policy.contains("exact") && policy.contains("@attention")));
    assert!(!policies.iter().any(|policy| policy.contains("allocation=head,norm")));
    // Two budgets, two layers and the model, three objectives in two forms.
    assert_eq!(rows.len(), policies.len() * 2 * 3 * 3 * 2);
    assert_eq!(column(&rows, "window"), ["4", "all", ""]);
    assert_eq!(column(&rows, "entries_per_head"), ["20", "48"]);
}

#[test]
fn what_cannot_be_compared_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let plain = "policies = ['laprox', 'snapkv']\nbudgets = ['50%']\n";
    for (toml, named) in [
        ("[axes]\ncolour = ['red']\n", "axis colour: no policy has this option"),
        ("[axes]\ngqa = ['mean', 'median']\n", "mean|attention|exact, found median"),
        ("[axes]\nnorm = ['none']\nallocation = ['head']\n", "exclude each other"),
        ("[axes]\nnorm = ['sum', 'none']\nallocation = ['head']\n", "axis norm: none means nothing"),
        ("[axes]\nwindow = [16]\n", "at most the window's 8 queries, found 16"),
        ("baseline = 'centred'\n", "baseline centred: expected one of the compared policies"),
        ("samples = ['genesis']\n", "sample genesis: expected one of synthetic"),
        ("also = ['expected_attention']\n", "layer_000.query_mean.npy, found nothing"),
        ("also = ['laprox:alpha=0.5']\n", "allocation=ada|lava"),
        ("per_layer = 'maybe'\n", "per_layer"),
        ("allocations = ['head']\n", "allocations"),
    ] {
        let config = config(folder.path(), &format!("{plain}{toml}"));
        let line = refusal(&laprox(&["ablate", &dump, "--config", &config]).code(2));
        assert!(line.contains(named), "expected {named} in: {line}");
    }
    let config = config(folder.path(), "policies = ['laprox']\nbudgets = ['8']\n");
    let line = refusal(&laprox(&["ablate", &dump, "--config", &config]).code(2));
    assert!(line.contains("keeps 8 of 96 entries, expected more than the window of 8"), "{line}");
    let same = folder.path().join("elsewhere");
    fs::create_dir(&same).expect("created");
    let same = synth(&same, "dump", "1");
    let line = refusal(&laprox(&["ablate", &dump, &same]).code(2));
    assert!(line.contains("folders of one name"), "{line}");
}

/// 10 % of 96 are 10 entries, 2 beside the window; 10 % of 48 are 5.
#[test]
fn a_budget_that_a_window_fills_is_left_out_and_said_to_be() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let long = synth_of(folder.path(), "long", "1", "96");
    let short = synth_of(folder.path(), "short", "2", "48");
    let results = folder.path().join("results");
    let arguments =
        ["ablate", &short, &long, "--policy", "laprox", "--policy", "snapkv", "--budget", "10%,50%"];
    laprox(&[&arguments[..], &["--results", text(&results)]].concat()).success();
    let pivot = fs::read_to_string(results.join("pivot.md")).expect("written");
    assert!(pivot.contains("10% of 48 left out, not more than the window of 8"), "{pivot}");
    assert!(pivot.contains("10% (n=1)") && pivot.contains("50% (n=2)"), "{pivot}");
    let rows = rows(&arguments);
    let budgets = |dump: &str| {
        let of_dump: Vec<Value> = rows.iter().filter(|row| row["dump"] == dump).cloned().collect();
        column(&of_dump, "budget")
    };
    assert_eq!(budgets("short"), ["50%"]);
    assert_eq!(budgets("long"), ["10%", "50%"]);
}

#[test]
fn samples_can_be_chosen_and_layers_left_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let toml = "policies = ['snapkv']\nbudgets = ['50%']\nsamples = ['synthetic']\nper_layer = false\n";
    let rows = rows(&["ablate", &dump, "--config", &config(folder.path(), toml)]);
    assert_eq!(rows.len(), 3 * 2);
    assert!(rows.iter().all(|row| row["layer"].is_null()));
}

/// Four dumps of one model, and a comparison in several units.
pub struct Runs {
    pub folder: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Runs {
    pub fn new(context: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut arguments = vec!["ablate".to_owned()];
        for seed in ["1", "2", "3", "4"] {
            arguments.push(synth_of(folder.path(), &format!("dump-{seed}"), seed, context));
        }
        arguments.extend(["--budget", BUDGETS].map(str::to_owned));
        Self { folder, arguments }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn arguments(&self, results: &Path) -> Vec<String> {
        let results = ["--results", text(results)].map(str::to_owned);
        self.arguments.iter().cloned().chain(results).collect()
    }

    /// A run that nothing stops.
    pub fn whole(&self, name: &str, more: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
        let path = self.path(name);
        let arguments = self.arguments(&path);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        laprox(&arguments).success();
        contents(&path)
    }

    fn spawn(&self, results: &Path) -> std::process::Child {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("laprox"));
        command.args(self.arguments(results)).stdout(Stdio::null()).spawn().expect("started")
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_in_the_same_bytes() {
    let runs = Runs::new("400");
    let stopped = runs.path("stopped");
    let mut kills = 0;
    while !stopped.join("pivot.md").exists() {
        let (mut process, before) = (runs.spawn(&stopped), finished_units(&stopped));
        while finished_units(&stopped) == before && process.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        process.kill().expect("not yet waited for");
        kills += usize::from(process.wait().expect("a child").code().is_none());
        assert_no_broken_row(&stopped);
        assert!(finished_units(&stopped) > before || stopped.join("pivot.md").exists(), "no progress");
    }
    assert!(kills >= 3, "killed only {kills} times");
    let resumed = runs.whole("stopped", &[]);
    assert_eq!(resumed.keys().map(|path| text(path)).collect::<Vec<_>>(), RESULTS);
    assert!(resumed == runs.whole("whole", &[]), "a run that was stopped differs");
}

/// What runs compare at where nothing else is asked for.
const BUDGETS: &str = "20%,30%,50%";

/// What a finished folder holds.
pub const RESULTS: [&str; 6] =
    ["config.json", "laprox.sha256", "pivot.md", "rows.csv", "rows.jsonl", "statistics.csv"];

/// Writes beyond so many KiB fail, as on a full disk.
pub fn with_file_limit(kibibytes: usize, arguments: &[String]) -> std::process::Output {
    let script = format!("ulimit -f {}; exec \"$0\" \"$@\"", 2 * kibibytes);
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(assert_cmd::cargo::cargo_bin!("laprox")).args(arguments);
    command.output().expect("started")
}

#[test]
fn a_write_that_fails_leaves_no_broken_row_and_can_be_gone_on_from() {
    let runs = Runs::new("96");
    let whole = runs.whole("whole", &[]);
    let largest_unit = 400 * 1024;
    let rows = whole[Path::new("rows.jsonl")].len();
    assert!(rows > largest_unit, "the rows of all units together are only {rows} bytes");
    let full = runs.path("full");
    // First no unit can be written, then the units can but not all rows in one file.
    for (kibibytes, some_units) in [(4, false), (largest_unit / 1024, true)] {
        let output = with_file_limit(kibibytes, &runs.arguments(&full));
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(text(&full)), "{stderr}");
        assert_no_broken_row(&full);
        assert_eq!(finished_units(&full) > 0, some_units);
        assert!(!full.join("rows.jsonl").exists() && !full.join("pivot.md").exists());
        let temporary = |path: &&PathBuf| path.to_string_lossy().contains(".laprox-");
        assert_eq!(contents(&full).keys().find(temporary), None);
    }
    assert!(runs.whole("full", &[]) == whole, "a run that went on differs");
}

#[test]
fn results_do_not_depend_on_jobs_or_threads() {
    let runs = Runs::new("96");
    let one = runs.whole("one", &["--jobs", "1", "--threads", "1"]);
    assert!(one == runs.whole("three", &["--jobs", "3", "--threads", "2"]), "jobs change the results");
}

#[test]
fn a_folder_of_another_run_is_refused_unless_forced() {
    let runs = Runs::new("96");
    let path = runs.path("results");
    let first = runs.whole("results", &["--policy", "snapkv"]);
    assert!(first == runs.whole("results", &["--policy", "snapkv"]), "a finished run changes when run again");
    let mut other = runs.arguments(&path);
    other.extend(["--policy", "knorm"].map(str::to_owned));
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let line = refusal(&laprox(&other).code(2));
    assert!(line.contains("config.json: is of another run"), "{line}");
    assert!(contents(&path) == first, "a refusal changes the folder");
    laprox(&[&other[..], &["--force"]].concat()).success();
    let forced = contents(&path);
    assert_eq!(forced.keys().map(|path| text(path)).collect::<Vec<_>>(), RESULTS);
    assert!(forced != first);

    let mine = runs.path("mine");
    fs::create_dir(&mine).expect("created");
    fs::write(mine.join("notes.txt"), "mine").expect("written");
    for more in [&[][..], &["--force"]] {
        let arguments = runs.arguments(&mine);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let line = refusal(&laprox(&arguments).code(2));
        assert!(line.contains("holds something else"), "{line}");
    }
    assert_eq!(contents(&mine).len(), 1);
}

#[test]
fn two_processes_do_not_work_on_one_folder() {
    let runs = Runs::new("400");
    let results = runs.path("results");
    let mut first = runs.spawn(&results);
    while finished_units(&results) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let arguments = runs.arguments(&results);
    let line = refusal(&laprox(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).code(2));
    assert!(line.contains("another process"), "{line}");
    assert!(first.wait().expect("a child").success());
}

/// CSV, JSON Lines and statistics tell the same numbers.
#[test]
fn rows_and_statistics_agree() {
    let runs = Runs::new("96");
    let results = runs.whole("results", &["--policy", "snapkv", "--policy", "knorm", "--allocation", "head"]);
    let text = |name: &str| String::from_utf8(results[Path::new(name)].clone()).expect("text");
    let lines: Vec<Value> =
        text("rows.jsonl").lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    let (header, csv) = table(&text("rows.csv"));
    assert_eq!(lines.len(), csv.len());
    for (line, record) in lines.iter().zip(&csv) {
        for (key, cell) in header.iter().zip(record) {
            let value = line[key].as_str().map_or_else(|| line[key].to_string(), str::to_owned);
            assert_eq!(if value == "null" { "" } else { &value }, cell, "{key}");
        }
    }
    let errors = |policy: &str| -> Vec<f64> {
        let of_policy = lines.iter().filter(|row| row["policy"] == policy && row["budget"] == "50%");
        let of_model = of_policy.filter(|row| row["layer"].is_null());
        let drop = of_model.filter(|row| row["objective"] == "drop" && row["form"] == "layer-wise");
        drop.map(|row| row["relative_error"].as_f64().expect("a number")).collect()
    };
    let (snapkv, knorm) = (errors("snapkv"), errors("knorm"));
    assert_eq!((snapkv.len(), knorm.len()), (4, 4));
    let (header, statistics) = table(&text("statistics.csv"));
    let cell = |policy: &str, key: &str| {
        let place = |name: &str| header.iter().position(|other| other == name).expect("a column");
        let wanted = |record: &&Vec<String>| {
            let cells =
                [("policy", policy), ("budget", "50%"), ("objective", "drop"), ("form", "layer-wise")];
            cells.into_iter().all(|(key, value)| record[place(key)] == value)
        };
        statistics.iter().find(wanted).expect("a line")[place(key)].clone()
    };
    assert_eq!(cell("knorm", "samples"), "4");
    assert_eq!(cell("knorm", "mean").parse(), Ok(knorm.iter().sum::<f64>() / 4.0));
    let below = knorm.iter().zip(&snapkv).filter(|(one, base)| one < base).count();
    assert_eq!(cell("knorm", "below_baseline"), below.to_string());
    assert_eq!(cell("snapkv", "p_value"), "");
    // Four samples that all agree in sign have two of sixteen.
    assert_eq!(below, 0);
    assert_eq!(cell("knorm", "p_value"), "0.125");
}

/// A CSV text without quotation marks as its header and its records.
fn table(csv: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().expect("a header").iter().map(str::to_owned).collect();
    let record =
        |record: Result<csv::StringRecord, _>| record.expect("a record").iter().map(str::to_owned).collect();
    (header, reader.records().map(record).collect())
}

/// Each says in three sentences at its head what it answers, and can be run.
#[test]
fn every_committed_configuration_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = text(&folder.path().join("dump")).to_owned();
    let shapes =
        ["--layers", "2", "--heads", "4", "--kv-heads", "2", "--head-dim", "4", "--hidden-size", "6"];
    let lengths = ["--context", "660", "--window", "32", "--future", "2", "--seed", "3", "--out", &dump];
    laprox(&[&["synth"], &shapes[..], &lengths[..]].concat()).success();
    let configurations = Path::new(env!("CARGO_MANIFEST_DIR")).join("ablations");
    let mut ran = Vec::new();
    for path in fs::read_dir(configurations).expect("a folder").flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|ending| ending == "toml") {
            laprox(&["ablate", &dump, "--config", text(&path)]).success();
            ran.push(path.file_stem().expect("a name").to_string_lossy().into_owned());
        }
    }
    ran.sort();
    assert_eq!(ran, ["default", "group_rules", "head_vs_layer", "normaliser", "pooling", "window"]);
}

/// What an option changes, it changes on every path: the fast scores lie nearer to the reference's with the option than to
/// those without.
#[test]
fn no_path_ignores_an_option() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = synth(folder.path(), "dump", "1");
    let score = |path: &str, policy: &str| -> Vec<f64> {
        let out = folder.path().join("scores.npy");
        let arguments = ["score", &dump, "--force", "--path", path, "--policy", policy, "--out", text(&out)];
        laprox(&arguments).success();
        read_npy::<_, ndarray::Array3<f64>>(&out).expect("scores are f64").into_raw_vec_and_offset().0
    };
    let distance = |one: &[f64], two: &[f64]| -> f64 {
        one.iter().zip(two).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
    };
    for (plain, with) in [
        ("laprox", "laprox:pool=avg:7@attention"),
        ("laprox", "laprox:window=2"),
        ("laprox:gqa=attention", "laprox:gqa=attention,pool=max:5@attention"),
        ("laprox:gqa=exact", "laprox:gqa=exact,window=3"),
        ("centred", "centred:window=2"),
        ("snapkv", "snapkv:pool=max:7@attention"),
        ("snapkv", "snapkv:gqa=max"),
        ("adakv", "adakv:window=1"),
        ("h2o", "h2o:gqa=max"),
        ("cake", "cake:gamma=1"),
        ("lava", "lava:pool=avg:7@score"),
        ("defensivekv", "defensivekv:mass=0.2"),
        ("dropkv", "dropkv:eps=0.5"),
        ("vatp", "vatp:pool=avg:7@attention"),
    ] {
        let (plain, stated) = (score("reference", plain), score("reference", with));
        let found = score("fast", with);
        let moved = distance(&plain, &stated);
        assert!(moved > 0.0, "{with} changes nothing");
        assert!(distance(&found, &stated) < 0.5 * moved, "{with} is ignored");
    }
}
