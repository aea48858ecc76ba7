//! All chapters as one self-contained page: no script, no font, no picture from elsewhere.

use anyhow::Result;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};

use super::markdown::reason;
use super::svg::{self, escaped};
use super::{Chapter, Outcome, Source, Verdict};
use crate::output::pretty;

/// The report.
///
/// # Errors
/// Never, as long as the committed template is a right one.
pub fn report(chapters: &[Chapter]) -> Result<String> {
    let mut page = Environment::new();
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?;
    page.set_syntax(syntax);
    page.set_formatter(|out, _, value| {
        let text = value.to_string();
        Ok(out.write_str(&if value.is_safe() { text } else { escaped(&text) })?)
    });
    let values = context! {
        version => env!("CARGO_PKG_VERSION"),
        commit => env!("LAPROX_COMMIT"),
        style => Value::from_safe_string([include_str!("page.css"), svg::STYLE].concat()),
        chapters => chapters.iter().map(chapter).collect::<Result<Vec<_>>>()?,
    };
    Ok(page.render_str(include_str!("page.html"), values)?)
}

fn chapter(chapter: &Chapter) -> Result<Value> {
    let content = &chapter.content;
    let figure = |figure| Value::from_safe_string(svg::inline(figure));
    let verdicts = content.verdicts.iter().map(|verdict| context! { reason => reason(verdict), badge => badge(verdict), ..Value::from(Serde(verdict)) });
    Ok(context! {
        config_text => pretty(&chapter.config)?.trim_end(),
        figures => content.figures.iter().map(figure).collect::<Vec<_>>(),
        verdicts => verdicts.collect::<Vec<_>>(),
        sources => chapter.sources.iter().map(source).collect::<Result<Vec<_>>>()?,
        ..Value::from(Serde(chapter))
    })
}

fn source(source: &Source) -> Result<Value> {
    let config = source.config.as_ref().map(pretty).transpose()?;
    Ok(context! { config_text => config.as_deref().map(str::trim_end), ..Value::from(Serde(source)) })
}

/// The outcome in its colour.
fn badge(verdict: &Verdict) -> Value {
    let class = match verdict.outcome {
        Outcome::Holds => "holds",
        Outcome::DoesNotHold => "fails",
        Outcome::Undecided => "open",
    };
    Value::from_safe_string(format!("<strong class=\"{class}\">{}</strong>", verdict.outcome))
}
