//! Causal attention of query groups over the cache entries of their KV heads.
//!
//! ```text
//! task          the logits, exponentials and sums of some rows over some entries
//! few           few rows (decoding): every entry is read once, and parts of the entries are tasks of their own
//! many          many rows (prefill): products of matrices
//! exponentials  a row's logits -> their exponentials and sum
//! ```

mod exponentials;
mod few;
mod many;
mod task;
#[cfg(test)]
mod tests;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::cache::HeadCache;
use super::error::Result;
use super::linear::with_numbers;
pub(super) use exponentials::Exponentials;
use few::{FEW_ENTRIES, FEW_ROWS};
use task::{Partial, Scratch, Task};

/// The most of many rows that one task computes the weights of.
const MOST_ROWS: usize = 128;
/// The least, and about the most numbers that a task's weights are.
const LEAST_ROWS: usize = 32;
const WEIGHTS: usize = 1 << 18;

/// A sequence's own rows and its cache, whose last entries are these rows' keys and values.
pub(super) struct Attended<'a> {
    /// How many rows the sequence has.
    pub(super) len: usize,
    /// The layer's KV heads.
    pub(super) heads: &'a [HeadCache],
}

/// `out_i = sum_s softmax_s(scale * q_i . k_s + bias_s) v_s` over the entries `s` that the causal mask leaves to row `i`.
///
/// From queries `[H, c, d]`, the sequences' rows one after another, to rows `[c, H*d]`. A row sees all entries of its
/// sequence except those of later rows. The mask does not depend on positions, so a full cache and an evicted one are the same
/// here.
pub(super) fn attend(queries: &Tensor, sequences: &[Attended<'_>], scale: f32) -> Result<Tensor> {
    let (query_heads, rows, head_dim) = queries.dims3()?;
    let tasks = tasks(sequences, query_heads);
    let done: Vec<(&Task<'_>, Partial)> = with_numbers(queries, |queries| {
        let tasks = tasks.par_iter();
        let done = tasks.map_init(Scratch::default, |scratch, task| {
            (task, task.run(queries, [rows, head_dim], scale, scratch))
        });
        done.collect()
    })?;
    let mut out = vec![0.0; rows * query_heads * head_dim];
    for parts in done.chunk_by(|_, (next, _)| next.entries.start > 0) {
        let task = parts[0].0;
        for (index, row) in task.rows.clone().enumerate() {
            let (head, token) = task.place(row);
            merge(parts, index, &mut out[(token * query_heads + head) * head_dim..][..head_dim]);
        }
    }
    Ok(Tensor::from_vec(out, (rows, query_heads * head_dim), &Device::Cpu)?)
}

/// Adds up what the parts of the entries are for one row: with the largest logit of all,
/// `out = sum_p 2^(most_p - most) sums_p / sum_p 2^(most_p - most) total_p`.
fn merge(parts: &[(&Task<'_>, Partial)], row: usize, out: &mut [f32]) {
    let most = parts.iter().map(|(_, part)| part.most[row]).fold(f32::MIN, f32::max);
    let factor = |part: &Partial| (part.most[row] - most).exp2();
    let total: f32 = parts.iter().map(|(_, part)| factor(part) * part.totals[row]).sum();
    for (_, part) in parts {
        let factor = factor(part) / total;
        let sums = &part.sums[row * out.len()..];
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out += factor * sum);
    }
}

/// Cuts the work into tasks, those of the same rows one after another. They do not depend on the number of threads.
fn tasks<'a>(sequences: &[Attended<'a>], query_heads: usize) -> Vec<Task<'a>> {
    let (mut tasks, mut first_token) = (Vec::new(), 0);
    for &Attended { len, heads } in sequences {
        let group_size = query_heads / heads.len();
        let count = group_size * len;
        for (kv_head, cache) in heads.iter().enumerate() {
            let first_query_head = kv_head * group_size;
            let task = |rows, entries| Task { cache, first_query_head, first_token, len, rows, entries };
            if count <= FEW_ROWS {
                let starts = (0..cache.len()).step_by(FEW_ENTRIES);
                tasks.extend(starts.map(|start| task(0..count, start..cache.len().min(start + FEW_ENTRIES))));
            } else {
                let step = (WEIGHTS / cache.len().max(1)).clamp(LEAST_ROWS, MOST_ROWS);
                let firsts = (0..count).step_by(step);
                tasks.extend(firsts.map(|first| task(first..count.min(first + step), 0..cache.len())));
            }
        }
        first_token += len;
    }
    tasks
}
