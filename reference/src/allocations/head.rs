//! `allocation=head`: the top `b - w` candidates of every KV head.

use super::{AllocationEntry, Division};
use crate::scores::Reach;

pub(super) static ENTRY: AllocationEntry = AllocationEntry {
    name: "head",
    formula: "every KV head keeps b - w",
    source: "",
    parameters: &[],
    wants: &[],
    within_layers: true,
    division: Division::Cut { over: Reach::Head, normalised: false },
};
