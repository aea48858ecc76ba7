//! What a table asks, of which results, and when a claim is said to hold.

use laprox_reference::Budget;
use serde::{Deserialize, Deserializer, Serialize};

/// One table, as its TOML file says it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its title.
    pub title: String,
    /// The question, a plain sentence.
    pub question: String,
    /// The results that it is made of: files in the folders of runs.
    pub sources: Vec<String>,
    /// Further results that are read where they are there.
    #[serde(default)]
    pub optional: Vec<String>,
    /// What is claimed.
    #[serde(default)]
    pub claims: Vec<Claim>,
}

/// A claim, and the test that it has to pass.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What is claimed.
    pub claim: String,
    /// By whom.
    pub of: Author,
    /// Which of the table's measures is looked at; all of them where none is named.
    #[serde(default)]
    pub measure: Option<String>,
    /// When it is said to hold.
    pub test: Test,
}

/// Whose claim it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Author {
    /// The paper's abstract.
    Paper,
    /// This project's own question.
    Project,
}

/// When a claim holds.
///
/// A loss is what a policy does worse than the full cache, or its error; less is better.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Test {
    /// A policy's mean loss is at most so much.
    Loss {
        /// Whose.
        policy: String,
        /// Where.
        #[serde(deserialize_with = "budget", serialize_with = "spelt")]
        budget: Budget,
        /// So much.
        at_most: f64,
    },
    /// A policy's mean loss is at most this share of the least mean loss of others.
    ShareOfLoss {
        /// Whose.
        policy: String,
        /// Where.
        #[serde(deserialize_with = "budget", serialize_with = "spelt")]
        budget: Budget,
        /// The others.
        against: Vec<String>,
        /// The share.
        at_most: f64,
    },
    /// A policy's mean loss is below that of each of the others at every budget.
    Wins {
        /// Whose.
        policy: String,
        /// The others.
        against: Vec<String>,
    },
    /// Every correlation is at least so much.
    Correlation {
        /// So much.
        at_least: f64,
    },
    /// Every checked statement holds.
    EveryRow,
}

impl Test {
    /// The number that decides.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        match *self {
            Self::Loss { at_most, .. } => at_most,
            Self::Correlation { at_least } => at_least,
            Self::ShareOfLoss { .. } | Self::Wins { .. } => 0.0,
            Self::EveryRow => 1.0,
        }
    }
}

/// A budget in its own syntax.
pub(super) fn budget<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Budget, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn spelt<S: serde::Serializer>(budget: &Budget, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(budget)
}
