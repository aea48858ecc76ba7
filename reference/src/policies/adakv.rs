//! Ada-KV: SnapKV's scores, the heads of a layer sharing its budget by them.

use crate::allocations::Allocation;
use crate::options::PolicyOptions;
use crate::policies::snapkv;
use crate::policy::{PolicyEntry, Rule};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "adakv",
    formula: "as snapkv",
    source: "arXiv 2407.11550",
    caveat: "",
    rule: Rule::Score(&snapkv::SCORE),
    options: snapkv::OPTIONS,
    defaults: PolicyOptions { allocation: Allocation::ADA, ..snapkv::DEFAULTS },
};
