//! The 16 English tasks of LongBench (arXiv 2308.14508), read from its files.
//!
//! The prompts, the lengths of answers and the measures are the official ones. LongBench ends samsum's answers at the
//! first line break, and forbids it as the first token; here the later lines are generated and do not count.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::prompt::{Facets, Prompt};
use super::records::{Published, TextOrNumber, read_prompts};
use super::request::Request;
use super::task::Task;
use crate::metrics::Metric;
use crate::model::Model;

/// LongBench's own prompts, by the dataset's name.
static PROMPTS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let text = include_str!("../../tasks/longbench/dataset2prompt.json");
    serde_json::from_str(text).expect("the committed prompts are JSON")
});

/// The datasets' names, then those of LongBench-E: the same tasks on texts of evenly distributed lengths.
pub(super) static NAMES: [&str; 29] = [
    "narrativeqa",
    "qasper",
    "multifieldqa_en",
    "hotpotqa",
    "2wikimqa",
    "musique",
    "gov_report",
    "qmsum",
    "multi_news",
    "trec",
    "triviaqa",
    "samsum",
    "passage_count",
    "passage_retrieval_en",
    "lcc",
    "repobench-p",
    "qasper_e",
    "multifieldqa_en_e",
    "hotpotqa_e",
    "2wikimqa_e",
    "gov_report_e",
    "multi_news_e",
    "trec_e",
    "triviaqa_e",
    "samsum_e",
    "passage_count_e",
    "passage_retrieval_en_e",
    "lcc_e",
    "repobench-p_e",
];

/// LongBench's settings of one of its datasets.
struct Dataset {
    name: &'static str,
    max_new_tokens: usize,
    /// The measure; each record lists the classes of a classification.
    metric: Metric,
    /// Whether the prompt is a turn of a conversation; few-shot and code prompts are plain text.
    chat: bool,
    /// Whether only the first line of the answer counts.
    first_line: bool,
}

static DATASETS: [Dataset; 16] = [
    Dataset::chat("narrativeqa", 128, Metric::QaF1),
    Dataset::chat("qasper", 128, Metric::QaF1),
    Dataset::chat("multifieldqa_en", 64, Metric::QaF1),
    Dataset::chat("hotpotqa", 32, Metric::QaF1),
    Dataset::chat("2wikimqa", 32, Metric::QaF1),
    Dataset::chat("musique", 32, Metric::QaF1),
    Dataset::chat("gov_report", 512, Metric::RougeL),
    Dataset::chat("qmsum", 512, Metric::RougeL),
    Dataset::chat("multi_news", 512, Metric::RougeL),
    Dataset::few_shot("trec", 64, Metric::Classification { classes: Vec::new() }),
    Dataset::few_shot("triviaqa", 32, Metric::QaF1),
    Dataset::few_shot("samsum", 128, Metric::RougeL),
    Dataset::chat("passage_count", 32, Metric::Count),
    Dataset::chat("passage_retrieval_en", 32, Metric::Retrieval),
    Dataset::code("lcc"),
    Dataset::code("repobench-p"),
];

/// A line of a dataset's file.
#[derive(Deserialize)]
struct Record {
    input: String,
    context: String,
    answers: Vec<String>,
    all_classes: Option<Vec<String>>,
    #[serde(rename = "_id")]
    id: Option<TextOrNumber>,
}

impl Dataset {
    const fn chat(name: &'static str, max_new_tokens: usize, metric: Metric) -> Self {
        Self { name, max_new_tokens, metric, chat: true, first_line: false }
    }

    const fn few_shot(name: &'static str, max_new_tokens: usize, metric: Metric) -> Self {
        Self { name, max_new_tokens, metric, chat: false, first_line: true }
    }

    const fn code(name: &'static str) -> Self {
        Self { name, max_new_tokens: 64, metric: Metric::CodeSimilarity, chat: false, first_line: false }
    }

    /// The prompt of a record. LongBench's text up to the document's end is the context, the rest the question.
    fn prompt(&self, record: Record, id: String, facets: Facets) -> Result<Prompt> {
        ensure!(!record.answers.is_empty(), "`answers`: expected at least one, found none");
        let prompt = PROMPTS.get(self.name).and_then(|prompt| prompt.split_once("{context}"));
        let (before, after) = prompt.context("LongBench's prompt has no context")?;
        Ok(Prompt {
            id: record.id.iter().fold(id, |id, own| format!("{id}-{}", own.0)),
            context: format!("{before}{}", record.context),
            question: after.replace("{input}", &record.input),
            answer_prefix: String::new(),
            chat: self.chat,
            max_new_tokens: self.max_new_tokens,
            references: record.answers,
            metric: self.metric(record.all_classes)?,
            facets,
        })
    }

    fn metric(&self, classes: Option<Vec<String>>) -> Result<Metric> {
        let metric = match &self.metric {
            Metric::Classification { .. } => {
                let classes = classes.context("`all_classes`: expected a list of classes, found none")?;
                Metric::Classification { classes }
            }
            metric => metric.clone(),
        };
        Ok(if self.first_line { Metric::FirstLine(Box::new(metric)) } else { metric })
    }
}

/// The prompts of a dataset's file.
pub(super) fn prompts(task: &Task, request: &Request, model: &Model) -> Result<Vec<Prompt>> {
    let name = task.argument().strip_suffix("_e").unwrap_or(task.argument());
    let dataset = DATASETS.iter().find(|dataset| dataset.name == name);
    let dataset = dataset.with_context(|| format!("{task}: no dataset of LongBench"))?;
    let file = Published {
        file: format!("{}.jsonl", task.argument()),
        benchmark: "LongBench",
        address: "https://huggingface.co/datasets/THUDM/LongBench (data.zip)",
    };
    let path = file.find(task, request)?;
    read_prompts(&path, request, model, |record, id, facets| dataset.prompt(record, id, facets))
}
