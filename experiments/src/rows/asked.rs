//! When a question is asked.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result};

/// When a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// Before evicting: it ends the context, and the window sees it.
    Aware,
    /// After evicting: it meets what was retained without it.
    Agnostic,
}

impl Asked {
    /// The name in rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aware => "aware",
            Self::Agnostic => "agnostic",
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Asked {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let asked = [Self::Aware, Self::Agnostic].into_iter().find(|asked| asked.name() == text);
        asked.with_context(|| format!("question '{text}': expected aware or agnostic"))
    }
}
