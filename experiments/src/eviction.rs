//! The evictions of one sample or prompt: what every command measures.

use laprox_reference::{
    Backend, Budget, CandidatesPerHead, EntriesPerHead, Layers, Policy, RetainedSet, Rule, Searching,
    pipeline,
};

/// A retained set of a sample, with the policy and the budget that its rows name.
#[derive(Clone, Debug)]
pub struct Eviction {
    /// The policy.
    pub policy: Policy,
    /// The budget as asked for; of a given set, the entries that it holds.
    pub budget: Budget,
    /// The candidates that each KV head keeps on average; of a given set, rounded.
    pub per_head: CandidatesPerHead,
    /// The set.
    pub retained: RetainedSet,
}

/// The evictions of a sample, policy by policy: each at every budget, a given set once. `seed` is the sample's.
///
/// # Errors
/// When a layer, a score or an oracle's problem is refused.
///
/// # Panics
/// When there is no layer.
pub fn evictions<L: Layers>(
    backend: &dyn Backend,
    layers: &L,
    policies: &[Policy],
    budgets: &[(Budget, CandidatesPerHead)],
    seed: u64,
    searching: &Searching<'_>,
) -> Result<Vec<Eviction>, L::Error> {
    let window_len = layers.shapes()[0].window_len;
    let budgeted = policies.iter().filter(|policy| !is_set(policy));
    let seeded: Vec<Policy> = budgeted.map(|policy| policy.reseeded(seed)).collect();
    let per_heads: Vec<_> = budgets.iter().map(|(_, per_head)| *per_head).collect();
    let sets = pipeline::evict(backend, layers, &seeded, &per_heads, searching)?;
    let mut sets = sets.into_iter().flatten();
    let mut evictions = Vec::new();
    for &policy in policies {
        if is_set(&policy) {
            evictions.push(Eviction::held(window_len, policy, layers.given_set(&policy)?, budgets));
            continue;
        }
        for &(budget, per_head) in budgets {
            let retained = sets.next().expect("every policy retains a set at every budget");
            evictions.push(Eviction { policy, budget, per_head, retained });
        }
    }
    Ok(evictions)
}

/// Whether a policy keeps a given set, whatever the budget.
#[must_use]
pub fn is_set(policy: &Policy) -> bool {
    matches!(policy.rule(), Rule::GivenSet)
}

/// Whether a set holds exactly so many entries per KV head on average: over the model, or in every layer.
#[must_use]
pub fn holds(retained: &RetainedSet, EntriesPerHead(per_head): EntriesPerHead, by_layer: bool) -> bool {
    let offsets = retained.offsets();
    let layers = if by_layer { retained.layer_count() } else { 1 };
    let heads = (offsets.len() - 1) / layers;
    let per_part = heads * per_head;
    (0..layers).all(|part| offsets[(part + 1) * heads] - offsets[part * heads] == per_part)
}

impl Eviction {
    /// A given set, at the budget of these that it holds, else at its own.
    fn held(
        window_len: usize,
        policy: Policy,
        retained: RetainedSet,
        budgets: &[(Budget, CandidatesPerHead)],
    ) -> Self {
        let asked =
            budgets.iter().find(|(_, per_head)| holds(&retained, per_head.with_window(window_len), false));
        let (budget, per_head) = asked.copied().unwrap_or_else(|| {
            let (entries, heads) = (retained.positions().len(), retained.offsets().len() - 1);
            let rounded = (2 * entries + heads) / (2 * heads);
            (Budget::Tokens(rounded), CandidatesPerHead(rounded - window_len))
        });
        Self { policy, budget, per_head, retained }
    }
}
