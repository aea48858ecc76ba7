//! A comparison, resolved: which policies, at which budgets, on which samples.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use laprox_fixtures::Dump;
use laprox_reference::{Budget, CandidatesPerHead, OptionKey, Policy};
use serde::Serialize;
use toml::Value;

use super::config::{Config, spelt};
use crate::group::{distinct, require_distinct};
use crate::policies::is_read;
use crate::rows::spelling::{self, list};
use crate::sample::{Sample, require_supplements};

/// Policies by budgets by samples. It is written as a configuration without axes.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Every policy, once, in the order in which rows list them.
    #[serde(with = "list")]
    pub policies: Vec<Policy>,
    /// The budgets as asked for.
    #[serde(with = "list")]
    pub budgets: Vec<Budget>,
    /// The names of the samples; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
    /// The policy that others are tested against.
    #[serde(with = "spelling")]
    pub baseline: Policy,
    /// Whether every layer has its rows.
    pub per_layer: bool,
}

impl Comparison {
    /// Crosses policies with axes.
    ///
    /// A combination that a policy refuses, such as a normaliser without `allocation=model`, is left out; a value that
    /// no policy takes is an error.
    ///
    /// # Errors
    /// When a name or value does not exist or is given twice, or nothing is left to compare.
    pub fn resolve(config: &Config) -> Result<Self> {
        require_distinct("policies", &config.policies)?;
        require_distinct("also", &config.also)?;
        require_distinct("budgets", &config.budgets)?;
        require_distinct("samples", &config.samples)?;
        for (key, values) in &config.axes {
            require_distinct(&format!("axis {key}"), &values.iter().map(spelt).collect::<Vec<_>>())?;
        }
        require_known(&config.policies, &config.axes)?;
        let crossed = config.policies.iter().map(|&policy| crossed(policy, &config.axes));
        let crossed: Vec<Policy> = crossed.collect::<Result<Vec<_>>>()?.concat();
        require_used(&crossed, &config.axes)?;
        let policies = distinct(crossed.iter().chain(&config.also).copied());
        let (Some(&first), false) = (policies.first(), config.budgets.is_empty()) else {
            bail!("nothing to compare: expected at least one policy and one budget");
        };
        let baseline = config.baseline.unwrap_or(first);
        if !policies.contains(&baseline) {
            bail!("baseline {baseline}: expected one of the compared policies");
        }
        let Config { budgets, samples, per_layer, .. } = config.clone();
        Ok(Self { policies, budgets, samples, baseline, per_layer })
    }

    /// Refuses unknown samples, more queries than a window has, and a budget that fits no sample.
    ///
    /// # Errors
    /// The first of these.
    pub fn check(&self, dumps: &[Dump]) -> Result<()> {
        let known =
            |name: &&String| !dumps.iter().any(|dump| dump.sample_names().any(|other| other == *name));
        if let Some(name) = self.samples.iter().find(known) {
            let has: Vec<_> = dumps.iter().flat_map(Dump::sample_names).collect();
            bail!("sample {name}: expected one of {}", has.join(", "));
        }
        for dump in dumps {
            let window = dump.manifest().window;
            self.policies.iter().try_for_each(|policy| policy.queries_read(window).map(drop))?;
            let samples = self.samples_of(dump);
            for (policy, sample) in
                self.policies.iter().flat_map(|policy| samples.iter().map(move |s| (policy, *s)))
            {
                require_supplements(dump, sample, policy)?;
            }
        }
        for &budget in &self.budgets {
            let mut samples = dumps
                .iter()
                .flat_map(|dump| self.samples_of(dump).into_iter().map(move |index| (dump, index)));
            let fits = |(dump, index): (&Dump, usize)| {
                let manifest = dump.manifest();
                budget.candidates_per_head(manifest.samples[index].context, manifest.window).map(drop)
            };
            let Some(first) = samples.next() else { bail!("no sample to compare on") };
            // Too small for all of them is the first one's error.
            if let (Err(error), false) = (fits(first), samples.any(|sample| fits(sample).is_ok())) {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// The samples of a dump that are compared on, by index.
    #[must_use]
    pub fn samples_of(&self, dump: &Dump) -> Vec<usize> {
        let asked = |name: &str| self.samples.is_empty() || self.samples.iter().any(|sample| sample == name);
        dump.sample_names().enumerate().filter(|(_, name)| asked(name)).map(|(index, _)| index).collect()
    }

    /// The budgets that leave a sample something beside its window, with their candidates per KV head.
    #[must_use]
    pub fn budgets_of(&self, sample: &Sample<'_>) -> Vec<(Budget, CandidatesPerHead)> {
        let fitting = |&budget: &Budget| {
            let per_head = budget.candidates_per_head(sample.context_len(), sample.window_len());
            Some((budget, per_head.ok()?))
        };
        self.budgets.iter().filter_map(fitting).collect()
    }
}

/// A policy under every combination of the axes that it has, except for those that it refuses.
///
/// A policy that takes none of an axis' values stays as it is.
fn crossed(policy: Policy, axes: &BTreeMap<String, Vec<Value>>) -> Result<Vec<Policy>> {
    let mut combinations = vec![policy];
    for option in policy.entry().options.keys() {
        let Some(values) = axes.get(option.name()) else { continue };
        let with = |policy: Policy| -> Vec<Policy> {
            let with = |value: &Value| policy.with(option.name(), &spelt(value)).ok();
            let taken: Vec<Policy> = values.iter().filter_map(with).collect();
            if taken.is_empty() { vec![policy] } else { taken }
        };
        combinations = combinations.into_iter().flat_map(with).collect();
    }
    combinations.retain(|policy| policy.check().is_ok() && !has_idle_option(policy));
    if combinations.is_empty() {
        bail!("policy '{policy}': the axes' values exclude each other");
    }
    Ok(combinations)
}

/// Whether an option was changed that the policy's allocation does not read.
fn has_idle_option(policy: &Policy) -> bool {
    let changed = |option: &OptionKey| option.get(policy.options()) != option.get(&policy.entry().defaults);
    let mut options = policy.entry().options.keys().into_iter();
    options.any(|option| changed(&option) && !is_read(&option, policy.options().allocation))
}

/// Refuses an axis that no policy has, and a value that none takes.
fn require_known(policies: &[Policy], axes: &BTreeMap<String, Vec<Value>>) -> Result<()> {
    for (key, values) in axes {
        for value in values.iter().map(spelt) {
            let tries = policies.iter().filter(|policy| policy.has_option(key));
            let mut tries = tries.map(|policy| policy.with(key, &value).map(drop)).peekable();
            let first =
                tries.peek().cloned().with_context(|| format!("axis {key}: no policy has this option"))?;
            if tries.all(|tried| tried.is_err()) {
                first.with_context(|| format!("axis {key}"))?;
            }
        }
    }
    Ok(())
}

/// Refuses a value that all combinations leave out.
fn require_used(policies: &[Policy], axes: &BTreeMap<String, Vec<Value>>) -> Result<()> {
    for (key, values) in axes {
        for value in values.iter().map(spelt) {
            let takes = |policy: &Policy| policy.with(key, &value).is_ok_and(|with| with == *policy);
            if !policies.iter().any(takes) {
                bail!("axis {key}: {value} means nothing together with the other axes");
            }
        }
    }
    Ok(())
}
