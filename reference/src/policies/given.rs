//! Scores and sets that were made elsewhere. They come with the layers ([`Layers`](crate::Layers)), under names of their own.

use super::{POLICIES, with_options};
use crate::error::{Error, Result};
use crate::policy::Policy;
use crate::{OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, Rule};

static SCORES: PolicyEntry = PolicyEntry {
    name: "",
    formula: "s_i as given",
    source: "",
    caveat: "",
    rule: Rule::GivenScores,
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score])]),
    defaults: PolicyOptions::PLAIN,
};

static SET: PolicyEntry = PolicyEntry {
    name: "",
    formula: "keeps the given set, whatever the budget",
    source: "",
    caveat: "",
    rule: Rule::GivenSet,
    options: OptionList::Only(&[]),
    defaults: PolicyOptions::PLAIN,
};

/// Characters of a name beside letters and digits. None of them has a meaning in the policy syntax or in a table.
const MARKS: &str = "._+-@";

impl Policy {
    /// Ranks by scores of this name, with `key=value,..` for everything that acts after the score. By default each KV head
    /// keeps its own best, and nothing is pooled.
    ///
    /// # Errors
    /// [`Error::Policy`] when the name is a policy's or holds other characters than letters, digits and `._+-@`, or an
    /// option is refused.
    pub fn of_given_scores(name: &str, options: Option<&str>) -> Result<Self> {
        with_options(named(&SCORES, name)?, name, options)
    }

    /// Keeps a set of this name.
    ///
    /// # Errors
    /// [`Error::Policy`] when the name is a policy's or holds other characters than letters, digits and `._+-@`.
    pub fn of_given_set(name: &str) -> Result<Self> {
        named(&SET, name)
    }
}

/// The policy of an entry under a name. Both live as long as the program, as the table does.
fn named(entry: &PolicyEntry, name: &str) -> Result<Policy> {
    let refuse = |reason: &str| Error::Policy { policy: name.to_owned(), reason: reason.to_owned() };
    if POLICIES.iter().any(|entry| entry.name == name) {
        return Err(refuse("a policy has this name, expected another one: NAME=PATH"));
    }
    if name.is_empty() || !name.chars().all(|one| one.is_alphanumeric() || MARKS.contains(one)) {
        return Err(refuse("expected a name of letters, digits and ._+-@: NAME=PATH"));
    }
    let name = Box::leak(name.to_owned().into_boxed_str());
    Ok(Policy::by_default(Box::leak(Box::new(PolicyEntry { name, ..*entry }))))
}
