//! A question about a long text, and how its answer is scored.

use anyhow::{Context, Result};
use serde::Serialize;

use super::depth::Depth;
use crate::metrics::Metric;
use crate::model::{ChatTemplate, Message};

/// A character that no text contains: Unicode keeps it for uses like the one here.
const BOUNDARY: char = '\u{FDD0}';

/// One question about a long text, and how its answer is scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What the prompt is called: unique in a task's list, the same again for the same request.
    pub id: String,
    /// The long text with whatever instruction stands before it. Where the cache is evicted before the question is
    /// seen, it is evicted after this.
    pub context: String,
    /// What follows the context directly.
    pub question: String,
    /// How the answer begins, in the model's mouth; may be empty.
    pub answer_prefix: String,
    /// Whether context and question are one turn of a conversation, rather than plain text to continue.
    pub chat: bool,
    /// How long an answer may get.
    pub max_new_tokens: usize,
    /// The right answers, or the parts of the right answer, as the metric takes them.
    pub references: Vec<String>,
    /// How an answer is held against them.
    pub metric: Metric,
    /// What the prompt was made for.
    pub facets: Facets,
}

/// Where a prompt stands in its task: columns of a tidy row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Facets {
    /// The length that the prompt was made for, in tokens.
    pub context_len: usize,
    /// The depth of what is asked for; none where a task has no depth.
    pub depth: Option<Depth>,
    /// Which of the prompts that are alike in everything else; the line for prompts from a file.
    pub sample: usize,
    /// Whether a text from a file was too long and lost its middle.
    pub truncated: bool,
}

/// A prompt as the text that the model reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// All up to the context's end.
    pub context: String,
    /// All from there, up to where the answer begins.
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
    /// The text that the model reads, with the chat template around it where the prompt asks for one.
    ///
    /// # Errors
    /// When the model has no template, or its template refuses or rewrites the message.
    pub fn render(&self, template: &ChatTemplate) -> Result<Rendered> {
        let mut rendered = if self.chat {
            let message = format!("{}{BOUNDARY}{}", self.context, self.question);
            let text = template.render(&[Message::user(message)])?;
            let (context, question) =
                text.split_once(BOUNDARY).context("chat template: it does not keep what the user says")?;
            Rendered { context: context.to_owned(), question: question.to_owned() }
        } else {
            Rendered { context: self.context.clone(), question: self.question.clone() }
        };
        rendered.question.push_str(&self.answer_prefix);
        Ok(rendered)
    }

    /// How right an answer is, from 0 to 1.
    #[must_use]
    pub fn score(&self, answer: &str) -> f64 {
        self.metric.score(answer, &self.references)
    }

    /// The score by the metric's name, and partial credit where there is some.
    #[must_use]
    pub fn scores(&self, answer: &str) -> Vec<(&'static str, f64)> {
        let partial = self.metric.partial(answer, &self.references);
        [(self.metric.name(), self.score(answer))].into_iter().chain(partial).collect()
    }
}
