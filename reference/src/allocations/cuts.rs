//! `allocation=head`, `layer`, `model` and `model-raw`: the top candidates of a KV head, a layer or all layers, flattened.

use super::{AllocationEntry, Division};
use crate::scores::Reach;

pub(super) static HEAD: AllocationEntry = cut("head", "every KV head keeps b - w", Reach::Head);

pub(super) static LAYER: AllocationEntry =
    cut("layer", "the top Hkv * (b - w) of a layer's flattened KV heads", Reach::Layer);

pub(super) static MODEL: AllocationEntry = AllocationEntry {
    source: "arXiv 2605.07234",
    division: Division::Cut { over: Reach::Model, normalised: true },
    ..cut(
        "model",
        "the top L * Hkv * (b - w) of all layers, each layer's scores over its normaliser",
        Reach::Model,
    )
};

pub(super) static MODEL_RAW: AllocationEntry = cut("model-raw", "the same, scores as they are", Reach::Model);

/// A rule that cuts scores as they are.
const fn cut(name: &'static str, formula: &'static str, over: Reach) -> AllocationEntry {
    AllocationEntry {
        name,
        formula,
        source: "",
        parameters: &[],
        wants: &[],
        within_layers: !matches!(over, Reach::Model),
        division: Division::Cut { over, normalised: false },
    }
}
