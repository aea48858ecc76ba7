//! Chance, as the floor of every comparison.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::layer::Layer;
use crate::{
    Family, OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry, ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry { family: Family::Unseen, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "random",
    formula: "s_i uniform in [0, 1), seeded, one stream per KV head of each layer",
    source: "",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score]), OptionKey::Seed]),
    defaults: PolicyOptions::PLAIN,
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let draw = |head: usize| {
        let mut generator = ChaCha8Rng::seed_from_u64(options.seed);
        generator.set_stream((layer.index.0 * layer.shape.kv_heads + head) as u64);
        (0..layer.shape.candidate_len()).map(|_| generator.random()).collect()
    };
    (0..layer.shape.kv_heads).map(draw).collect()
}
