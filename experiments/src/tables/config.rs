//! A table's question, its results, and the tests of its claims.

use laprox_reference::Budget;
use serde::{Deserialize, Serialize};

use crate::rows::{PolicyName, spelling};

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
    /// Further results, read if they exist.
    #[serde(default)]
    pub optional: Vec<String>,
    /// The claim.
    #[serde(default)]
    pub claims: Vec<Claim>,
}

/// A claim, and the test that it has to pass.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The claim.
    pub claim: String,
    /// Its author.
    pub of: Author,
    /// The measure of the table that the claim is about; all of them by default.
    #[serde(default)]
    pub measure: Option<String>,
    /// The condition under which it holds.
    pub test: Test,
}

/// The author of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Author {
    /// The paper's abstract.
    Paper,
    /// This project's own question.
    Project,
}

/// The condition under which a claim holds.
///
/// A loss is the distance to the full cache's result, or an error; less is better.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Test {
    /// A policy's mean loss is at most a threshold.
    Loss {
        /// The policy.
        policy: PolicyName,
        /// The budget.
        #[serde(with = "spelling")]
        budget: Budget,
        /// The threshold.
        at_most: f64,
    },
    /// A policy's mean loss is at most this share of the least mean loss of others.
    ShareOfLoss {
        /// The policy.
        policy: PolicyName,
        /// The budget.
        #[serde(with = "spelling")]
        budget: Budget,
        /// The others.
        against: Vec<PolicyName>,
        /// The share.
        at_most: f64,
    },
    /// A policy's mean loss is below that of each of the others at every budget.
    Wins {
        /// The policy.
        policy: PolicyName,
        /// The others.
        against: Vec<PolicyName>,
    },
    /// Every correlation is at least a threshold.
    Correlation {
        /// The threshold.
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
