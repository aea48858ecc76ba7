//! The full cache: the error of everything else is measured against it.

use crate::policy::{PolicyEntry, PolicyOptions, Rule};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "full",
    formula: "keeps everything, whatever the budget",
    source: "",
    caveat: "",
    rule: Rule::Everything,
    options: &[],
    defaults: PolicyOptions::PLAIN,
};
