//! Numbers by policy and budget, on the same prompts, and the means of these.

use std::collections::{BTreeMap, BTreeSet};

use laprox_reference::Budget;

use crate::pivot::Pivot;
use crate::rows::PolicyName;
use crate::statistics::Estimate;
use crate::statistics::bootstrap::{Stratum, TAIL};

/// A policy at a budget.
pub type Setting<'a> = (&'a PolicyName, Budget);

/// The values of one unit of comparison by name, in one stratum by name.
type Strata = BTreeMap<String, BTreeMap<String, f64>>;

/// One number per policy, budget and unit: prompts by task, or samples.
#[derive(Clone, Debug, Default)]
pub struct Measurements(Pivot<PolicyName, Budget, Strata>);

impl Measurements {
    /// Puts a number in. Of two for the same policy, budget, stratum and unit the later counts.
    pub fn put(&mut self, (policy, budget): Setting<'_>, stratum: &str, unit: &str, value: f64) {
        let strata = self.0.entry(policy.clone(), budget).get_or_insert_default();
        strata.entry(stratum.to_owned()).or_default().insert(unit.to_owned(), value);
    }

    /// Those policies and budgets that have every stratum that any of them has.
    #[must_use]
    pub fn complete(&self) -> Self {
        let all: BTreeSet<&String> = self.0.values().flat_map(|(.., strata)| strata.keys()).collect();
        let mut complete = Pivot::default();
        for (policy, &budget, strata) in self.0.values().filter(|(.., strata)| strata.len() == all.len()) {
            *complete.entry(policy.clone(), budget) = Some(strata.clone());
        }
        Self(complete)
    }

    /// The policies in the order in which they came.
    #[must_use]
    pub fn policies(&self) -> Vec<&PolicyName> {
        self.0.lines()
    }

    /// The budgets from the least on, fractions before tokens.
    #[must_use]
    pub fn budgets(&self) -> Vec<Budget> {
        let mut budgets: Vec<Budget> = self.0.columns().into_iter().copied().collect();
        budgets.sort_by(|one, other| size(one).partial_cmp(&size(other)).expect("sizes are finite"));
        budgets
    }

    /// The mean of one policy at one budget; `None` if nothing was measured.
    #[must_use]
    pub fn mean(&self, setting: Setting<'_>, seed: u64) -> Option<Estimate> {
        let strata = self.strata(&[setting])?;
        Some(Estimate::of(&strata, TAIL, seed, |means| means[0]))
    }

    /// All means, one line per policy and one column per budget.
    #[must_use]
    pub fn means(&self, seed: u64) -> Pivot<PolicyName, Budget, Estimate> {
        let mut means = Pivot::with_columns(self.budgets());
        for policy in self.policies() {
            for budget in self.budgets() {
                *means.entry(policy.clone(), budget) = self.mean((policy, budget), seed);
            }
        }
        means
    }

    /// The mean over the units of one stratum.
    #[must_use]
    pub fn mean_of(&self, (policy, budget): Setting<'_>, stratum: &str) -> Option<f64> {
        let units = self.0.get(policy, &budget)?.get(stratum)?;
        Some(units.values().sum::<f64>() / units.len() as f64)
    }

    /// The values of several settings side by side, on the strata and units that all of them have; `None` if there are none.
    #[must_use]
    pub fn strata(&self, settings: &[Setting<'_>]) -> Option<Vec<Stratum>> {
        let find = |(policy, budget): &Setting<'_>| self.0.get(policy, budget);
        let found = settings.iter().map(find).collect::<Option<Vec<_>>>()?;
        let of_stratum = |(stratum, units): (&String, &BTreeMap<String, f64>)| {
            let beside = found.iter().map(|strata| strata.get(stratum)).collect::<Option<Vec<_>>>()?;
            let of_unit = |unit| beside.iter().map(|units| units.get(unit).copied()).collect::<Option<_>>();
            let units: Stratum = units.keys().filter_map(of_unit).collect();
            (!units.is_empty()).then_some(units)
        };
        let strata: Vec<Stratum> = found.first()?.iter().filter_map(of_stratum).collect();
        (!strata.is_empty()).then_some(strata)
    }
}

fn size(budget: &Budget) -> (bool, f64) {
    match *budget {
        Budget::Tokens(tokens) => (true, tokens as f64),
        Budget::Fraction { parts, whole } => (false, parts as f64 / whole as f64),
    }
}
