//! The outcome of one policy at one budget.

use laprox_reference::{Budget, EntriesPerHead, OutputErrors, PackedRows, Policy, RetainedSet};

/// One policy at one budget.
#[derive(Clone, Debug)]
pub struct Evicted {
    /// The policy.
    pub policy: Policy,
    /// The budget as asked for; of a given set, the entries that it holds.
    pub budget: Budget,
    /// Entries kept per KV head on average, window included; of a given set, rounded.
    pub entries_per_head: EntriesPerHead,
    /// The retained set.
    pub retained: RetainedSet,
    /// The retained rows of every layer, if the path packs them itself.
    pub packed: Option<Vec<PackedRows>>,
    /// The errors over all layers.
    pub errors: OutputErrors,
}
