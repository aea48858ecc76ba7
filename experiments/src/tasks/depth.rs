//! The depth of a hidden sentence in a text.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};
use serde::Serialize;

/// A share of the text, in percent: at 0 the needle comes first, at 100 last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Depth(u8);

impl Depth {
    /// A depth of `percent`.
    ///
    /// # Errors
    /// Above 100.
    pub fn new(percent: u8) -> Result<Self> {
        ensure!(percent <= 100, "depth: expected 0 to 100 percent, found {percent}");
        Ok(Self(percent))
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> u8 {
        self.0
    }

    /// As a fraction of one.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Depth {
    type Err = Error;

    /// Reads `25` or `25%`.
    fn from_str(text: &str) -> Result<Self> {
        let percent = text.strip_suffix('%').unwrap_or(text).parse();
        Self::new(percent.with_context(|| format!("depth: expected 0 to 100 percent, found '{text}'"))?)
    }
}
