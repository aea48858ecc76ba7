//! What is written: whole, well-formed, needing nothing from elsewhere, and the same each time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};

use crate::results::{BOUNDS, EVAL, bound, needles, write};
use crate::{laprox, refusal, stdout, text};

/// Results with everything that markup has a meaning for.
fn results(folder: &Path) {
    let rows = ["laprox", "snapkv", "a<b&\"c|d\""]
        .map(|policy| needles(&policy.replace('"', "\"\""), "5%", &[0.0, 1.0, 0.0]));
    let quoted = |row: String| row.replace("a<b&\"\"c|d\"\"", "\"a<b&\"\"c|d\"\"\"");
    let rows: Vec<String> = rows.concat().into_iter().map(quoted).collect();
    write(folder, "needle/rows.csv", EVAL, &rows);
    fs::write(folder.join("needle/config.json"), "{\"seed\": 0, \"commit\": \"<abc>\"}").expect("written");
    let row = bound("B1", "sum of |E| < 3 & more", 1, [1.0, 2.0]);
    write(folder, "bounds/rows.csv", BOUNDS, &[row]);
}

/// Every file of a run, and what it printed.
fn run(results: &Path, folder: &Path) -> (BTreeMap<String, String>, String) {
    let (out, html) = (folder.join("tables"), folder.join("report.html"));
    let arguments = [
        "tables",
        "--quick",
        "needle",
        "bounds",
        "--results",
        text(results),
        "--out",
        text(&out),
        "--html",
        text(&html),
    ];
    let printed = stdout(&laprox(&arguments).success());
    let mut files = BTreeMap::from([("report.html".to_owned(), fs::read_to_string(html).expect("written"))]);
    for entry in fs::read_dir(out).expect("a folder").flatten() {
        let name = entry.file_name().into_string().expect("plain");
        files.insert(name, fs::read_to_string(entry.path()).expect("text"));
    }
    (files, printed)
}

fn parsed(text: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).expect("well-formed")
}

#[test]
fn every_file_is_there_and_the_same_in_two_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    results(folder.path());
    let [one, two] = ["one", "two"].map(|name| {
        fs::create_dir(folder.path().join(name)).expect("created");
        run(folder.path(), &folder.path().join(name))
    });
    assert!(one == two, "two runs differ");
    let (files, printed) = one;
    let expected = [
        "bounds-1.svg",
        "bounds.csv",
        "bounds.json",
        "bounds.md",
        "laprox.sha256",
        "needle-1.svg",
        "needle.csv",
        "needle.json",
        "needle.md",
        "report.html",
    ];
    assert_eq!(files.keys().collect::<Vec<_>>(), expected);
    assert_eq!(printed, format!("{}\n{}", files["needle.md"], files["bounds.md"]));
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    results(folder.path());
    let (files, _) = run(folder.path(), folder.path());
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".html") || name.ends_with(".svg")) {
        let document = parsed(text);
        for node in document.descendants().filter(Node::is_element) {
            let tag = node.tag_name().name();
            assert!(
                !["script", "link", "img", "iframe", "object", "use", "image"].contains(&tag),
                "{name}: {tag}"
            );
            for attribute in node.attributes() {
                let value = attribute.value();
                let elsewhere = value.contains("//") || value.contains("url(");
                assert!(!elsewhere, "{name}: {tag} {} {value}", attribute.name());
                assert!(attribute.name() != "href" || value.starts_with('#'), "{name}: {value}");
            }
            let style = node.text().filter(|_| tag == "style").unwrap_or_default();
            assert!(!style.contains("url(") && !style.contains("@import"), "{name}: {style}");
        }
    }
    let page = parsed(&files["report.html"]);
    let ids: Vec<&str> = page.descendants().filter_map(|node| node.attribute("id")).collect();
    let links = page.descendants().filter_map(|node| node.attribute("href"));
    links.for_each(|link| assert!(ids.contains(&&link[1..]), "{link} leads nowhere"));
    let all: Vec<&str> = page.descendants().filter_map(|node| node.text()).collect();
    for shown in ["a<b&\"c|d\"", "sum of |E| < 3 & more", "undecided", "holds"] {
        assert!(all.contains(&shown), "{shown}");
    }
    assert!(all.iter().any(|text| text.contains("\"commit\": \"<abc>\"")), "the configuration");
    assert_eq!(
        page.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "svg"))).count(),
        2
    );
}

#[test]
fn markdown_ends_with_the_verdicts_and_its_tables_are_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    results(folder.path());
    let (files, _) = run(folder.path(), folder.path());
    for name in ["needle.md", "bounds.md"] {
        let text = &files[name];
        let last = text.split("\n\n").last().expect("a paragraph");
        assert!(last.lines().all(|line| line.starts_with("- **")), "{name}: {last}");
        let lines: Vec<&str> = text.lines().collect();
        // Every line of a table has as many bars as its header, but for those that are escaped.
        for block in lines.split(|line| !line.starts_with('|')).filter(|block| !block.is_empty()) {
            let bars = |line: &&str| line.replace("\\|", "").matches('|').count();
            assert!(block.iter().all(|line| bars(line) == bars(&block[0])), "{name}: {block:?}");
        }
    }
    assert!(files["needle.md"].contains("SHA-256"));
}

#[test]
fn tidy_cells_are_those_of_the_tables() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    results(folder.path());
    let (files, _) = run(folder.path(), folder.path());
    let mut reader = csv::Reader::from_reader(files["needle.csv"].as_bytes());
    assert_eq!(
        reader.headers().expect("a header"),
        vec!["table", "line", "column", "value", "low", "high", "text"]
    );
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("whole rows");
    let shares =
        |row: &&csv::StringRecord| row[0].ends_with("all contexts and depths") && &row[1] == "laprox";
    let row = rows.iter().find(shares).expect("a row");
    assert_eq!(row[3].parse::<f64>().ok().map(|value| (value * 3.0).round()), Some(2.0));
    assert!(row[4].parse::<f64>().expect("low") < row[5].parse::<f64>().expect("high"));
}

#[test]
fn the_committed_figure_is_what_the_committed_results_give() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let out = out.path().join("tables");
    laprox(&["tables", "--quick", "oracle_gap", "--out", text(&out)]).success();
    let drawn = fs::read_to_string(out.join("oracle_gap-1.svg")).expect("a figure");
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/results/figures/oracle_gap.svg");
    assert_eq!(drawn, fs::read_to_string(committed).expect("the committed figure"));
}

#[test]
fn an_existing_output_stays_unless_forced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    results(folder.path());
    let mine = folder.path().join("mine.html");
    fs::write(&mine, "mine").expect("written");
    let html = format!("--html={}", text(&mine));
    let arguments = ["tables", "--quick", "bounds", "--results", text(folder.path()), &html];
    assert!(refusal(&laprox(&arguments).code(2)).contains("expected a new path"));
    assert_eq!(fs::read_to_string(&mine).expect("still there"), "mine");
    laprox(&[&arguments[..], &["--force"]].concat()).success();
    assert!(fs::read_to_string(&mine).expect("replaced").starts_with("<!DOCTYPE html>"));
}

#[test]
fn help_shows_examples() {
    assert!(stdout(&laprox(&["tables", "--help"]).success()).contains("Example"));
}
