//! Results that are wrong: one line that names the file and, where there is one, the line and the column.

use std::fs;

use crate::results::{EVAL, needles, write};
use crate::{laprox, refusal, text};

/// What `laprox tables --quick needle` says of rows like these.
fn complaint(rows: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("needle/rows.csv");
    fs::create_dir_all(folder.path().join("needle")).expect("created");
    fs::write(&path, rows).expect("written");
    let out = folder.path().join("out");
    let arguments = ["tables", "--quick", "needle", "--results", text(folder.path()), "--out", text(&out)];
    let line = refusal(&laprox(&arguments).code(2));
    assert!(line.contains(text(&path)), "the file is not named: {line}");
    assert!(!out.exists());
    line
}

#[test]
fn malformed_rows_are_refused_with_file_and_line() {
    let good = needles("laprox", "5%", &[0.0, 1.0]);
    let rows = format!("{EVAL}\n{}\n{}\n", good[0], good[1]);
    let cases = [
        (String::new(), "no rows"),
        (format!("{EVAL}\n"), "no rows"),
        (rows.replace(",value,", ",wert,"), "line 2: missing field `value`"),
        (rows.replace(EVAL, "a,b,c"), "line: 2"),
        (rows.replace("contains-all,0,", "contains-all,NaN,"), "line 3: value is NaN"),
        (rows.replace("contains-all,0,", "contains-all,inf,"), "line 3: value is inf"),
        (rows.replace("contains-all,0,", "contains-all,none,"), "line 3: column value: invalid float"),
        (rows.replace(",5%,", ",105%,"), "line 2: budget"),
        (rows.replace(",aware,", ",perhaps,"), "line 2: question 'perhaps': expected aware or agnostic"),
        (rows.replace(",0%,", ",deep,"), "line 2: depth"),
        (format!("{rows}{}\n", good[0]), "line 4: a second row of the same as line 2"),
        (rows.replace(",50,100,\n", "\n"), "line: 2"),
    ];
    for (rows, named) in cases {
        let line = complaint(&rows);
        assert!(line.contains(named), "expected {named} in: {line}");
    }
}

#[test]
fn needles_without_a_depth_have_no_grid() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let row = needles("laprox", "5%", &[0.0])[0].replace(",0%,", ",,");
    write(folder.path(), "needle/rows.csv", EVAL, &[row]);
    let line = refusal(&laprox(&["tables", "--quick", "needle", "--results", text(folder.path())]).code(2));
    assert!(line.contains("needle: no row has a depth"), "{line}");
}

#[test]
fn what_is_not_text_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("needle/rows.csv");
    fs::create_dir_all(folder.path().join("needle")).expect("created");
    fs::write(&path, [0xff, 0xfe, 0x00]).expect("written");
    let line = refusal(&laprox(&["tables", "--quick", "needle", "--results", text(folder.path())]).code(2));
    assert!(line.contains(text(&path)), "{line}");
}

#[test]
fn a_configuration_that_is_no_json_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "needle/rows.csv", EVAL, &needles("laprox", "5%", &[0.0, 1.0]));
    fs::write(folder.path().join("needle/config.json"), "{").expect("written");
    let line = refusal(&laprox(&["tables", "--quick", "needle", "--results", text(folder.path())]).code(2));
    assert!(line.contains("config.json"), "{line}");
}

#[test]
fn two_metrics_of_a_task_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = needles("laprox", "5%", &[0.0, 1.0]);
    let other = rows[0].replace("contains-all", "qa-f1");
    write(folder.path(), "needle/rows.csv", EVAL, &[rows.clone(), vec![other]].concat());
    write(folder.path(), "retrieval/rows.csv", EVAL, &[rows[0].replace(",needle,", ",words,")]);
    let line = refusal(&laprox(&["tables", "--quick", "accuracy", "--results", text(folder.path())]).code(2));
    assert!(line.contains("task needle: metrics contains-all and qa-f1"), "{line}");
}

#[test]
fn what_is_missing_ends_in_code_3() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let results = text(folder.path());
    let line = refusal(&laprox(&["tables", "--quick", "needle", "--results", results]).code(3));
    assert!(line.contains("needle/rows.csv"), "{line}");
    write(folder.path(), "needle/rows.csv", EVAL, &needles("laprox", "5%", &[0.0, 1.0]));
    laprox(&["tables", "--quick", "needle", "--results", results]).success();
    let line = refusal(&laprox(&["tables", "--quick", "accuracy", "--results", results]).code(3));
    assert!(line.contains("retrieval/rows.csv"), "{line}");
}

#[test]
fn unknown_names_are_refused_with_the_known_ones() {
    let line = refusal(&laprox(&["tables", "--quick", "needles"]).code(2));
    for name in [
        "needles",
        "accuracy",
        "needle",
        "fidelity",
        "prediction",
        "ablation",
        "oracle_gap",
        "bounds",
        "overhead",
    ] {
        assert!(line.contains(name), "{name} in {line}");
    }
    refusal(&laprox(&["tables", "needle"]).code(2));
    refusal(&laprox(&["tables", "--quick", "--model", "M"]).code(2));
    assert!(refusal(&laprox(&["tables", "--quick", "--html", "needle"]).code(2)).contains("--html=FILE"));
}
