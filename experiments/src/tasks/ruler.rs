//! Files that RULER's own generators wrote (arXiv 2404.06654).

use std::path::Path;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::prompt::{Facets, Prompt};
use super::records::read_prompts;
use super::request::Request;
use super::task::Task;
use super::tokens::Tokens;
use crate::metrics::Metric;

/// A line of a file, its other fields left out.
#[derive(Deserialize)]
struct Record {
    input: String,
    outputs: Vec<String>,
    #[serde(default)]
    answer_prefix: String,
}

/// The prompts of a file whose outputs are all asked for.
pub(super) fn prompts(task: &Task, request: &Request, tokens: &dyn Tokens) -> Result<Vec<Prompt>> {
    read(task, request, tokens, &Metric::ContainsAll, 128)
}

/// The prompts of a file whose outputs are ways to say the same.
pub(super) fn qa_prompts(task: &Task, request: &Request, tokens: &dyn Tokens) -> Result<Vec<Prompt>> {
    read(task, request, tokens, &Metric::ContainsAny, 32)
}

/// All of RULER's prompts end with a line of their own that asks.
fn read(
    task: &Task,
    request: &Request,
    tokens: &dyn Tokens,
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
    read_prompts(Path::new(task.argument()), request, tokens, prompt)
}
