//! What is compared, as a TOML file says it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The comparison that runs where nothing else is asked for.
pub const DEFAULT: &str = include_str!("../../ablations/default.toml");

/// A comparison. In a resolved one, `policies` lists everything and `axes` nothing.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Policies to cross with the axes.
    pub policies: Vec<String>,
    /// Policies to compare as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Values of options by the option's name: every policy takes each of those that it has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub axes: BTreeMap<String, Vec<Value>>,
    /// Entries kept per KV head, window included: tokens or a fraction of the context.
    pub budgets: Vec<String>,
    /// The samples to compare on, by name; all of the dumps where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
    /// The policy that others are tested against over several samples; the first one where none is given.
    #[serde(default)]
    pub baseline: Option<String>,
    /// Whether every layer has its rows, or all layers together alone.
    #[serde(default = "yes")]
    pub per_layer: bool,
}

fn yes() -> bool {
    true
}

/// A value of an option, with or without quotation marks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// `8`
    Whole(u64),
    /// `0.5`
    Number(f64),
    /// `"avg:7"`
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
