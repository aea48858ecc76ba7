//! The full cache, against which every error is measured.

use crate::{OptionList, PolicyEntry, PolicyOptions, Rule};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "full",
    formula: "keeps everything, whatever the budget",
    source: "",
    caveat: "",
    rule: Rule::Everything,
    options: OptionList::Only(&[]),
    defaults: PolicyOptions::PLAIN,
};
