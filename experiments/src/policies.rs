//! Questions to a policy that several commands ask.

use laprox_reference::{Allocation, OptionKey, Policy};

use crate::group::distinct;

/// Whether an allocation reads an option.
#[must_use]
pub fn is_read(option: &OptionKey, allocation: Allocation) -> bool {
    option.allocations().is_none_or(|under| under.contains(&allocation))
}

/// How a dump limits these policies, one sentence for each limit.
#[must_use]
pub fn caveats<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Vec<&'static str> {
    let caveats = policies.into_iter().map(|policy| policy.entry().caveat);
    distinct(caveats.filter(|caveat| !caveat.is_empty()))
}
