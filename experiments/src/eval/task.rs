//! What can be evaluated: questions, a text's own continuation, and time.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result};

use crate::tasks::Task;

/// A task of `laprox eval`.
#[derive(Clone, Debug)]
pub enum EvalTask {
    /// Questions with answers.
    Question(Task),
    /// How a text's own continuation is predicted.
    Fidelity,
    /// How long scoring and decoding take.
    Speed,
}

/// The tasks that read texts, and what they measure.
pub const TEXT_TASKS: [(&str, &str); 2] = [
    ("fidelity", "how the evicted cache predicts a text's own next tokens, against the full one"),
    ("speed", "seconds to score, decoded tokens per second, bytes of the cache; not the same in two runs"),
];

impl EvalTask {
    /// The options of `laprox eval` that only some tasks read.
    pub const OPTIONS: [&str; 9] =
        ["depth", "samples", "question", "haystack", "data", "text", "future", "scores", "retained"];

    /// Whether the task reads one of these options.
    #[must_use]
    pub fn reads(&self, option: &str) -> bool {
        match self {
            Self::Question(task) => {
                ["samples", "question"].contains(&option) || task.entry().options.contains(&option)
            }
            Self::Fidelity => ["text", "future", "scores", "retained"].contains(&option),
            Self::Speed => ["text", "future"].contains(&option),
        }
    }
}

impl fmt::Display for EvalTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Question(task) => task.fmt(f),
            Self::Fidelity => f.write_str(TEXT_TASKS[0].0),
            Self::Speed => f.write_str(TEXT_TASKS[1].0),
        }
    }
}

impl FromStr for EvalTask {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "fidelity" => Ok(Self::Fidelity),
            "speed" => Ok(Self::Speed),
            _ => Ok(Self::Question(text.parse()?)),
        }
    }
}
