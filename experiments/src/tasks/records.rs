//! A benchmark's file: one JSON object per line.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, ensure};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};

use super::plain_json::plain_json;
use super::prompt::{Facets, Prompt};
use super::request::Request;
use super::task::Task;
use super::truncate::truncate;
use crate::exit::Missing;
use crate::input::{self, LARGEST};
use crate::model::{self, Model};

/// A file that a benchmark publishes.
pub(super) struct Published {
    pub(super) file: String,
    pub(super) benchmark: &'static str,
    pub(super) address: &'static str,
}

impl Published {
    /// The path of the file: in the request's data folder, or in its subfolder `data`.
    pub(super) fn find(&self, task: &Task, request: &Request) -> Result<PathBuf> {
        let Self { file, benchmark, address } = self;
        let folder = request.data.as_ref().ok_or_else(|| {
            Missing(format!(
                "{task}: expected a data folder with {file}; {benchmark} is published at {address}"
            ))
        })?;
        let places = [folder.join(file), folder.join("data").join(file)];
        let found = places.into_iter().find(|place| place.is_file());
        found.ok_or_else(|| {
            let folder = folder.display();
            let expected = format!("expected {file} or data/{file}, found neither");
            Missing(format!("{folder}: {expected}; {benchmark} is published at {address}")).into()
        })
    }
}

/// The prompts of a file's records, cut to the requested length.
///
/// `prompt` receives a record, the prompt's id and its facets.
pub(super) fn read_prompts<T: DeserializeOwned>(
    path: &Path,
    request: &Request,
    model: &Model,
    prompt: impl Fn(T, String, Facets) -> Result<Prompt>,
) -> Result<Vec<Prompt>> {
    let mut reader = BufReader::new(input::open(path)?);
    let wanted = request.samples.unwrap_or(usize::MAX).min(request.limit.unwrap_or(usize::MAX));
    let mut prompts = Vec::new();
    for number in 1.. {
        let place = || format!("{}, line {number}", path.display());
        let Some(line) = next_line(&mut reader).with_context(place)? else { break };
        if prompts.len() == wanted {
            break;
        }
        if line.is_empty() {
            continue;
        }
        let context_len = request.context_len;
        let facets = Facets { context_len, depth: None, sample: number, truncated: false };
        let record = record(&line)
            .and_then(|record| prompt(record, format!("length{context_len}-line{number}"), facets));
        // The line is not to blame for the model's chat template.
        let blamed = |error: Error| match error.downcast_ref() {
            Some(model::Error::Chat { .. }) => error,
            _ => error.context(place()),
        };
        prompts.push(record.and_then(|prompt| truncate(prompt, model)).map_err(blamed)?);
    }
    ensure!(wanted == 0 || !prompts.is_empty(), "{}: expected records, found none", path.display());
    Ok(prompts)
}

/// The next line, without the mark that some editors put at a file's beginning; `None` at the file's end.
fn next_line(reader: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(LARGEST + 1).read_until(b'\n', &mut line)?;
    ensure!(line.len() as u64 <= LARGEST, "expected at most {LARGEST} bytes, found more");
    let text = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line);
    Ok(if line.is_empty() { None } else { Some(text.trim_ascii_end().to_vec()) })
}

/// Reads a line's JSON object. The reason of a refusal names the field.
fn record<T: DeserializeOwned>(line: &[u8]) -> Result<T> {
    let line = plain_json(line);
    let mut json = serde_json::Deserializer::from_slice(&line);
    let record = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let reason = without_line(error.inner());
        if [".", "?"].contains(&&*field) { reason } else { reason.context(format!("`{field}`")) }
    })?;
    json.end().map_err(|error| without_line(&error))?;
    Ok(record)
}

/// The reason without the line number: the JSON reader sees a single line.
fn without_line(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    anyhow!("column {}: {reason}", error.column())
}

/// A text, or a number in its place.
pub(super) struct TextOrNumber(pub(super) String);

impl<'de> Deserialize<'de> for TextOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumberVisitor)
    }
}

struct TextOrNumberVisitor;

impl Visitor<'_> for TextOrNumberVisitor {
    type Value = TextOrNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a number")
    }

    fn visit_str<E>(self, text: &str) -> Result<TextOrNumber, E> {
        Ok(TextOrNumber(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<TextOrNumber, E> {
        Ok(TextOrNumber(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<TextOrNumber, E> {
        Ok(TextOrNumber(number.to_string()))
    }

    /// With a decimal point, as Python prints it.
    fn visit_f64<E>(self, number: f64) -> Result<TextOrNumber, E> {
        Ok(TextOrNumber(format!("{number:?}")))
    }
}
