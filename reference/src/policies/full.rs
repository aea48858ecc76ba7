//! The full cache: the error of everything else is measured against it.

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
