//! Chance, as the floor of every comparison.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::allocate::Allocation;
use crate::policy::{OptionKey, PolicyEntry, PolicyOptions, Rule};
use crate::shape::{LayerIndex, LayerShape};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "random",
    formula: "s_i uniform in [0, 1), seeded, one stream a KV head of a layer",
    source: "",
    rule: Rule::Place(score),
    options: &[
        OptionKey::Allocation(&Allocation::ALL),
        OptionKey::Norm,
        OptionKey::Pool,
        OptionKey::Sinks,
        OptionKey::Seed,
    ],
    defaults: PolicyOptions::PLAIN,
};

fn score(layer: LayerIndex, shape: LayerShape, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let draw = |head: usize| {
        let mut generator = ChaCha8Rng::seed_from_u64(options.seed);
        generator.set_stream((layer.0 * shape.kv_heads + head) as u64);
        (0..shape.candidate_len()).map(|_| generator.random()).collect()
    };
    (0..shape.kv_heads).map(draw).collect()
}
