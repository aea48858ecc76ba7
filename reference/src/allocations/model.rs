//! `allocation=model` and `model-raw`: all layers flattened, the top `L * Hkv * (b - w)` candidates.

use super::{AllocationEntry, Division};
use crate::scores::Reach;

pub(super) static ENTRY: AllocationEntry = AllocationEntry {
    name: "model",
    formula: "the top L * Hkv * (b - w) of all layers, each layer's scores over its normaliser",
    source: "arXiv 2605.07234",
    parameters: &[],
    wants: &[],
    within_layers: false,
    division: Division::Cut { over: Reach::Model, normalised: true },
};

pub(super) static RAW: AllocationEntry = AllocationEntry {
    name: "model-raw",
    formula: "the same, scores as they are",
    source: "",
    parameters: &[],
    wants: &[],
    within_layers: false,
    division: Division::Cut { over: Reach::Model, normalised: false },
};
