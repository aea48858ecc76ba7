//! The rows of a check of the error bounds.

use std::borrow::Cow;

use laprox_reference::Budget;
use serde::{Deserialize, Serialize};

use super::name::PolicyName;
use super::row::Row;
use super::spelling;

/// One statement about one layer under one eviction.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct BoundRow {
    /// The dump's model.
    pub model: String,
    /// The sample.
    pub sample: String,
    /// The policy that evicts.
    pub policy: PolicyName,
    /// The budget as asked for.
    #[serde(with = "spelling")]
    pub budget: Budget,
    /// Entries kept per KV head on average.
    pub entries_per_head: usize,
    /// The layer's number.
    pub layer: usize,
    /// `B1a`, `B1b`, ...
    pub bound: Cow<'static, str>,
    /// The claim, as an equation.
    pub statement: Cow<'static, str>,
    /// Its left side.
    pub left: f64,
    /// Its right side.
    pub right: f64,
    /// `right - left`.
    pub slack: f64,
    /// `right / left`; 1 if the sides are equal.
    pub ratio: f64,
    /// How far rounding may have moved the sides; empty for random statements.
    pub rounding: Option<f64>,
    /// Of the usual test of a random statement; empty for the others.
    pub p_value: Option<f64>,
    /// An upper bound on the same probability for any distribution, which decides.
    pub p_bound: Option<f64>,
    /// How wrong the right side could be, relative to it, without the draws showing it; empty for others.
    #[serde(default)]
    pub resolution: Option<f64>,
    /// Whether the statement holds.
    pub holds: bool,
}

impl Row for BoundRow {
    const KEY: &'static [&'static str] = &["model", "sample", "policy", "budget", "layer", "bound"];
    const FINITE: &'static [&'static str] = &["left", "right"];
}

/// How loose one bound is, over layers and samples.
#[derive(Clone, Copy, Debug)]
pub struct Slack<'a> {
    /// One of the rows.
    pub first: &'a BoundRow,
    /// The least `right / left`, the median and the greatest.
    pub ratios: [f64; 3],
    /// How many rows hold.
    pub holding: usize,
    /// How many rows there are.
    pub rows: usize,
}

impl<'a> Slack<'a> {
    /// The slack of the rows of one bound.
    #[must_use]
    pub fn of(rows: &[&'a BoundRow]) -> Self {
        let mut ratios: Vec<f64> = rows.iter().map(|row| row.ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let last = ratios.len() - 1;
        Self {
            first: rows[0],
            ratios: [0, ratios.len() / 2, last].map(|place| ratios[place]),
            holding: rows.iter().filter(|row| row.holds).count(),
            rows: rows.len(),
        }
    }
}
