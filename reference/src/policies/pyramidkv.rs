//! PyramidKV: SnapKV's scores under layer budgets that fall in a line.

use crate::allocations::Allocation;
use crate::options::PolicyOptions;
use crate::policies::snapkv;
use crate::policy::PolicyEntry;

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "pyramidkv",
    formula: "as snapkv",
    source: "arXiv 2406.02069",
    defaults: PolicyOptions { allocation: Allocation::PYRAMID, ..snapkv::ENTRY.defaults },
    ..snapkv::ENTRY
};
