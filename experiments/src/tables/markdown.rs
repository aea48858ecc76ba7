//! A chapter as Markdown.

use super::{Author, Chapter, Source, Verdict};

/// The page: tables, notes, sources, and at the end whether the claims hold.
#[must_use]
pub fn page(chapter: &Chapter) -> String {
    let mut text = format!("# {}\n\n{}\n", chapter.config.title, chapter.config.question);
    for table in &chapter.content.tables {
        text += &format!("\n{}\n\n{}\n", table.title, table.markdown());
    }
    for note in &chapter.content.notes {
        text += &format!("\n{note}\n");
    }
    text += "\nFrom:\n\n";
    text += &chapter.sources.iter().map(from).collect::<String>();
    text += "\nVerdicts:\n\n";
    text +=
        &chapter.content.verdicts.iter().map(|verdict| format!("- {}\n", said(verdict))).collect::<String>();
    text
}

fn from(source: &Source) -> String {
    format!("- `{}`, SHA-256 `{}`: `laprox {}`\n", source.file, source.sha256, source.command.join(" "))
}

/// The outcome first, then why.
#[must_use]
pub fn said(verdict: &Verdict) -> String {
    format!("**{}**: {}", verdict.outcome, reason(verdict))
}

/// The claim, and the finding with its model.
#[must_use]
pub fn reason(verdict: &Verdict) -> String {
    let whose = match verdict.of {
        Author::Paper => "the paper's claim",
        Author::Project => "asked here",
    };
    let condition =
        if verdict.condition.is_empty() { String::new() } else { format!(", {}", verdict.condition) };
    let remark = if verdict.remark.is_empty() { String::new() } else { format!("; {}", verdict.remark) };
    format!("\"{}\" ({whose}) on {}{condition}: {}{remark}.", verdict.claim, verdict.model, found(verdict))
}

/// The statistic with its interval, and the threshold.
fn found(verdict: &Verdict) -> String {
    let Some(value) = verdict.value else { return verdict.statistic.clone() };
    let number = |number: f64| format!("{number:.4}");
    let interval = match verdict.interval {
        Some([low, high]) => format!(
            " [{}, {}] ({} % bootstrap interval, n = {})",
            number(low),
            number(high),
            percent(verdict.level),
            verdict.units
        ),
        None => format!(" (no interval, n = {})", verdict.units),
    };
    format!("{}: {}{interval}, threshold {}", verdict.statistic, number(value), verdict.threshold)
}

/// `95`, `99.58`
fn percent(level: f64) -> String {
    let text = format!("{:.2}", 100.0 * level);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
