//! Files that RULER's own generators wrote (arXiv 2404.06654).

use std::path::Path;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::prompt::{Facets, Prompt};
use super::records::read_prompts;
use super::request::Request;
use super::task::Task;
use crate::metrics::Metric;
use crate::model::Model;

/// A line of a file, without its other fields.
#[derive(Deserialize)]
struct Record {
    input: String,
    outputs: Vec<String>,
    #[serde(default)]
    answer_prefix: String,
}

/// The prompts of a file in which an answer needs all outputs.
pub(super) fn prompts(task: &Task, request: &Request, model: &Model) -> Result<Vec<Prompt>> {
    read(task, request, model, &Metric::ContainsAll, 128)
}

/// The prompts of a file in which an answer needs one of the outputs.
pub(super) fn qa_prompts(task: &Task, request: &Request, model: &Model) -> Result<Vec<Prompt>> {
    read(task, request, model, &Metric::ContainsAny, 32)
}

/// The last line of each of RULER's prompts is the question.
fn read(
    task: &Task,
    request: &Request,
    model: &Model,
    metric: &Metric,
    max_new_tokens: usize,
) -> Result<Vec<Prompt>> {
    let prompt = |record: Record, id: String, facets: Facets| {
        ensure!(!record.outputs.is_empty(), "`outputs`: expected at least one, found none");
        let question = record.input.trim_end().rfind('\n').unwrap_or(0);
        let (context, question) = record.input.split_at(question);
        Ok(Prompt {
            id,
            context: context.to_owned(),
            question: question.to_owned(),
            answer_prefix: record.answer_prefix.trim_start().to_owned(),
            chat: true,
            max_new_tokens,
            references: record.outputs,
            metric: metric.clone(),
            facets,
        })
    };
    read_prompts(Path::new(task.argument()), request, model, prompt)
}
