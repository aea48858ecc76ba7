//! A task by its name: `NAME` or `NAME:ARGUMENT`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

use super::TASKS;
use super::prompt::Prompt;
use super::request::Request;
use super::tokens::Tokens;

/// How a task makes or reads its prompts.
pub(super) type PromptsFn = fn(&Task, &Request, &dyn Tokens) -> Result<Vec<Prompt>>;

/// One row of the table of tasks.
#[derive(Debug)]
pub struct TaskEntry {
    /// The name.
    pub name: &'static str,
    /// What follows the name, after a colon.
    pub argument: Argument,
    /// What is asked.
    pub summary: &'static str,
    /// Where it was published.
    pub source: &'static str,
    pub(super) prompts: PromptsFn,
}

/// What follows a task's name.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// Nothing.
    None,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A file.
    File,
}

/// A task, and what its name's argument says.
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

    /// What follows the colon; empty where nothing does.
    #[must_use]
    pub fn argument(&self) -> &str {
        &self.argument
    }

    /// The prompts of a request, in the same order and with the same words whenever it is repeated.
    ///
    /// # Errors
    /// When a prompt cannot be as short as asked for, or a file is missing or malformed.
    pub fn prompts(&self, request: &Request, tokens: &dyn Tokens) -> Result<Vec<Prompt>> {
        (self.entry.prompts)(self, request, tokens)
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
