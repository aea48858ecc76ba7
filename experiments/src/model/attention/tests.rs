//! Attention against sums in f64.

use candle_core::{Device, Tensor};
use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::few::{FEW_ENTRIES, FEW_ROWS};
use super::{Attended, attend};
use crate::model::cache::{CacheDtype, HeadCache};

const SCALE: f32 = 0.25;
const KV_HEADS: usize = 2;

fn numbers(len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-2.0..2.0)).collect()
}

fn rounded(number: f32, dtype: CacheDtype) -> f64 {
    f64::from(if dtype == CacheDtype::F16 { f16::from_f32(number).to_f32() } else { number })
}

/// `softmax(scale * q . k_s) v_s` over the entries that a row sees.
fn naive(query: &[f32], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
    let dot = |key: &Vec<f64>| -> f64 { query.iter().zip(key).map(|(&q, k)| f64::from(q) * k).sum() };
    let weights: Vec<f64> = keys.iter().map(|key| (f64::from(SCALE) * dot(key)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let column = |column: usize| {
        weights.iter().zip(values).map(|(weight, value)| weight / total * value[column]).sum()
    };
    (0..query.len()).map(column).collect()
}

/// Few rows and many, less entries than one task takes and more, head dimensions of whole registers and others.
#[test]
fn rows_are_the_weighted_sums_of_the_values_that_they_see() {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let sizes = [
        (1, 1),
        (1, 7),
        (1, FEW_ENTRIES),
        (2, FEW_ENTRIES + 1),
        (3, 2 * FEW_ENTRIES + 1),
        (FEW_ROWS + 1, 600),
    ];
    for (len, entries) in sizes {
        for (group_size, head_dim) in [(1, 4), (3, 64), (4, 20), (7, 80), (FEW_ROWS, 128)] {
            for dtype in [CacheDtype::F32, CacheDtype::F16] {
                assert_attention([len, entries, group_size, head_dim], dtype, &mut rng);
            }
        }
    }
}

fn assert_attention(
    [len, entries, group_size, head_dim]: [usize; 4],
    dtype: CacheDtype,
    rng: &mut ChaCha8Rng,
) {
    let query_heads = KV_HEADS * group_size;
    let queries = numbers(query_heads * len * head_dim, rng);
    let [keys, values] = [(); 2].map(|()| [(); KV_HEADS].map(|()| numbers(entries * head_dim, rng)));
    let heads: Vec<HeadCache> = (keys.iter().zip(&values))
        .map(|(keys, values)| {
            let mut cache = HeadCache::new(dtype, entries, head_dim);
            cache.append(keys, values).unwrap();
            cache
        })
        .collect();
    let tensor = Tensor::from_slice(&queries, (query_heads, len, head_dim), &Device::Cpu).unwrap();
    let found = attend(&tensor, &[Attended { len, heads: &heads }], SCALE).unwrap();
    let found: Vec<Vec<f32>> = found.to_vec2().unwrap();
    for (head, queries) in queries.chunks_exact(len * head_dim).enumerate() {
        let rows = |numbers: &[f32], seen: usize| -> Vec<Vec<f64>> {
            let rows = numbers.chunks_exact(head_dim).take(seen);
            rows.map(|row| row.iter().map(|&number| rounded(number, dtype)).collect()).collect()
        };
        for (row, query) in queries.chunks_exact(head_dim).enumerate() {
            let seen = entries - (len - 1 - row);
            let kv_head = head / group_size;
            let expected = naive(query, &rows(&keys[kv_head], seen), &rows(&values[kv_head], seen));
            let found = &found[row][head * head_dim..][..head_dim];
            for (&found, expected) in found.iter().zip(expected) {
                // A logit is off by at most d products' rounding, which its exponential multiplies; a sum by that of its terms.
                let unit = f64::from(f32::EPSILON) / 2.0;
                let logit = f64::from(SCALE) * 4.0 * head_dim as f64;
                let bound = 2.0 * unit * (2.0 * head_dim as f64 * logit + seen as f64 + 32.0);
                let error = (f64::from(found) - expected).abs();
                let what = format!("{len} rows, {entries} entries, groups of {group_size}, d = {head_dim}");
                assert!(error <= bound, "{what}: {error} is above {bound}");
            }
        }
    }
}

/// One key of the second task has a logit that is not finite.
#[test]
fn what_is_not_finite_is_not_lost() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut cache = HeadCache::new(CacheDtype::F32, 600, 4);
        let mut keys = vec![1.0; 600 * 4];
        keys[550 * 4] = bad;
        cache.append(&keys, &vec![1.0; 600 * 4]).unwrap();
        let queries = Tensor::ones((1, 1, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
        let found = attend(&queries, &[Attended { len: 1, heads: &[cache] }], SCALE).unwrap();
        let found: Vec<Vec<f32>> = found.to_vec2().unwrap();
        assert!(found[0].iter().all(|number| !number.is_finite()), "{bad}: {found:?}");
    }
}
