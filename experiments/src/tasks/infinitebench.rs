//! En.Sum of InfiniteBench (arXiv 2402.13718), read from its file.

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::prompt::{Facets, Prompt};
use super::records::{Published, read_prompts};
use super::request::Request;
use super::task::Task;
use crate::metrics::Metric;
use crate::model::Model;

/// A line of the file, without its other fields.
#[derive(Deserialize)]
struct Record {
    context: String,
    answer: Vec<String>,
}

/// The prompts of the file.
///
/// Scored by the ROUGE-L of LongBench's summaries; InfiniteBench uses the rougeLsum of another package.
pub(super) fn prompts(task: &Task, request: &Request, model: &Model) -> Result<Vec<Prompt>> {
    let file = Published {
        file: "longbook_sum_eng.jsonl".to_owned(),
        benchmark: "InfiniteBench",
        address: "https://huggingface.co/datasets/xinrongzhang2022/InfiniteBench",
    };
    read_prompts(&file.find(task, request)?, request, model, prompt)
}

fn prompt(record: Record, id: String, facets: Facets) -> Result<Prompt> {
    ensure!(!record.answer.is_empty(), "`answer`: expected at least one, found none");
    Ok(Prompt {
        id,
        context: format!("Summarize the book below.\n\n{}", record.context),
        question: "\n\nSummary:".to_owned(),
        answer_prefix: String::new(),
        chat: true,
        max_new_tokens: 1200,
        references: record.answer,
        metric: Metric::RougeL,
        facets,
    })
}
