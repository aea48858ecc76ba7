//! A comparison, resolved: which policies, at which budgets, on which samples.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use laprox_fixtures::Dump;
use laprox_reference::{Budget, CandidatesPerHead, Policy, Rule};

use super::config::{Config, Value};
use crate::sample::Sample;

/// Policies by budgets by samples.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Every policy, once, in the order in which rows list them.
    pub policies: Vec<Policy>,
    /// The budgets as asked for.
    pub budgets: Vec<Budget>,
    /// The names of the samples; all where there is none.
    pub samples: Vec<String>,
    /// What others are tested against.
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
    /// When a name or value does not exist, or nothing is left to compare.
    pub fn resolve(config: &Config) -> Result<Self> {
        let parse =
            |names: &[String]| names.iter().map(|name| name.parse()).collect::<Result<Vec<Policy>, _>>();
        let (bases, also) = (parse(&config.policies)?, parse(&config.also)?);
        require_known(&bases, &config.axes)?;
        let crossed = bases.iter().map(|&policy| crossed(policy, &config.axes));
        let crossed: Vec<Policy> = crossed.collect::<Result<Vec<_>>>()?.concat();
        require_used(&crossed, &config.axes)?;
        let mut policies: Vec<Policy> = Vec::new();
        for policy in crossed.into_iter().chain(also) {
            require_scores(&policy)?;
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        let budgets: Vec<Budget> =
            config.budgets.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let (Some(&first), false) = (policies.first(), budgets.is_empty()) else {
            bail!("nothing to compare: expected at least one policy and one budget");
        };
        let baseline = config.baseline.as_ref().map_or(Ok(first), |name| name.parse())?;
        if !policies.contains(&baseline) {
            bail!("baseline {baseline}: expected one of the compared policies");
        }
        Ok(Self { policies, budgets, samples: config.samples.clone(), baseline, per_layer: config.per_layer })
    }

    /// The comparison spelt out, without axes.
    #[must_use]
    pub fn to_config(&self) -> Config {
        Config {
            policies: self.policies.iter().map(Policy::to_string).collect(),
            also: Vec::new(),
            axes: BTreeMap::new(),
            budgets: self.budgets.iter().map(Budget::to_string).collect(),
            samples: self.samples.clone(),
            baseline: Some(self.baseline.to_string()),
            per_layer: self.per_layer,
        }
    }

    /// Refuses what no sample can be compared by: unknown samples, more queries than a window has, no budget that fits.
    ///
    /// # Errors
    /// As said.
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
        }
        for &budget in &self.budgets {
            let mut samples =
                dumps.iter().flat_map(|dump| self.samples_of(dump).map(move |index| (dump, index)));
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
    pub fn samples_of(&self, dump: &Dump) -> impl Iterator<Item = usize> {
        let asked = |name: &str| self.samples.is_empty() || self.samples.iter().any(|sample| sample == name);
        let indices: Vec<usize> =
            dump.sample_names().enumerate().filter(|(_, name)| asked(name)).map(|(index, _)| index).collect();
        indices.into_iter()
    }

    /// The budgets that leave a sample something beside its window, with their candidates a KV head.
    #[must_use]
    pub fn budgets_of(&self, sample: &Sample<'_>) -> Vec<(Budget, CandidatesPerHead)> {
        let fitting = |&budget: &Budget| {
            let per_head = budget.candidates_per_head(sample.context_len(), sample.window_len());
            Some((budget, per_head.ok()?))
        };
        self.budgets.iter().filter_map(fitting).collect()
    }
}

/// A policy under every combination of the axes that it has, but for those that it refuses.
///
/// Where it has none of an axis' values it stays as it is.
fn crossed(policy: Policy, axes: &BTreeMap<String, Vec<Value>>) -> Result<Vec<Policy>> {
    let mut combinations = vec![policy];
    for option in policy.entry().options.keys() {
        let Some(values) = axes.get(option.name()) else { continue };
        let with = |policy: Policy| -> Vec<Policy> {
            let with = |value: &Value| policy.with(option.name(), &value.to_string()).ok();
            let taken: Vec<Policy> = values.iter().filter_map(with).collect();
            if taken.is_empty() { vec![policy] } else { taken }
        };
        combinations = combinations.into_iter().flat_map(with).collect();
    }
    // Options that mean nothing together cannot be written in the policy syntax.
    combinations.retain(|policy| policy.to_string().parse().is_ok_and(|written: Policy| written == *policy));
    if combinations.is_empty() {
        bail!("policy '{policy}': the axes' values exclude each other");
    }
    Ok(combinations)
}

/// Refuses an axis that no policy has, and a value that none takes.
fn require_known(policies: &[Policy], axes: &BTreeMap<String, Vec<Value>>) -> Result<()> {
    for (key, values) in axes {
        for value in values.iter().map(Value::to_string) {
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
        for value in values.iter().map(Value::to_string) {
            let takes = |policy: &Policy| policy.with(key, &value).is_ok_and(|with| with == *policy);
            if !policies.iter().any(takes) {
                bail!("axis {key}: {value} means nothing together with the other axes");
            }
        }
    }
    Ok(())
}

/// Refuses a policy that cannot be scored on any dump.
fn require_scores(policy: &Policy) -> Result<()> {
    match policy.rule() {
        Rule::Unavailable(missing) => bail!("policy '{policy}': {missing}"),
        _ => Ok(()),
    }
}
