//! A task by its name: `NAME` or `NAME:ARGUMENT`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

use super::TASKS;
use super::prompt::Prompt;
use super::request::Request;
use crate::model::Model;

/// Makes or reads the prompts of a task.
pub(super) type PromptsFn = fn(&Task, &Request, &Model) -> Result<Vec<Prompt>>;

/// One row of the table of tasks.
#[derive(Debug)]
pub struct TaskEntry {
    /// The name.
    pub name: &'static str,
    /// The argument after the name and a colon.
    pub argument: Argument,
    /// The options of `laprox eval` that it reads and some other tasks do not.
    pub options: &'static [&'static str],
    /// The subject of its questions.
    pub summary: &'static str,
    /// Its publication.
    pub source: &'static str,
    pub(super) prompts: PromptsFn,
}

/// The argument of a task.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// No argument.
    None,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A file.
    File,
}

/// A task with its argument.
#[derive(Clone, Debug)]
pub struct Task {
    entry: &'static TaskEntry,
    argument: String,
}

impl Task {
    /// The task's row in the table.
    #[must_use]
    pub fn entry(&self) -> &'static TaskEntry {
        self.entry
    }

    /// The argument; empty if there is none.
    #[must_use]
    pub fn argument(&self) -> &str {
        &self.argument
    }

    /// The prompts of a request. Equal requests have equal prompts in the same order.
    ///
    /// # Errors
    /// When no prompt is as short as requested, or a file is missing or malformed.
    pub fn prompts(&self, request: &Request, model: &Model) -> Result<Vec<Prompt>> {
        (self.entry.prompts)(self, request, model)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry.name)?;
        if self.argument.is_empty() { Ok(()) } else { write!(f, ":{}", self.argument) }
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, argument) = text.split_once(':').unwrap_or((text, ""));
        let entry = TASKS.iter().find(|entry| entry.name == name).with_context(|| {
            let names: Vec<_> = TASKS.iter().map(|entry| entry.name).collect();
            format!("task '{text}': expected one of {}", names.join(", "))
        })?;
        match entry.argument {
            Argument::None => ensure!(argument.is_empty(), "task '{text}': expected nothing after '{name}'"),
            Argument::OneOf(names) if !names.contains(&argument) => {
                bail!("task '{text}': expected {name}: and one of {}", names.join(", "))
            }
            Argument::File => ensure!(!argument.is_empty(), "task '{text}': expected {name}:FILE"),
            Argument::OneOf(_) => {}
        }
        Ok(Self { entry, argument: argument.to_owned() })
    }
}
