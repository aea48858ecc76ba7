//! PyramidKV: SnapKV's scores under layer budgets that fall in a line.

use crate::allocate::Allocation;
use crate::policies::snapkv;
use crate::policy::{PolicyEntry, PolicyOptions, Rule};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "pyramidkv",
    formula: "as snapkv",
    source: "arXiv 2406.02069",
    caveat: "",
    rule: Rule::Score(snapkv::score),
    options: snapkv::OPTIONS,
    defaults: PolicyOptions { allocation: Allocation::Pyramid, ..snapkv::DEFAULTS },
};
