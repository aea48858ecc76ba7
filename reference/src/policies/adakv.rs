//! Ada-KV: SnapKV's scores, the heads of a layer sharing its budget by them.

use crate::policies::snapkv;
use crate::{Allocation, PolicyEntry, PolicyOptions};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "adakv",
    formula: "as snapkv",
    source: "arXiv 2407.11550",
    defaults: PolicyOptions { allocation: Allocation::ADA, ..snapkv::ENTRY.defaults },
    ..snapkv::ENTRY
};
