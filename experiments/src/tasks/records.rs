//! A benchmark's file: one JSON object per line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, ensure};
use serde::de::DeserializeOwned;

use super::prompt::{Facets, Prompt};
use super::request::Request;
use super::task::Task;
use super::truncate::truncate;
use crate::exit::Missing;
use crate::model::Model;

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
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let is_blank = |line: &io::Result<Vec<u8>>| line.as_ref().is_ok_and(|line| line.trim_ascii().is_empty());
    let lines = BufReader::new(file).split(b'\n').zip(1..).filter(|(line, _)| !is_blank(line));
    let read = |(line, number): (io::Result<Vec<u8>>, usize)| {
        let record = serde_json::from_slice(&line?).map_err(|error| without_line(&error))?;
        let context_len = request.context_len;
        let facets = Facets { context_len, depth: None, sample: number, truncated: false };
        truncate(prompt(record, format!("length{context_len}-line{number}"), facets)?, model)
    };
    let wanted = lines.take(request.samples.unwrap_or(usize::MAX));
    let prompts = wanted.map(|line| {
        let number = line.1;
        read(line).with_context(|| format!("{}, line {number}", path.display()))
    });
    let prompts: Vec<Prompt> = prompts.collect::<Result<_>>()?;
    let expected = request.samples != Some(0);
    ensure!(!(expected && prompts.is_empty()), "{}: expected records, found none", path.display());
    Ok(prompts)
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let absent = error.kind() == io::ErrorKind::NotFound;
    let reason = format!("{}: {error}", path.display());
    if absent { Missing(reason).into() } else { anyhow!(reason) }
}

/// The reason without the line number: the JSON reader sees a single line.
fn without_line(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    anyhow!("column {}: {reason}", error.column())
}
