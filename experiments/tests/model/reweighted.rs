//! Decoding from caches with logit biases and replaced values.

use laprox_experiments::model::{KvCache, Model};
use laprox_reference::{LayerOrdinal, PackedRows, RetainedSet, Reweighting};

use super::synthetic::{HEAD_DIM, KV_HEADS, LAYERS, Synthetic, tokens};
use super::tiny::{assert_close, rounding_bound};

const CONTEXT: usize = 24;
/// The entries that stay in every KV head.
const KEPT: [u32; 5] = [0, 3, 7, 22, 23];

/// The full cache of a context.
fn prefilled(model: &Model) -> KvCache {
    let mut cache = model.cache(CONTEXT).unwrap();
    model.prefill(&tokens(CONTEXT), CONTEXT, &mut cache, &mut ()).unwrap();
    cache
}

/// The set of the kept entries, with the same bias and value in every KV head.
fn set(bias: [f32; 5], value: Option<[f32; HEAD_DIM]>) -> RetainedSet {
    let heads = LAYERS * KV_HEADS;
    let plain = RetainedSet::from_candidates(KV_HEADS, CONTEXT, 2, &vec![KEPT[..3].to_vec(); heads]).unwrap();
    let values = value.map(|value| vec![value; heads * KEPT.len()].concat());
    plain.reweighted(Reweighting::new(bias.repeat(heads), values).unwrap()).unwrap()
}

/// The logits after a few more tokens, one at a time and then together.
fn logits(model: &Model, mut cache: KvCache) -> Vec<f32> {
    let later = tokens(CONTEXT + 4)[CONTEXT..].to_vec();
    for token in &later[..2] {
        model.forward(std::slice::from_ref(token), &mut cache, &mut ()).unwrap();
    }
    let hidden = model.forward(&later[2..], &mut cache, &mut ()).unwrap();
    model.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn widened(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

#[test]
fn a_bias_of_ln_2_is_an_entry_held_twice() {
    let ln_2 = std::f32::consts::LN_2;
    for architecture in ["llama", "qwen2"] {
        let model = Synthetic::new(architecture).load().unwrap();
        let cache = prefilled(&model);
        let twice = cache.retain(|_, _| &[0, 3, 3, 7, 22, 23], 4).unwrap();
        let biased =
            cache.retain(|_, _| &KEPT, 4).unwrap().reweighted(&set([0.0, ln_2, 0.0, 0.0, 0.0], None));
        let again = biased.retain(|_, _| &[0, 1, 2, 3, 4], 4).unwrap();
        let unbiased = logits(&model, cache.retain(|_, _| &KEPT, 4).unwrap());
        let found = logits(&model, biased);
        assert_close(&found, &widened(&logits(&model, twice)), rounding_bound(CONTEXT));
        assert_eq!(found, logits(&model, again), "a bias stays with its entry");
        assert_ne!(found, unbiased);
    }
}

#[test]
fn replaced_values_are_read_in_place_of_their_own() {
    let model = Synthetic::new("llama").load().unwrap();
    let cache = prefilled(&model);
    let value = std::array::from_fn(|channel| (channel as f32 * 0.7).sin());
    let set = set([0.0; 5], Some(value));
    let retained = || cache.retain(|_, _| &KEPT, 4).unwrap();
    let packed: Vec<PackedRows> = (0..LAYERS)
        .map(|layer| {
            let index = laprox_reference::LayerIndex(layer);
            let keys = retained()
                .heads(index)
                .iter()
                .map(|head| head.keys().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap())
                .collect::<Vec<_>>()
                .concat();
            assert_eq!(set.layer(LayerOrdinal(layer)).head(laprox_reference::KvHead(0)), KEPT);
            PackedRows { keys, values: value.repeat(KV_HEADS * KEPT.len()) }
        })
        .collect();
    let expected = logits(&model, cache.of_packed(&packed, &set, 4).unwrap());
    assert_eq!(logits(&model, retained().reweighted(&set)), expected);
    assert_ne!(logits(&model, retained()), expected);
}
