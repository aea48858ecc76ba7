//! Attention of few rows: every entry is read once for all of them.

use laprox_fast::simd::prefetch;
use pulp::{Simd, WithSimd};

use crate::model::lane_sums::lane_sums;

/// The most rows that count as few.
pub(super) const FEW_ROWS: usize = 8;
/// The entries of a task of few rows.
pub(super) const FEW_ENTRIES: usize = 512;

/// `logits[r][s] = scale * q_r . k_s`.
pub(super) struct Logits<'a> {
    /// `[rows, d]`.
    pub(super) queries: &'a [f32],
    /// `[entries, d]`.
    pub(super) keys: &'a [f32],
    pub(super) head_dim: usize,
    pub(super) scale: f32,
    /// Rows of at least as many places as there are entries.
    pub(super) logits: &'a mut [f32],
}

impl WithSimd for Logits<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { queries, keys, head_dim, scale, logits } = self;
        let stride = logits.len() / (queries.len() / head_dim);
        let all = keys;
        for (group, keys) in keys.chunks(EIGHT * head_dim).enumerate() {
            prefetch(all, (group * EIGHT + AHEAD) * head_dim, EIGHT * head_dim);
            for (query, logits) in queries.chunks_exact(head_dim).zip(logits.chunks_exact_mut(stride)) {
                let products = products(simd, query, keys);
                for (logit, product) in logits[group * EIGHT..].iter_mut().zip(products) {
                    *logit = scale * product;
                }
            }
        }
    }
}

/// Entries between the one that is read and the one that is prefetched.
const AHEAD: usize = 16;
/// Keys whose products are added up together.
const EIGHT: usize = 8;

/// The products of a query with at most eight keys, and zeros.
#[inline(always)]
fn products<S: Simd>(simd: S, query: &[f32], keys: &[f32]) -> [f32; EIGHT] {
    let (query, query_rest) = S::as_simd_f32s(query);
    let mut sums = [simd.splat_f32s(0.0); EIGHT];
    let mut rests = [0.0; EIGHT];
    let len = query.len() * S::F32_LANES + query_rest.len();
    for ((key, sum), rest) in keys.chunks_exact(len).zip(&mut sums).zip(&mut rests) {
        let (key, key_rest) = S::as_simd_f32s(key);
        for (&query, &key) in query.iter().zip(key) {
            *sum = simd.mul_add_f32s(query, key, *sum);
        }
        *rest = query_rest.iter().zip(key_rest).map(|(query, key)| query * key).sum();
    }
    let mut products = lane_sums(simd, &sums);
    for (product, rest) in products.iter_mut().zip(rests) {
        *product += rest;
    }
    products
}

/// `sums[r] = sum_s weights[r][s] v_s`.
pub(super) struct Sums<'a> {
    /// Rows of at least as many numbers as there are entries.
    pub(super) weights: &'a [f32],
    /// `[entries, d]`.
    pub(super) values: &'a [f32],
    pub(super) head_dim: usize,
    /// `[rows, d]`.
    pub(super) sums: &'a mut [f32],
}

/// Rows whose sums are in registers together.
const ROWS: usize = 4;

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weights, values, head_dim, sums } = self;
        let stride = weights.len() / (sums.len() / head_dim);
        let rows = sums.chunks_mut(ROWS * head_dim).zip(weights.chunks(ROWS * stride));
        for (sums, weights) in rows {
            match sums.len() / head_dim {
                4 => rows_of::<S, 4>(simd, weights, values, head_dim, sums),
                3 => rows_of::<S, 3>(simd, weights, values, head_dim, sums),
                2 => rows_of::<S, 2>(simd, weights, values, head_dim, sums),
                _ => rows_of::<S, 1>(simd, weights, values, head_dim, sums),
            }
        }
    }
}

/// The same for a number of rows, four registers of columns at a time, then one, then the rest.
#[inline(always)]
fn rows_of<S: Simd, const COUNT: usize>(
    simd: S,
    weights: &[f32],
    values: &[f32],
    head_dim: usize,
    sums: &mut [f32],
) {
    let stride = weights.len() / COUNT;
    let mut rows = [&weights[..stride]; COUNT];
    for (row, weights) in rows.iter_mut().zip(weights.chunks_exact(stride)) {
        *row = weights;
    }
    let mut column = 0;
    while column + 4 * S::F32_LANES <= head_dim {
        columns::<S, COUNT, 4>(simd, rows, &values[column..], head_dim, &mut sums[column..]);
        column += 4 * S::F32_LANES;
    }
    while column + S::F32_LANES <= head_dim {
        columns::<S, COUNT, 1>(simd, rows, &values[column..], head_dim, &mut sums[column..]);
        column += S::F32_LANES;
    }
    for column in column..head_dim {
        for (weights, sums) in rows.iter().zip(sums.chunks_exact_mut(head_dim)) {
            let values = values.chunks_exact(head_dim).map(|value| value[column]);
            sums[column] = weights.iter().zip(values).map(|(weight, value)| weight * value).sum();
        }
    }
}

/// The same for so few columns that the sums fit the registers.
#[inline(always)]
fn columns<S: Simd, const COUNT: usize, const REGISTERS: usize>(
    simd: S,
    rows: [&[f32]; COUNT],
    values: &[f32],
    head_dim: usize,
    sums: &mut [f32],
) {
    let mut held = [[simd.splat_f32s(0.0); REGISTERS]; COUNT];
    for (entry, value) in values.chunks(head_dim).enumerate() {
        prefetch(values, (entry + AHEAD) * head_dim, REGISTERS * S::F32_LANES);
        let value: &[S::f32s; REGISTERS] =
            S::as_simd_f32s(value).0.first_chunk().expect("columns of the block");
        for (row, held) in rows.iter().zip(&mut held) {
            let weight = simd.splat_f32s(row[entry]);
            for (sum, &value) in held.iter_mut().zip(value) {
                *sum = simd.mul_add_f32s(weight, value, *sum);
            }
        }
    }
    for (held, sums) in held.iter().zip(sums.chunks_mut(head_dim)) {
        for (&held, sums) in held.iter().zip(S::as_mut_simd_f32s(sums).0) {
            *sums = held;
        }
    }
}
