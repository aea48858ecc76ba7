//! The full cache, against which every error is measured.

use crate::options::{OptionList, PolicyOptions};
use crate::policy::{PolicyEntry, Rule};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "full",
    formula: "keeps everything, whatever the budget",
    source: "",
    caveat: "",
    rule: Rule::Everything,
    options: OptionList::Only(&[]),
    defaults: PolicyOptions::PLAIN,
};
