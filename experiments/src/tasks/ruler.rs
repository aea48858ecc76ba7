//! Files that RULER's own generators wrote (arXiv 2404.06654), or kvpress made of them.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

use super::prompt::{Facets, Prompt};
use super::records::{TextOrNumber, read_prompts};
use super::request::Request;
use super::task::Task;
use crate::metrics::Metric;
use crate::model::Model;

/// A line of a file, without its other fields. RULER writes `input`, kvpress `context` and `question`.
#[derive(Deserialize)]
struct Record {
    input: Option<String>,
    context: Option<String>,
    question: Option<String>,
    #[serde(alias = "answer")]
    outputs: Vec<TextOrNumber>,
    #[serde(default)]
    answer_prefix: String,
    task: Option<String>,
    max_new_tokens: Option<usize>,
}

/// A kind of RULER's tasks.
struct Kind {
    /// The first part of a task's name in kvpress' files, and of the folder that RULER writes the task's file into.
    name: &'static str,
    /// The question's own words.
    question: &'static str,
    max_new_tokens: usize,
}

/// RULER's lengths of answers.
const KINDS: [Kind; 5] = [
    Kind { name: "niah", question: "the special magic", max_new_tokens: 128 },
    Kind { name: "vt", question: "Find all variables that are assigned the value", max_new_tokens: 30 },
    Kind { name: "cwe", question: "most common words in the above list", max_new_tokens: 120 },
    Kind { name: "fwe", question: "most frequently appeared words", max_new_tokens: 50 },
    Kind { name: QA, question: "Answer the question based on the given documents", max_new_tokens: 32 },
];

/// The kind whose answer needs one of the outputs.
const QA: &str = "qa";

/// The prompts of a file in which an answer needs all outputs, unless a line names a task that needs one.
pub(super) fn prompts(task: &Task, request: &Request, model: &Model) -> Result<Vec<Prompt>> {
    read(task, None, request, model)
}

/// The prompts of a file in which an answer needs one of the outputs.
pub(super) fn qa_prompts(task: &Task, request: &Request, model: &Model) -> Result<Vec<Prompt>> {
    read(task, Some(QA), request, model)
}

fn read(task: &Task, kind: Option<&str>, request: &Request, model: &Model) -> Result<Vec<Prompt>> {
    let path = Path::new(task.argument());
    let most = model.config().max_len();
    let prompt = |record: Record, id: String, facets: Facets| {
        ensure!(!record.outputs.is_empty(), "`outputs`: expected at least one, found none");
        let kind = kind.map_or_else(|| record.kind(path), |name| KINDS.iter().find(|kind| kind.name == name));
        let found = record.max_new_tokens;
        ensure!(
            found.is_none_or(|found| (1..=most.tokens).contains(&found)),
            "`max_new_tokens`: expected 1 to {most}, found {}",
            found.unwrap_or_default()
        );
        let max_new_tokens = found.or(kind.map(|kind| kind.max_new_tokens)).unwrap_or(128);
        let any = kind.is_some_and(|kind| kind.name == QA);
        let (context, question) = record.text()?;
        Ok(Prompt {
            id,
            context,
            question,
            answer_prefix: record.answer_prefix.trim_start().to_owned(),
            chat: true,
            max_new_tokens,
            references: record.outputs.into_iter().map(|output| output.0).collect(),
            metric: if any { Metric::ContainsAny } else { Metric::ContainsAll },
            facets,
        })
    };
    read_prompts(path, request, model, prompt)
}

impl Record {
    /// The kind that the record names, that its question has the words of, or that the file's place names.
    fn kind(&self, path: &Path) -> Option<&'static Kind> {
        let named =
            |name: &str| KINDS.iter().find(|kind| name.split(['_', '-', '.']).next() == Some(kind.name));
        let asks = |kind: &&Kind| {
            [&self.input, &self.question].into_iter().flatten().any(|text| text.contains(kind.question))
        };
        let place = || {
            let places = [path.file_name(), path.parent().and_then(Path::file_name)];
            places.into_iter().flatten().find_map(|name| named(&name.to_string_lossy()))
        };
        let of_task = self.task.as_deref().and_then(named);
        of_task.or_else(|| KINDS.iter().find(asks)).or_else(place)
    }

    /// The context and the question: the last line of each of RULER's prompts is the question.
    fn text(&self) -> Result<(String, String)> {
        match (&self.input, &self.context, &self.question) {
            (Some(input), None, None) => {
                let question = input.trim_end().rfind('\n').unwrap_or(0);
                let (context, question) = input.split_at(question);
                Ok((context.to_owned(), question.to_owned()))
            }
            (None, Some(context), Some(question)) => Ok((context.clone(), question.clone())),
            _ => bail!("expected `input`, or `context` and `question`"),
        }
    }
}
