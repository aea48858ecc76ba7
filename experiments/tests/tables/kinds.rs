//! The numbers of every kind of table.

use crate::results::{ABLATION, BOUNDS, EVAL, Eval, ORACLE, bound, errors, needles, over_bound, write};
use crate::{cell, chapter, outcome, table, value};

const PROMPT: Eval<'_> = Eval {
    task: "fidelity",
    question: "",
    prompt: "",
    target: 1024,
    depth: "",
    policy: "laprox",
    budget: "5%",
    metric: "nll",
    value: 0.0,
    full: 0.0,
};

/// Two tasks of unequal size: 1 and 0 of 1 and 1 points; 0.5, 0.5 and 0.2 of 0.5 each. Task means are 50 and 40, the full
/// cache's 100 and 50, their averages 45 and 75, and the loss 30.
#[test]
fn accuracy_averages_tasks_alike() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let full = needles("full", "100%", &[0.0, 0.0]);
    let rows = [full, needles("laprox", "10%", &[0.0, 1.0]), needles("snapkv", "10%", &[0.0, 0.0])];
    write(folder.path(), "needle/rows.csv", EVAL, &rows.concat());
    let row = |prompt, policy, value| {
        let row = Eval {
            task: "common-words",
            question: "aware",
            metric: "contains-share",
            full: 0.5,
            budget: "10%",
            ..PROMPT
        };
        Eval { prompt, policy, value, ..row }.row()
    };
    let rows = [("a", 0.5), ("b", 0.5), ("c", 0.2)].map(|(prompt, value)| row(prompt, "laprox", value));
    let other = ["a", "b", "c"].map(|prompt| row(prompt, "snapkv", 0.0));
    write(folder.path(), "retrieval/rows.csv", EVAL, &[rows, other].concat());

    let chapter = chapter("accuracy", folder.path());
    let shown = table(&chapter, "points out of 100");
    let laprox = |column| value(shown, &["10%", "laprox"], column).expect("a number");
    for (column, expected) in
        [("needle", 50.0), ("common-words", 40.0), ("average", 45.0), ("loss against full", 30.0)]
    {
        approx::assert_relative_eq!(laprox(column), expected, max_relative = 1e-14);
    }
    for (column, expected) in [("needle", 100.0), ("common-words", 50.0), ("average", 75.0)] {
        assert_eq!(value(shown, &["100%", "full"], column), Some(expected));
    }
    assert_eq!(cell(shown, &["10%", "snapkv"], "needle")["best"], true);
    assert_eq!(cell(shown, &["10%", "laprox"], "average")["best"], false);
    assert_eq!(cell(shown, &["10%", "laprox"], "common-words")["best"], true);
    // Snapkv has lost 0 and 50.
    assert_eq!(cell(shown, &["10%", "snapkv"], "loss against full")["best"], true);
}

/// At 20 % only one of two tasks was measured: its points are not the average.
#[test]
fn an_average_needs_every_task() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = [needles("laprox", "5%", &[0.0, 1.0]), needles("laprox", "20%", &[0.0, 0.0])];
    write(folder.path(), "needle/rows.csv", EVAL, &rows.concat());
    let words =
        Eval { task: "words", question: "aware", metric: "contains-all", value: 1.0, full: 1.0, ..PROMPT };
    let rows = ["a", "b"].map(|prompt| Eval { prompt, ..words }.row());
    write(folder.path(), "retrieval/rows.csv", EVAL, &rows);
    let chapter = chapter("accuracy", folder.path());
    let shown = table(&chapter, "points out of 100");
    assert_eq!(value(shown, &["5%", "laprox"], "average"), Some(75.0));
    assert_eq!(value(shown, &["20%", "laprox"], "needle"), Some(100.0));
    assert_eq!(value(shown, &["20%", "laprox"], "average"), None);
    assert_eq!(value(shown, &["20%", "laprox"], "loss against full"), None);
}

#[test]
fn what_others_measured_is_marked_as_theirs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "needle/rows.csv", EVAL, &needles("laprox", "5%", &[0.0, 1.0]));
    write(
        folder.path(),
        "retrieval/rows.csv",
        EVAL,
        &[Eval { task: "common-words", prompt: "a", ..PROMPT }.row()],
    );
    let chapter = chapter("accuracy", folder.path());
    let theirs = table(&chapter, "16 English tasks");
    assert!(theirs["title"].as_str().is_some_and(|title| title.starts_with("Measured by others")));
    let lines = theirs["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), 6 + 5 + 5);
    for line in lines {
        let [average, loss, source] = [0, 1, 2].map(|column| &line["cells"][column]);
        assert!(average["value"].as_f64().is_some_and(|average| (39.0..50.0).contains(&average)), "{line}");
        assert_eq!(loss["value"].is_null(), line["labels"][1] == "full", "{line}");
        assert!(source["text"].as_str().is_some_and(|source| !source.is_empty()), "{line}");
    }
    let labels = ["Llama-3.1-8B", "laprox", "128 a layer"];
    assert_eq!(value(theirs, &labels, "average"), Some(43.88));
    approx::assert_relative_eq!(
        value(theirs, &labels, "loss against full").unwrap(),
        6.07,
        max_relative = 1e-12
    );
    assert!(cell(theirs, &labels, "source")["text"].as_str().is_some_and(|text| text.contains("RESCUE")));
}

/// Four prompts in turn at two depths: 0 % loses the first and third, 100 % none but the fourth.
#[test]
fn needles_lie_in_a_grid() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = [needles("full", "100%", &[0.0; 4]), needles("laprox", "5%", &[1.0, 0.0, 1.0, 1.0])];
    write(folder.path(), "needle/rows.csv", EVAL, &rows.concat());
    let chapter = chapter("needle", folder.path());
    let grid = table(&chapter, "found at 5%");
    assert_eq!(value(grid, &["laprox", "0%"], "512 tokens"), Some(0.0));
    assert_eq!(value(grid, &["laprox", "100%"], "512 tokens"), Some(0.5));
    assert_eq!(value(table(&chapter, "found at 100%"), &["full", "0%"], "512 tokens"), Some(1.0));
    assert_eq!(value(table(&chapter, "all contexts and depths"), &["laprox"], "5%"), Some(0.25));
}

/// A text of two lengths is one unit: (3 + 5) / 2 and (4 + 4) / 2 are both 4, so there is no doubt about 4.
#[test]
fn a_text_at_two_lengths_is_one_sample() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let row = |prompt, target, value| Eval { prompt, target, value, full: 1.0, ..PROMPT }.row();
    let rows = [row("a", 1024, 3.0), row("a", 2048, 5.0), row("b", 1024, 4.0), row("b", 2048, 4.0)];
    write(folder.path(), "fidelity/rows.csv", EVAL, &rows);
    let chapter = chapter("fidelity", folder.path());
    let shown = cell(table(&chapter, "nats a token"), &["laprox"], "5%");
    assert_eq!(shown["value"].as_f64(), Some(4.0));
    assert_eq!(shown["interval"], serde_json::json!([4.0, 4.0]));
    // A rise of 3 nats is surely above 0.05.
    assert_eq!(outcome(&chapter, "5 % of the cache suffices", "rise in nll"), "does-not-hold");
    assert_eq!(chapter["verdicts"][0]["units"], 2);
}

#[test]
fn allocations_of_one_score_stand_in_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = [
        errors("laprox", "laprox", "model", "10%", &[0.2, 0.4]),
        errors("laprox:allocation=head", "laprox", "head", "10%", &[0.4, 0.6]),
        errors("laprox", "laprox", "model", "5%", &[0.6, 0.8]),
        errors("lava", "lava", "lava", "5%", &[0.1, 0.1]),
    ];
    write(folder.path(), "head_vs_layer/rows.csv", ABLATION, &rows.concat());
    let chapter = chapter("ablation", folder.path());
    let shown = table(&chapter, "error by allocation");
    approx::assert_relative_eq!(
        value(shown, &["10%", "laprox"], "full method (model)").unwrap(),
        0.3,
        max_relative = 1e-14
    );
    assert_eq!(value(shown, &["10%", "laprox"], "uniform (head)"), Some(0.5));
    assert_eq!(cell(shown, &["10%", "laprox"], "full method (model)")["best"], true);
    assert_eq!(value(shown, &["10%", "laprox"], "head-flattened (layer)"), None);
    assert_eq!(shown["lines"].as_array().map(Vec::len), Some(2), "a score of one allocation has no line");
    let policies = table(&chapter, "head_vs_layer");
    assert_eq!(value(policies, &["lava"], "5%"), Some(0.1));
    assert_eq!(policies["columns"], serde_json::json!(["5%", "10%"]), "budgets come in their order");
}

/// Errors of 0.3 and 0.6 over a bound of 0.2.
#[test]
fn a_gap_is_over_the_bound() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = [
        over_bound("laprox", "", 0.3, "1.5"),
        over_bound("snapkv", "", 0.6, "3"),
        over_bound("laprox", "1", 0.9, ""),
        over_bound("oracle:certified", "", 0.2, "1"),
    ];
    write(folder.path(), "oracle/rows.csv", ORACLE, &rows);
    let chapter = chapter("oracle_gap", folder.path());
    let gap = table(&chapter, "over the proven least one");
    assert_eq!(value(gap, &["laprox"], "5%"), Some(1.5));
    assert_eq!(value(gap, &["snapkv"], "5%"), Some(3.0));
    assert_eq!(cell(gap, &["oracle:certified"], "5%")["best"], true);
    assert_eq!(outcome(&chapter, "consistent wins", ""), "undecided", "one sample has no interval");
}

#[test]
fn bounds_hold_only_together() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let row = |layer, left, right| bound("B1", "left <= |right|", layer, [left, right]);
    let mut rows = vec![row(1, 1.0, 2.0), row(2, 1.0, 8.0), row(3, 1.0, 3.0)];
    write(folder.path(), "bounds/rows.csv", BOUNDS, &rows);
    let holding = chapter("bounds", folder.path());
    let shown = table(&holding, "laprox at 5%");
    for (column, expected) in [("least slack", 2.0), ("median", 3.0), ("most", 8.0)] {
        assert_eq!(value(shown, &["B1", "left <= |right|"], column), Some(expected));
    }
    assert_eq!(outcome(&holding, "every bound holds", ""), "holds");
    rows.push(row(4, 2.0, 1.0));
    write(folder.path(), "bounds/rows.csv", BOUNDS, &rows);
    let failing = chapter("bounds", folder.path());
    assert_eq!(outcome(&failing, "every bound holds", ""), "does-not-hold");
    assert_eq!(failing["verdicts"][0]["value"].as_f64(), Some(0.75));
}

/// Scoring takes 0.1 s of 4 s and 0.1 s of 2 s: 0.025 and 0.05 of the prefill.
#[test]
fn overhead_is_a_share_of_the_prefill() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let row =
        |prompt, metric, value, full| Eval { task: "speed", prompt, metric, value, full, ..PROMPT }.row();
    let rows = [
        row("a", "score s", 0.1, 4.0),
        row("b", "score s", 0.1, 2.0),
        row("a", "decode tokens/s", 30.0, 20.0),
        row("b", "decode tokens/s", 50.0, 20.0),
    ];
    write(folder.path(), "speed/rows.csv", EVAL, &rows);
    let chapter = chapter("overhead", folder.path());
    let of = |ending| value(table(&chapter, ending), &["laprox"], "5%").expect("a number");
    approx::assert_relative_eq!(of("seconds over seconds"), 0.0375, max_relative = 1e-14);
    assert_eq!(of("bytes as allocated"), 0.5);
    assert_eq!(of("over the full cache's"), 2.0);
    let seconds = table(&chapter, "texts and budgets");
    assert_eq!(value(seconds, &["1024", "laprox"], "prefill"), Some(3.0));
}
