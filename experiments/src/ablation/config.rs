//! A comparison, as a TOML file says it.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use laprox_reference::{Budget, Policy};
use serde::Deserialize;
use toml::Value;

use crate::rows::spelling::{list, or_empty};

/// The comparison that runs by default.
pub const DEFAULT: &str = include_str!("../../ablations/default.toml");

/// A comparison as it is configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Policies to cross with the axes.
    #[serde(deserialize_with = "list::deserialize")]
    pub policies: Vec<Policy>,
    /// Policies to compare as they are.
    #[serde(default, deserialize_with = "list::deserialize")]
    pub also: Vec<Policy>,
    /// Values of options by the option's name: every policy takes each value of the options that it has.
    #[serde(default)]
    pub axes: BTreeMap<String, Vec<Value>>,
    /// Entries kept per KV head, window included: tokens or a fraction of the context.
    #[serde(deserialize_with = "list::deserialize")]
    pub budgets: Vec<Budget>,
    /// The samples to compare on, by name; all samples of the dumps by default.
    #[serde(default)]
    pub samples: Vec<String>,
    /// The policy that others are tested against over several samples; the first one by default.
    #[serde(default, deserialize_with = "or_empty::deserialize")]
    pub baseline: Option<Policy>,
    /// Whether every layer has its rows, or only all layers together.
    #[serde(default = "yes")]
    pub per_layer: bool,
}

impl Config {
    /// Reads a comparison.
    ///
    /// # Errors
    /// When the text is no TOML or says something else; the error names the line.
    pub fn read(text: &str) -> Result<Self> {
        let document =
            toml::Deserializer::parse(text).map_err(|error| anyhow!("{}", placed(&error, text)))?;
        serde_path_to_error::deserialize(document).map_err(|error| match error.path().to_string() {
            path if path == "." => anyhow!("{}", placed(error.inner(), text)),
            path => anyhow!("`{path}`: {}", placed(error.inner(), text)),
        })
    }
}

/// The reason, after the number of its line.
fn placed(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.split('\n').count(), error.message())
}

fn yes() -> bool {
    true
}

/// A value of an option, written with or without quotation marks.
#[must_use]
pub fn spelt(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
