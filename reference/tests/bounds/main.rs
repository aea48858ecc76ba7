//! The bounds B1 to B10: true ones hold, wrong ones are caught, and the tests behind the random ones are what they say.

#[path = "../common/mod.rs"]
mod common;

mod centred;
mod chance;
mod group;
mod hold;
mod renormalised;
mod wrong;

use laprox_reference::LayerOrdinal;
use laprox_reference::RetainedSet;
use laprox_reference::bounds::{Bound, CHECKS, Case, Draws, LayerPairs};
use laprox_reference::layer::Layer;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Every statement about one eviction.
fn all(layer: &Layer, retained: &RetainedSet, draws: Draws) -> Vec<Bound> {
    let pairs = LayerPairs::new(layer).unwrap();
    let case = Case::new(&pairs, retained.layer(LayerOrdinal(0)), draws).unwrap();
    CHECKS.iter().flat_map(|check| check(&case)).collect()
}

/// A random eviction of any number of candidates, none and all included.
fn some_eviction(layer: &Layer, rng: &mut ChaCha8Rng) -> RetainedSet {
    let candidates = layer.shape.kv_heads * layer.shape.candidate_len();
    let count = rng.random_range(0..=candidates);
    common::hostile::without(layer, &common::hostile::some_candidates(candidates, count, rng))
}
