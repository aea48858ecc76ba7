//! A unit of work: one prompt or one text, under every policy and budget.

use anyhow::{Context, Result, ensure};

use super::task::EvalTask;
use crate::digest::sha256;
use crate::model::Model;
use crate::rows::Asked;
use crate::tasks::{Prompt, Request, Task};

/// A text in a model's tokens.
#[derive(Clone, Debug)]
pub struct Text {
    /// The file's stem.
    pub name: String,
    /// SHA-256 of the text.
    pub sha256: String,
    /// Its first tokens.
    pub tokens: Vec<u32>,
    /// Whether the first of them is a start token that the text does not hold.
    pub added_start: bool,
}

impl Text {
    /// Tokenises a text as far as its first `len` tokens.
    ///
    /// # Errors
    /// When it has no tokens in the model's vocabulary.
    pub fn new(name: &str, text: &str, len: usize, model: &Model) -> Result<Self> {
        let (tokens, added_start) =
            model.tokenizer().encode_beginning(text, len).with_context(|| name.to_owned())?;
        Ok(Self { name: name.to_owned(), sha256: sha256(text), tokens, added_start })
    }

    /// The first `context_len` tokens, and those that follow them.
    ///
    /// # Errors
    /// When there are fewer than both together.
    pub fn split(&self, context_len: usize, later_len: usize) -> Result<(&[u32], &[u32])> {
        let (needed, found) = (context_len + later_len, self.tokens.len());
        ensure!(found >= needed, "{}: expected at least {needed} tokens, found {found}", self.name);
        Ok((&self.tokens[..context_len], &self.tokens[context_len..needed]))
    }
}

/// What a unit does with its tokens.
#[derive(Clone, Debug)]
pub enum Work<'a> {
    /// Answers a question.
    Answer(Box<Prompt>, Asked),
    /// Predicts a text's own next tokens.
    Predict(&'a Text),
    /// Takes the time on a text.
    Time(&'a Text),
}

/// One prompt or one text.
#[derive(Clone, Debug)]
pub struct Unit<'a> {
    /// The task's name.
    pub task: String,
    /// The length asked for, in tokens.
    pub target: usize,
    /// What is done.
    pub work: Work<'a>,
}

impl Unit<'_> {
    /// What the unit computes from, in one line: the whole prompt, or a text's digest.
    #[must_use]
    pub fn identity(&self) -> String {
        let work = match &self.work {
            Work::Answer(prompt, asked) => format!("{asked:?} {prompt:?}"),
            Work::Predict(text) | Work::Time(text) => format!("{} {}", text.name, text.sha256),
        };
        format!("{} {} {work}", self.task, self.target)
    }
}

/// Which units a task has.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The lengths.
    pub context_lens: &'a [usize],
    /// When questions are asked.
    pub asked: &'a [Asked],
    /// The texts of tasks that read them.
    pub texts: &'a [Text],
    /// Which prompts of tasks that ask; its length is replaced by each of the lengths. Its limit holds for texts, too.
    pub request: &'a Request,
}

/// The units of a task, in the order of their rows.
///
/// # Errors
/// When prompts cannot be made or read.
pub fn units<'a>(task: &EvalTask, wanted: Wanted<'a>, model: &Model) -> Result<Vec<Unit<'a>>> {
    let mut units = Vec::new();
    let texts = wanted.texts.iter().take(wanted.request.limit.unwrap_or(usize::MAX));
    for &target in wanted.context_lens {
        match task {
            EvalTask::Question(question) => units.extend(questions(question, target, wanted, model)?),
            EvalTask::Fidelity => units.extend(texts.clone().map(|text| (target, Work::Predict(text)))),
            EvalTask::Speed => units.extend(texts.clone().map(|text| (target, Work::Time(text)))),
        }
    }
    let unit = |(target, work)| Unit { task: task.to_string(), target, work };
    Ok(units.into_iter().map(unit).collect())
}

fn questions<'a>(
    task: &Task,
    target: usize,
    wanted: Wanted<'_>,
    model: &Model,
) -> Result<Vec<(usize, Work<'a>)>> {
    let request = Request { context_len: target, ..wanted.request.clone() };
    let prompts = task.prompts(&request, model)?;
    let ask = |prompt: Prompt| {
        let prompt = Box::new(prompt);
        wanted.asked.iter().map(move |&asked| (target, Work::Answer(prompt.clone(), asked)))
    };
    Ok(prompts.into_iter().flat_map(ask).collect())
}
