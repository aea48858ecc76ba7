//! From a model file to the rows of an evaluation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use candle_core::quantized::gguf_file::Value as Metadata;
use serde_json::{Value, json};

use crate::results::{contents, finished_units};
use crate::synthetic::{KV_HEADS, LAYERS, Synthetic};
use crate::{laprox, refusal, text};

/// A folder with a tiny model whose tokens are bytes, two texts and a benchmark's file.
pub struct Given {
    folder: tempfile::TempDir,
    model: String,
}

impl Given {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut synthetic = Synthetic::new("llama");
        synthetic.set("llama.context_length", Metadata::U32(4096));
        let template = "{% for message in messages %}{{ message.content }}{% endfor %}";
        synthetic.set("tokenizer.chat_template", Metadata::String(template.to_owned()));
        let model = folder.path().join("tiny.gguf");
        fs::write(&model, synthetic.bytes()).expect("written");
        for (name, seed) in [("one", 3), ("two", 5)] {
            let words: Vec<String> = (0..400_u64).map(|i| (i * i * seed % 997).to_string()).collect();
            fs::write(folder.path().join(format!("{name}.txt")), words.join(" ")).expect("written");
        }
        let question = |number: usize| {
            let (context, classes) =
                (format!("Question: who?\nType: {number}\n").repeat(6), ["person", "place"]);
            json!({ "input": "Question: where?\nType:", "context": context, "answers": ["place"], "all_classes": classes })
        };
        let lines: String = (0..3).map(|number| format!("{}\n", question(number))).collect();
        fs::create_dir(folder.path().join("data")).expect("made");
        fs::write(folder.path().join("data/trec.jsonl"), lines).expect("written");
        Self { model: text(&model).to_owned(), folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Predicts both texts and answers the benchmark's questions.
    pub fn arguments(&self, more: &[&str]) -> Vec<String> {
        let [one, two, data] = ["one.txt", "two.txt", "data"].map(|name| text(&self.path(name)).to_owned());
        let fixed: [&[&str]; 5] = [
            &["eval", "--model", &self.model],
            &["--task", "fidelity,longbench:trec", "--data", &data, "--text", &one, &two],
            &["--context", "200", "--window", "8", "--future", "6"],
            &["--policy", "laprox", "random", "--budget", "10%,50%,100%"],
            more,
        ];
        fixed.concat().into_iter().map(str::to_owned).collect()
    }

    fn rows(&self, more: &[&str]) -> Vec<Value> {
        let arguments = self.arguments(&[more, &["--json"]].concat());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let printed = laprox(&arguments).success();
        let document: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one document");
        document["rows"].as_array().expect("rows").clone()
    }

    fn run_into(&self, results: &Path) {
        let arguments = self.arguments(&["--results", text(results)]);
        laprox(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).success();
    }
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} of {row}"))
}

#[test]
fn every_prompt_has_a_row_for_the_full_cache_and_each_policy_and_budget() {
    let rows = Given::new().rows(&[]);
    let of = |task: &str| rows.iter().filter(|row| row["task"] == task).count();
    // Two texts by three metrics, and three questions asked twice: the full cache, two policies at three budgets.
    assert_eq!(of("fidelity"), 2 * 3 * 7);
    assert_eq!(of("longbench:trec"), 3 * 2 * 7);
    for row in &rows {
        assert!(number(row, "value").is_finite() && number(row, "full_value").is_finite(), "{row}");
        assert_eq!(row["policy"] == "full", row["drop"].is_null(), "{row}");
    }
}

#[test]
fn a_budget_of_everything_changes_nothing() {
    for row in Given::new().rows(&[]).iter().filter(|row| row["budget"] == "100%") {
        assert_eq!(row["value"], row["full_value"], "{row}");
        assert_eq!(row["cache_bytes"], row["full_cache_bytes"], "{row}");
        if row["policy"] != "full" {
            assert_eq!(number(row, "drop"), 0.0, "{row}");
        }
    }
}

#[test]
fn caches_take_what_the_budget_and_the_later_tokens_need() {
    for row in Given::new().rows(&[]).iter().filter(|row| row["task"] == "fidelity") {
        let entry = number(row, "full_cache_bytes") / (200 + 6) as f64;
        let entries = number(row, "entries_per_head") + 6.0;
        assert_eq!(number(row, "cache_bytes"), entries * entry, "{row}");
        assert_eq!(entry as usize % (LAYERS * KV_HEADS), 0);
    }
}

#[test]
fn questions_seen_before_evicting_are_part_of_the_context() {
    let rows = Given::new().rows(&[]);
    let contexts = |question: &str| -> Vec<u64> {
        let of = rows.iter().filter(|row| row["question"] == question);
        of.map(|row| row["context"].as_u64().expect("a number")).collect()
    };
    let (aware, agnostic) = (contexts("aware"), contexts("agnostic"));
    assert_eq!(aware.len(), agnostic.len());
    assert!(aware.iter().zip(&agnostic).all(|(aware, agnostic)| aware > agnostic));
}

#[test]
fn an_evaluation_that_is_killed_again_and_again_ends_in_the_same_bytes() {
    let given = Given::new();
    let stopped = given.path("stopped");
    let mut kills = 0;
    while !stopped.join("pivot.md").exists() {
        let before = finished_units(&stopped);
        let mut process = Command::new(assert_cmd::cargo::cargo_bin!("laprox"))
            .args(given.arguments(&["--results", text(&stopped)]))
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        while finished_units(&stopped) == before && process.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        process.kill().expect("not yet waited for");
        kills += usize::from(process.wait().expect("a child").code().is_none());
        assert!(finished_units(&stopped) > before || stopped.join("pivot.md").exists(), "no progress");
    }
    assert!(kills >= 2, "killed only {kills} times");
    given.run_into(&stopped);
    let whole = given.path("whole");
    given.run_into(&whole);
    assert!(contents(&stopped) == contents(&whole), "a run that was stopped differs");
    let names: Vec<_> = contents(&whole).into_keys().map(|path| text(&path).to_owned()).collect();
    assert_eq!(
        names,
        [
            "config.json",
            "correlations.csv",
            "laprox.sha256",
            "pivot.md",
            "rows.csv",
            "rows.jsonl",
            "statistics.csv"
        ]
    );
}

#[test]
fn budgets_that_the_window_leaves_nothing_of_are_left_out_and_named() {
    let given = Given::new();
    let arguments = given.arguments(&["--limit", "1"]);
    let arguments: Vec<&str> = arguments
        .iter()
        .map(|argument| if argument == "10%,50%,100%" { "4%,50%" } else { argument })
        .collect();
    let printed = laprox(&arguments).success();
    let table = String::from_utf8(printed.get_output().stdout.clone()).expect("text");
    assert!(table.contains("4% of 200 tokens left out: not more than the window of 8"), "{table}");
    assert!(!table.contains("| 4%"), "{table}");
    let csv = [&arguments[..], &["--format", "csv"]].concat();
    let printed = laprox(&csv).success();
    let notes = String::from_utf8(printed.get_output().stderr.clone()).expect("text");
    assert!(
        notes.contains("fidelity: 4% of 200 tokens left out: not more than the window of 8\n"),
        "{notes}"
    );
    let nothing: Vec<&str> =
        csv.iter().map(|&argument| if argument == "4%,50%" { "4%,8" } else { argument }).collect();
    let line = refusal(&laprox(&nothing).code(2));
    assert!(line.contains("nothing to evict: fidelity: 4%, 8 of 200 tokens left out"), "{line}");
}

#[test]
fn a_prompt_shorter_than_the_window_has_its_full_row_alone() {
    let given = Given::new();
    let lines = ["A number.\\nIt is 7, as was said at the quay.\\nWhich?", "hi\\nWhat?"];
    let lines = lines.map(|input| format!("{{\"input\": \"{input}\", \"outputs\": [\"7\"]}}\n"));
    fs::write(given.path("short.jsonl"), lines.concat()).expect("written");
    let task = format!("ruler:{}", text(&given.path("short.jsonl")));
    let printed = laprox(&[
        "eval",
        "--model",
        &given.model,
        "--task",
        &task,
        "--policy",
        "snapkv",
        "--budget",
        "90%",
        "--json",
    ]);
    let assert = printed.success();
    let output = assert.get_output();
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let of = |line: &str, policy: &str| {
        let rows = document["rows"].as_array().expect("rows").iter();
        rows.filter(|row| row["prompt"] == format!("length1024-{line}") && row["policy"] == policy).count()
    };
    // Two metrics, asked before and after the eviction.
    assert_eq!(
        [of("line1", "full"), of("line1", "snapkv"), of("line2", "full"), of("line2", "snapkv")],
        [4, 4, 4, 0]
    );
    let notes = String::from_utf8(output.stderr.clone()).expect("text");
    assert!(notes.contains(": 90% of 2 to 8 tokens left out: not more than the window of 32"), "{notes}");
}

#[test]
fn a_limit_holds_per_length_and_keeps_both_questions() {
    let given = Given::new();
    let units = |task: &str, limit: &str| -> Vec<String> {
        let fixed =
            ["eval", "--model", &given.model, "--task", task, "--context", "400,800", "--window", "16"];
        let more = ["--policy", "snapkv", "--budget", "50%", "--limit", limit, "--json"];
        let own = match task {
            "needle" => vec!["--depth", "0,50", "--samples", "2"],
            _ => vec!["--future", "4"],
        };
        let printed = laprox(&[&fixed[..], &more, &own].concat()).success();
        let document: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one document");
        let full = document["rows"].as_array().expect("rows").iter().filter(|row| row["policy"] == "full");
        let unit = |row: &Value| {
            format!(
                "{} {} {}",
                row["target"],
                row["depth"].as_str().unwrap(),
                row["question"].as_str().unwrap()
            )
        };
        let mut units: Vec<String> = full.map(unit).collect();
        units.dedup();
        units
    };
    assert_eq!(units("needle", "1"), ["400 0% aware", "400 0% agnostic", "800 0% aware", "800 0% agnostic"]);
    let two = units("needle", "2");
    assert_eq!(two[..4], ["400 0% aware", "400 0% agnostic", "400 50% aware", "400 50% agnostic"]);
    assert_eq!(two.len(), 8);
    assert_eq!(units("fidelity", "1"), ["400  ", "800  "]);
}

#[test]
fn refusals_are_one_line_with_their_code() {
    let given = Given::new();
    let [model, one, nowhere] =
        ["tiny.gguf", "one.txt", "nowhere"].map(|name| text(&given.path(name)).to_owned());
    let cases: [(&[&str], i32, &str); 10] = [
        (
            &["--task", "needle", "--budget", "50%", "--model", &model, "--context", "4097"],
            2,
            "--context: expected at most the model's context length 4096, found 4097",
        ),
        (
            &["--task", "fidelity", "--budget", "50%", "--model", &model, "--future", "18446744073709551615"],
            2,
            "--context and --future: expected at most the model's context length 4096",
        ),
        (&["--task", "needle", "--budget", "50%", "--model", &model, "--context", "0"], 2, "above 0"),
        (&["--task", "needle", "--budget", "50%", "--model", &model, "--samples", "1000000"], 2, "1..=10000"),
        (&["--task", "fidelity", "--budget", "50%", "--model", &nowhere], 3, "nowhere: no such file"),
        (&["--task", "fidelity", "--budget", "50%", "--model", &one], 2, "one.txt"),
        (
            &["--task", "fidelity", "--budget", "50%", "--model", &model, "--text", &nowhere],
            3,
            "no such file",
        ),
        (
            &[
                "--task",
                "fidelity",
                "--budget",
                "50%",
                "--model",
                &model,
                "--text",
                &one,
                "--context",
                "4000",
            ],
            2,
            "expected at least 4065 tokens",
        ),
        (&["--task", "haystack", "--budget", "50%", "--model", &model], 2, "needle-multikey"),
        (&["--task", "longbench:trec", "--budget", "50%", "--model", &model], 3, "LongBench"),
    ];
    for (arguments, code, named) in cases {
        let line = refusal(&laprox(&[&["eval"], arguments].concat()).code(code));
        assert!(line.contains(named), "{arguments:?}: expected {named} in: {line}");
    }
}
