//! What every policy was measured at, on the same prompts, and what may be said of their means.

use std::collections::{BTreeMap, BTreeSet};

use laprox_reference::Budget;

use crate::statistics::bootstrap::{self, Stratum, TAIL};

/// A policy at a budget.
pub type Setting<'a> = (&'a str, Budget);

/// The values of one unit of comparison by name, in one stratum by name.
type Strata = BTreeMap<String, BTreeMap<String, f64>>;

/// One number a policy, budget and unit: prompts by task, or samples.
#[derive(Clone, Debug, Default)]
pub struct Measurements(Vec<(String, Budget, Strata)>);

/// A mean with its 95 % bootstrap interval, which needs at least two units in each stratum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean over strata of the means over their units.
    pub value: f64,
    /// What it is between.
    pub interval: Option<[f64; 2]>,
    /// The units of all strata.
    pub units: usize,
}

impl Measurements {
    /// Puts a number in. Of two for the same policy, budget, stratum and unit the later counts.
    pub fn put(&mut self, (policy, budget): Setting<'_>, stratum: &str, unit: &str, value: f64) {
        let place = self.0.iter().position(|(other, at, _)| other == policy && *at == budget);
        let place = place.unwrap_or_else(|| {
            self.0.push((policy.to_owned(), budget, Strata::new()));
            self.0.len() - 1
        });
        self.0[place].2.entry(stratum.to_owned()).or_default().insert(unit.to_owned(), value);
    }

    /// Those policies and budgets that have every stratum that any of them has.
    #[must_use]
    pub fn complete(&self) -> Self {
        let all: BTreeSet<&String> = self.0.iter().flat_map(|(.., strata)| strata.keys()).collect();
        Self(self.0.iter().filter(|(.., strata)| strata.len() == all.len()).cloned().collect())
    }

    /// The policies in the order in which they came.
    #[must_use]
    pub fn policies(&self) -> Vec<&str> {
        let mut policies: Vec<&str> = Vec::new();
        for (policy, ..) in &self.0 {
            if !policies.contains(&policy.as_str()) {
                policies.push(policy);
            }
        }
        policies
    }

    /// The budgets from the least on, fractions before tokens.
    #[must_use]
    pub fn budgets(&self) -> Vec<Budget> {
        let mut budgets: Vec<Budget> = Vec::new();
        for (_, budget, _) in &self.0 {
            if !budgets.contains(budget) {
                budgets.push(*budget);
            }
        }
        budgets.sort_by(|one, other| size(one).partial_cmp(&size(other)).expect("sizes are finite"));
        budgets
    }

    /// The mean of one policy at one budget; `None` where nothing was measured.
    #[must_use]
    pub fn mean(&self, setting: Setting<'_>, seed: u64) -> Option<Estimate> {
        let strata = self.strata(&[setting])?;
        Some(estimate(&strata, TAIL, seed, |means| means[0]))
    }

    /// The mean over the units of one stratum.
    #[must_use]
    pub fn mean_of(&self, setting: Setting<'_>, stratum: &str) -> Option<f64> {
        let units = self.find(setting)?.get(stratum)?;
        Some(units.values().sum::<f64>() / units.len() as f64)
    }

    /// The values of several settings side by side, on the strata and units that all of them have; `None` where that is none.
    #[must_use]
    pub fn strata(&self, settings: &[Setting<'_>]) -> Option<Vec<Stratum>> {
        let found = settings.iter().map(|&setting| self.find(setting)).collect::<Option<Vec<_>>>()?;
        let (first, _) = found.split_first()?;
        let of_stratum = |(stratum, units): (&String, &BTreeMap<String, f64>)| {
            let beside: Option<Vec<_>> = found.iter().map(|strata| strata.get(stratum)).collect();
            let beside = beside?;
            let of_unit = |unit| beside.iter().map(|units| units.get(unit).copied()).collect::<Option<_>>();
            let units: Stratum = units.keys().filter_map(of_unit).collect();
            (!units.is_empty()).then_some(units)
        };
        let strata: Vec<Stratum> = first.iter().filter_map(of_stratum).collect();
        (!strata.is_empty()).then_some(strata)
    }

    fn find(&self, (policy, budget): Setting<'_>) -> Option<&Strata> {
        self.0.iter().find(|(other, at, _)| other == policy && *at == budget).map(|(.., strata)| strata)
    }
}

/// A statistic of columns' means, and its interval.
pub(super) fn estimate(
    strata: &[Stratum],
    tail: f64,
    seed: u64,
    statistic: impl Fn(&[f64]) -> f64,
) -> Estimate {
    Estimate {
        value: statistic(&bootstrap::means(strata)),
        interval: bootstrap::paired_interval(strata, tail, seed, &statistic),
        units: strata.iter().map(Vec::len).sum(),
    }
}

fn size(budget: &Budget) -> (bool, f64) {
    match *budget {
        Budget::Tokens(tokens) => (true, tokens as f64),
        Budget::Fraction { parts, whole } => (false, parts as f64 / whole as f64),
    }
}
