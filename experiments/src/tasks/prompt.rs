//! A question about a long text, with its right answers.

use std::ops::RangeInclusive;

use anyhow::{Context, Result};
use serde::Serialize;

use super::depth::Depth;
use crate::metrics::Metric;
use crate::model::{ChatTemplate, Model};

/// Noncharacters, which hardly any text contains: Unicode reserves them for internal use.
const BOUNDARIES: RangeInclusive<char> = '\u{FDD0}'..='\u{FDEF}';

/// A question about a long text, with its right answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The prompt's name: unique in a task's list, equal for equal requests.
    pub id: String,
    /// The long text with the instruction before it. If the question comes after the eviction, the cache is evicted at
    /// the end of this text.
    pub context: String,
    /// The text directly after the context.
    pub question: String,
    /// The first words of the answer, given to the model; may be empty.
    pub answer_prefix: String,
    /// Whether context and question are a turn of a conversation; otherwise they are plain text to continue.
    pub chat: bool,
    /// The maximal length of an answer.
    pub max_new_tokens: usize,
    /// The right answers, or the parts of the right answer: the metric decides.
    pub references: Vec<String>,
    /// The comparison of an answer with the references.
    pub metric: Metric,
    /// The prompt's place in the task.
    pub facets: Facets,
}

/// A prompt's place in its task: columns of a tidy row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Facets {
    /// The requested length, in tokens.
    pub context_len: usize,
    /// The depth of the sentence with the answer, if the task has depths.
    pub depth: Option<Depth>,
    /// The index among the prompts of one length and depth; the line number of a prompt from a file.
    pub sample: usize,
    /// Whether the text of a file was too long and has lost its middle.
    pub truncated: bool,
}

/// A prompt's text as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text up to the context's end.
    pub context: String,
    /// The text from there to the answer's beginning.
    pub question: String,
}

impl Rendered {
    /// The whole text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.context, self.question)
    }
}

impl Prompt {
    /// The text that the model reads, inside the chat template if the prompt is a turn of a conversation and the model
    /// has a template.
    ///
    /// # Errors
    /// When the template refuses or rewrites the message.
    pub fn render(&self, template: &ChatTemplate) -> Result<Rendered> {
        let mut rendered = if self.chat && template.exists() {
            self.render_turn(template)?
        } else {
            Rendered { context: self.context.clone(), question: self.question.clone() }
        };
        rendered.question.push_str(&self.answer_prefix);
        Ok(rendered)
    }

    /// The turn of a conversation. A template that writes the message several times has its last context evicted, with
    /// all that comes before.
    fn render_turn(&self, template: &ChatTemplate) -> Result<Rendered> {
        let absent =
            |boundary: &char| !self.context.contains(*boundary) && !self.question.contains(*boundary);
        let boundary =
            BOUNDARIES.into_iter().find(absent).context("the prompt contains every noncharacter")?;
        let text = template.render(&format!("{}{boundary}{}", self.context, self.question))?;
        let (context, question) =
            text.rsplit_once(boundary).context("chat template: it does not keep what the user says")?;
        Ok(Rendered { context: context.replace(boundary, ""), question: question.to_owned() })
    }

    /// The number of tokens before the answer. Context and question are tokenised apart, so that no token spans both and
    /// a question has the same tokens before and after an eviction.
    ///
    /// # Errors
    /// As [`Prompt::render`], or when the text has no tokens in the model's vocabulary.
    pub fn count(&self, model: &Model) -> Result<usize> {
        let (rendered, tokenizer) = (self.render(model.chat())?, model.tokenizer());
        let question = tokenizer.encode_further(&rendered.question)?;
        Ok(tokenizer.encode(&rendered.context)?.len() + question.len())
    }

    /// The score of an answer, from 0 to 1.
    #[must_use]
    pub fn score(&self, answer: &str) -> f64 {
        self.metric.score(answer, &self.references)
    }

    /// The score by the metric's name, then the partial credit, if the metric has one.
    #[must_use]
    pub fn scores(&self, answer: &str) -> Vec<(&'static str, f64)> {
        let partial = self.metric.partial(answer, &self.references);
        [(self.metric.name(), self.score(answer))].into_iter().chain(partial).collect()
    }
}
