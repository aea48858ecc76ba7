//! PyramidKV: SnapKV's scores under layer budgets that fall in a line.

use crate::policies::snapkv;
use crate::{Allocation, PolicyEntry, PolicyOptions};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "pyramidkv",
    formula: "as snapkv",
    source: "arXiv 2406.02069",
    defaults: PolicyOptions { allocation: Allocation::PYRAMID, ..snapkv::ENTRY.defaults },
    ..snapkv::ENTRY
};
