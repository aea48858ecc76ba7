//! Scores and sets that were made elsewhere stand beside the policies of an evaluation.

use std::fs;

use laprox_reference::Policy;
use serde_json::Value;

use crate::eval::Given;
use crate::{laprox, refusal, text};

const LENGTHS: [&str; 6] = ["--context", "200", "--window", "8", "--future", "6"];

impl Given {
    fn place(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    /// A dump of the first text, or of both.
    fn dump(&self, texts: &[&str], name: &str) -> String {
        let texts: Vec<String> = texts.iter().map(|text| self.place(text)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (model, dump) = (self.place("tiny.gguf"), self.place(name));
        let capture = ["capture", "--model", &model, "--out", &dump, "--text"];
        laprox(&[&capture, &texts[..], &LENGTHS].concat()).success();
        dump
    }

    /// Arguments that predict texts of the folder.
    fn fidelity(&self, texts: &[&str], more: &[&str]) -> Vec<String> {
        let model = self.place("tiny.gguf");
        let fixed: [&[&str]; 4] =
            [&["eval", "--model", &model, "--task", "fidelity"], &LENGTHS, more, &["--text"]];
        let own = fixed.concat().into_iter().map(str::to_owned);
        own.chain(texts.iter().map(|text| self.place(text))).collect()
    }

    fn predicted(&self, texts: &[&str], more: &[&str]) -> Vec<Value> {
        let arguments = self.fidelity(texts, &[more, &["--json"]].concat());
        let printed = laprox(&as_texts(&arguments)).success();
        let document: Value = serde_json::from_slice(&printed.get_output().stdout).expect("one document");
        document["rows"].as_array().expect("rows").clone()
    }
}

fn as_texts(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// The rows of one policy at one budget, or at all of them, without the policy.
fn of(rows: &[Value], policy: &str, budget: Option<&str>) -> Vec<Value> {
    let policy: String = policy.parse().map_or(policy.to_owned(), |policy: Policy| policy.to_string());
    let wanted = |row: &&Value| row["policy"] == policy && budget.is_none_or(|one| row["budget"] == one);
    let mut rows: Vec<Value> = rows.iter().filter(wanted).cloned().collect();
    assert!(!rows.is_empty(), "no row of {policy} at {budget:?}");
    rows.iter_mut().for_each(|row| drop(row.as_object_mut().expect("a row").remove("policy")));
    rows
}

#[test]
fn given_scores_and_sets_of_each_text_decode_as_those_of_their_policy() {
    let given = Given::new();
    let texts = ["one.txt", "two.txt"];
    let dump = given.dump(&texts, "dump");
    let [scores, half, own] = ["scores", "half", "own"].map(|name| given.place(name));
    laprox(&["score", &dump, "--out", &scores]).success();
    laprox(&["evict", &dump, "--budget", "50%", "--out", &half]).success();
    laprox(&["evict", &dump, "--policy", "snapkv", "--budget", "33", "--out", &own]).success();
    let [mine, theirs] = [format!("mine={scores}:allocation=model"), format!("theirs={own}")];
    let policies = ["--policy", "laprox", "snapkv", "--budget", "10%,50%,33"];
    let inputs = ["--scores", &mine, "--retained", &half, "--retained", &theirs];
    let rows = given.predicted(&texts, &[&policies[..], &inputs].concat());
    assert_eq!(of(&rows, "laprox", None), of(&rows, "mine:allocation=model", None));
    assert_eq!(of(&rows, "laprox", Some("50%")), of(&rows, "half", None));
    assert_eq!(of(&rows, "snapkv", Some("33")), of(&rows, "theirs", None));
    // Two texts by three metrics: a set has rows at its own budget alone.
    assert_eq!(of(&rows, "half", None).len(), 2 * 3);
}

#[test]
fn a_set_of_another_size_has_a_column_of_its_own() {
    let given = Given::new();
    let set = given.place("set");
    laprox(&["evict", &given.dump(&["one.txt"], "dump"), "--budget", "33", "--out", &set]).success();
    let arguments =
        given.fidelity(&["one.txt"], &["--policy", "laprox", "--budget", "50%", "--retained", &set]);
    let printed = laprox(&as_texts(&arguments)).success();
    let table = String::from_utf8(printed.get_output().stdout.clone()).expect("text");
    let columns = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let header = table.lines().find(|line| line.starts_with("| policy")).expect("a header");
    assert_eq!(columns(header), ["", "policy", "100%", "50%", "33", ""]);
    let line = table.lines().find(|line| line.starts_with("| set")).expect("a line");
    assert_eq!((&*columns(line)[2], &*columns(line)[3]), ("-", "-"), "{line}");
}

#[test]
fn results_of_another_set_are_of_another_run() {
    let given = Given::new();
    let dump = given.dump(&["one.txt"], "dump");
    let [set, results] = ["set", "results"].map(|name| given.place(name));
    let evict = ["evict", &dump, "--budget", "50%", "--force", "--out", &set, "--policy"];
    let arguments = given.fidelity(
        &["one.txt"],
        &["--policy", "laprox", "--budget", "50%", "--retained", &set, "--results", &results],
    );
    for policy in ["snapkv", "tova"] {
        laprox(&[&evict[..], &[policy]].concat()).success();
        if policy == "snapkv" {
            laprox(&as_texts(&arguments)).success();
            laprox(&as_texts(&arguments)).success();
        }
    }
    let line = refusal(&laprox(&as_texts(&arguments)).code(2));
    assert!(line.contains("is of another run"), "{line}");
}

#[test]
fn a_set_is_refused_for_every_prompt_but_its_own() {
    let given = Given::new();
    let dump = given.dump(&["one.txt"], "dump");
    let [scores, set, nowhere] = ["scores.npy", "set", "nowhere"].map(|name| given.place(name));
    laprox(&["score", &dump, "--out", &scores]).success();
    laprox(&["evict", &dump, "--budget", "50%", "--out", &set]).success();
    fs::create_dir(given.path("other")).expect("made");
    fs::copy(given.path("two.txt"), given.path("other/one.txt")).expect("copied");
    let budget = ["--budget", "50%"];
    let [one, another, second] = [&["one.txt"][..], &["other/one.txt"], &["two.txt"]];
    let cases: [(&[&str], &[&str], i32, &str); 10] = [
        (another, &["--retained", &set], 2, "summary.json: one: expected a set for tokens with SHA-256 "),
        (second, &["--retained", &set], 2, "two.offsets.npy: expected an NPY file, found nothing"),
        (one, &["--retained", &set, "--context", "100"], 2, "expected a set for tokens with SHA-256 "),
        (one, &["--retained", &set, "--context", "100,200"], 2, "set: expected one --context, found 100,200"),
        (one, &["--retained", &set, "--window", "9"], 2, "the window from 191 to 199"),
        (one, &["--retained", &set, "--window", "201"], 2, "window"),
        (one, &["--scores", &scores, "--window", "9"], 2, "expected shape [2, 2, 191], found [2, 2, 192]"),
        (one, &["--scores", &scores, "--window", "300"], 2, "expected shape"),
        (one, &["--scores", &nowhere], 3, "nowhere: no such file or folder"),
        (one, &["--retained", &set, "--out", &format!("{set}/rows.csv")], 2, "expected a path apart from"),
    ];
    for (texts, more, code, named) in cases {
        // A length of the case takes the place of the fixed one.
        let mut arguments = given.fidelity(texts, &[&budget[..], more].concat());
        for option in ["--context", "--window"].iter().filter(|option| more.contains(option)) {
            let at = arguments.iter().position(|argument| argument == option).expect("a fixed length");
            arguments.drain(at..at + 2);
        }
        let line = refusal(&laprox(&as_texts(&arguments)).code(code));
        assert!(line.contains(named), "{more:?}: expected {named} in: {line}");
    }
    let data = given.place("data");
    let of_task = |task: &str, more: &[&str]| {
        let model = given.place("tiny.gguf");
        let fixed = ["eval", "--model", &model, "--task", task, "--retained", &set];
        refusal(&laprox(&[&fixed, &budget[..], more].concat()).code(2))
    };
    let line = of_task("needle", &[]);
    assert!(line.contains("--retained: laprox eval --task needle does not read it"), "{line}");
    let line = of_task("speed", &[]);
    assert!(line.contains("--retained: laprox eval --task speed does not read it"), "{line}");
    let line = of_task("fidelity,longbench:trec", &["--data", &data]);
    assert!(line.contains("expected --task fidelity alone, found fidelity,longbench:trec"), "{line}");
}
