//! All chapters as one self-contained page: no script, no font, no picture from elsewhere.

use super::chapter::Chapter;
use super::markdown::reason;
use super::source::Source;
use super::svg::{self, escaped};
use super::verdict::{Outcome, Verdict};
use crate::table::{Cell, Line, Table};

const STYLE: &str = include_str!("page.css");

/// The report.
#[must_use]
pub fn report(chapters: &[Chapter]) -> String {
    let contents: String = chapters
        .iter()
        .map(|chapter| {
            format!("<li><a href=\"#{}\">{}</a></li>\n", chapter.name, escaped(&chapter.config.title))
        })
        .collect();
    let body: String = chapters.iter().map(section).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"/>\n<title>laprox: tables and figures</title>\n\
         <style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n<h1>KV-cache eviction, measured</h1>\n\
         <p>laprox {}, commit {}. A claim holds where all of a bootstrap interval is on its side of the threshold, does not hold \
         where none of it is, and is undecided otherwise. None of the numbers is taken from the paper.</p>\n\
         <nav><ul>\n{contents}</ul></nav>\n<h2>What holds</h2>\n{}{body}</main>\n</body>\n</html>\n",
        svg::STYLE,
        env!("CARGO_PKG_VERSION"),
        env!("LAPROX_COMMIT"),
        summary(chapters)
    )
}

/// Every verdict in short.
fn summary(chapters: &[Chapter]) -> String {
    let lines = chapters
        .iter()
        .flat_map(|chapter| chapter.content.verdicts.iter().map(move |verdict| (chapter, verdict)));
    let line = |(chapter, verdict): (&Chapter, &Verdict)| {
        format!(
            "<tr><td>{}</td><td>{}</td><td><a href=\"#{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            badge(verdict.outcome),
            escaped(&verdict.claim),
            chapter.name,
            chapter.name,
            escaped(&verdict.measure),
            escaped(&verdict.condition),
            escaped(&verdict.model)
        )
    };
    let lines: String = lines.map(line).collect();
    format!(
        "<div class=\"wide\"><table class=\"words\"><thead><tr><th>verdict</th><th>claim</th><th>table</th><th>measure</th>\
         <th>condition</th><th>model</th></tr></thead>\n\
         <tbody>\n{lines}</tbody></table></div>\n"
    )
}

fn section(chapter: &Chapter) -> String {
    let content = &chapter.content;
    let figures = content.figures.iter();
    let figures: String =
        figures.map(|figure| format!("<div class=\"wide\">{}</div>\n", svg::inline(figure))).collect();
    let tables: String = content.tables.iter().map(table).collect();
    let notes: String = content.notes.iter().map(|note| format!("<p>{}</p>\n", escaped(note))).collect();
    let verdicts: String = content.verdicts.iter().map(verdict).collect();
    format!(
        "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"question\">{}</p>\n<ul class=\"verdicts\">\n{verdicts}</ul>\n\
         {figures}{tables}{notes}{}</section>\n",
        chapter.name,
        escaped(&chapter.config.title),
        escaped(&chapter.config.question),
        details(chapter)
    )
}

fn verdict(verdict: &Verdict) -> String {
    format!("<li>{} {}</li>\n", badge(verdict.outcome), escaped(&reason(verdict)))
}

fn badge(outcome: Outcome) -> String {
    let class = match outcome {
        Outcome::Holds => "holds",
        Outcome::DoesNotHold => "fails",
        Outcome::Undecided => "open",
    };
    format!("<strong class=\"{class}\">{outcome}</strong>")
}

/// Tables of more lines than a screen are folded.
fn table(table: &Table) -> String {
    let labels = table.labels.iter().map(|name| format!("<th class=\"label\">{}</th>", escaped(name)));
    let columns = table.columns.iter().map(|name| format!("<th>{}</th>", escaped(name)));
    let header: String = labels.chain(columns).collect();
    let lines: String = table.lines.iter().map(line).collect();
    let open = if table.lines.len() <= LONG { " open=\"open\"" } else { "" };
    format!(
        "<details{open}><summary>{}</summary>\n<div class=\"wide\"><table><thead><tr>{header}</tr></thead>\n<tbody>\n{lines}\
         </tbody></table></div></details>\n",
        escaped(&table.title)
    )
}

const LONG: usize = 25;

fn line(line: &Line) -> String {
    let labels: String = line.labels.iter().map(|label| format!("<th>{}</th>", escaped(label))).collect();
    let cells: String = line.cells.iter().map(cell).collect();
    format!("<tr>{labels}{cells}</tr>\n")
}

fn cell(cell: &Cell) -> String {
    let text = escaped(&cell.text);
    if cell.best { format!("<td><b>{text}</b></td>") } else { format!("<td>{text}</td>") }
}

/// The resolved configuration, and the sources.
fn details(chapter: &Chapter) -> String {
    let config = serde_json::to_string_pretty(&chapter.config).unwrap_or_default();
    let sources: String = chapter.sources.iter().map(source).collect();
    format!(
        "<details><summary>Configuration and sources</summary>\n<pre>{}</pre>\n{sources}</details>\n",
        escaped(&config)
    )
}

fn source(source: &Source) -> String {
    let config =
        source.config.as_ref().map(|config| serde_json::to_string_pretty(config).unwrap_or_default());
    let config = config.map(|config| format!("<pre>{}</pre>\n", escaped(&config))).unwrap_or_default();
    format!(
        "<p><code>{}</code>, SHA-256 <code>{}</code>, made by</p>\n<pre>laprox {}</pre>\n{config}",
        escaped(&source.file),
        source.sha256,
        escaped(&source.command.join(" "))
    )
}
