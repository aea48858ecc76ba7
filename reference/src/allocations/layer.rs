//! `allocation=layer`: a layer's KV heads flattened, its top `Hkv * (b - w)` candidates.

use super::{AllocationEntry, Division};
use crate::scores::Reach;

pub(super) static ENTRY: AllocationEntry = AllocationEntry {
    name: "layer",
    formula: "the top Hkv * (b - w) of a layer's flattened KV heads",
    source: "",
    parameters: &[],
    wants: &[],
    within_layers: true,
    division: Division::Cut { over: Reach::Layer, normalised: false },
};
