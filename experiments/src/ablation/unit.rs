//! A unit of work: one sample under a few policies.

use anyhow::Result;
use laprox_fixtures::Dump;
use laprox_reference::{Backend, Policy, Searching, pipeline};

use super::comparison::Comparison;
use crate::eviction::{evictions, is_set};
use crate::given::Given;
use crate::progress::Progress;
use crate::rows::{AblationRow, of_eviction};
use crate::sample::Sample;

/// Policies per unit, at least: more of them share the work of preparing a layer, fewer lose less when a run is stopped.
const POLICIES: usize = 8;

/// One sample under the policies of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The sample's place among all that are compared on.
    pub sample: usize,
    /// The group's place in [`groups`].
    pub group: usize,
}

impl Unit {
    /// The unit's name in the journal.
    #[must_use]
    pub fn name(self) -> String {
        format!("{:03}-{:02}", self.sample, self.group)
    }
}

/// The samples of all dumps that are compared on, in order.
#[must_use]
pub fn samples<'a>(
    dumps: &'a [Dump],
    comparison: &Comparison,
    backend: &'a dyn Backend,
    given: &'a [Given],
) -> Vec<Sample<'a>> {
    let of_dump = |dump: &'a Dump| {
        comparison.samples_of(dump).into_iter().map(move |index| Sample { dump, index, backend, given })
    };
    dumps.iter().flat_map(of_dump).collect()
}

/// The policies in groups of a few, those that score alike in one: indices into the comparison's list. Given sets, which have
/// rows at no budget but their own, are a group by themselves.
#[must_use]
pub fn groups(policies: &[Policy]) -> Vec<Vec<usize>> {
    let mut families: Vec<Vec<usize>> = Vec::new();
    let (sets, ranked): (Vec<_>, Vec<_>) =
        policies.iter().enumerate().partition(|(_, policy)| is_set(policy));
    for (index, policy) in ranked {
        match families.iter_mut().find(|family| policies[family[0]].source() == policy.source()) {
            Some(family) => family.push(index),
            None => families.push(vec![index]),
        }
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for family in families {
        match groups.last_mut().filter(|group| group.len() < POLICIES) {
            Some(group) => group.extend(family),
            None => groups.push(family),
        }
    }
    let sets: Vec<usize> = sets.into_iter().map(|(index, _)| index).collect();
    groups.extend((!sets.is_empty()).then_some(sets));
    groups
}

/// Scores, evicts and evaluates: the rows of each policy of the group, one policy after another.
///
/// # Errors
/// When the dump, a score or an oracle's problem is refused.
pub fn rows(
    comparison: &Comparison,
    sample: &Sample<'_>,
    group: &[usize],
    seed: u64,
    searching: &Searching<'_>,
    progress: &Progress,
) -> Result<Vec<AblationRow>> {
    let policies: Vec<Policy> = group.iter().map(|&index| comparison.policies[index]).collect();
    let layers = sample.layers(progress);
    let (budgets, seed) = (comparison.budgets_of(sample), sample.seed(seed));
    let evictions = evictions(sample.backend, &layers, &policies, &budgets, seed, searching)?;
    let named = evictions.iter().map(|one| (one.policy, (one.budget, one.per_head))).collect::<Vec<_>>();
    let sets: Vec<_> = evictions.into_iter().map(|eviction| eviction.retained).collect();
    let errors = pipeline::evaluate(&layers, &sets)?;
    let rows = named.iter().zip(&errors);
    let rows = rows.flat_map(|((policy, budget), errors)| of_eviction(sample, policy, *budget, errors));
    Ok(rows.filter(|row| comparison.per_layer || row.layer.is_none()).collect())
}
