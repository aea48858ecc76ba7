//! Questions to a policy that several commands ask.

use anyhow::{Result, bail};
use laprox_reference::{Allocation, OptionKey, Policy, Rule};

use crate::group::distinct;

/// Whether an allocation reads an option.
#[must_use]
pub fn is_read(option: &OptionKey, allocation: Allocation) -> bool {
    option.allocations().is_none_or(|under| under.contains(&allocation))
}

/// Refuses a policy that cannot be scored on any dump.
///
/// # Errors
/// The inputs that the policy lacks.
pub fn require_available(policy: &Policy) -> Result<()> {
    match policy.rule() {
        Rule::Unavailable(missing) => bail!("policy '{policy}': {missing}"),
        _ => Ok(()),
    }
}

/// How a dump limits these policies, one sentence for each limit.
#[must_use]
pub fn caveats<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Vec<&'static str> {
    let caveats = policies.into_iter().map(|policy| policy.entry().caveat);
    distinct(caveats.filter(|caveat| !caveat.is_empty()))
}
