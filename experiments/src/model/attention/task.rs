//! A task of attention: some rows over some entries.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use laprox_fast::Level;

use super::exponentials::Exponentials;
use super::few::{self, FEW_ROWS};
use super::many;
use crate::model::cache::HeadCache;
use crate::model::lane_sums::LANES;

/// Some rows of one sequence and one KV head, over some entries of its cache. The query heads' rows count one after another.
pub(super) struct Task<'a> {
    pub(super) cache: &'a HeadCache,
    pub(super) first_query_head: usize,
    /// The sequence's first row, and how many it has.
    pub(super) first_token: usize,
    pub(super) len: usize,
    pub(super) rows: Range<usize>,
    pub(super) entries: Range<usize>,
}

/// For each row, over a task's entries `s` with logits `x_s` to the base 2.
pub(super) struct Partial {
    /// The largest logit, or at least as large a number if the row sees no entry.
    pub(super) most: Vec<f32>,
    /// `sum_s 2^(x_s - most)`, or NaN if a logit is not finite.
    pub(super) totals: Vec<f32>,
    /// `sum_s 2^(x_s - most) v_s`, `[rows, d]`.
    pub(super) sums: Vec<f32>,
}

/// Memory that a thread's tasks share.
#[derive(Default)]
pub(super) struct Scratch {
    queries: Vec<f32>,
    weights: Vec<f32>,
    wide: Vec<f32>,
}

impl Task<'_> {
    /// A row's query head and its place among all rows.
    pub(super) fn place(&self, row: usize) -> (usize, usize) {
        (self.first_query_head + row / self.len, self.first_token + row % self.len)
    }

    /// The number of the task's entries that a row sees.
    fn seen(&self, row: usize) -> usize {
        let seen = self.cache.len() - (self.len - 1 - row % self.len);
        seen.min(self.entries.end).saturating_sub(self.entries.start)
    }

    /// Takes the queries `[H, c, d]` of all `c` rows.
    pub(super) fn run(
        &self,
        queries: &[f32],
        [rows, head_dim]: [usize; 2],
        scale: f32,
        scratch: &mut Scratch,
    ) -> Partial {
        let count = self.rows.len();
        let len = self.rows.clone().map(|row| self.seen(row)).max().unwrap_or(0);
        let entries = self.entries.start..self.entries.start + len;
        let stride = len.next_multiple_of(LANES);
        let Scratch { queries: own, weights, wide } = scratch;
        own.clear();
        for row in self.rows.clone() {
            let (head, token) = self.place(row);
            own.extend_from_slice(&queries[(head * rows + token) * head_dim..][..head_dim]);
        }
        weights.resize(count * stride, 0.0);

        let few = count <= FEW_ROWS;
        let (scale, keys) = (scale * LOG2_E, self.cache.stored_keys());
        if few {
            let keys = keys.widened(entries.start * head_dim..entries.end * head_dim, wide);
            Level::best().run(few::Logits { queries: own, keys, head_dim, scale, logits: weights });
        } else {
            many::logits(own, (keys, len), head_dim, scale, weights, wide);
        }
        if let Some(bias) = self.cache.bias().get(entries.start..) {
            for logits in weights.chunks_exact_mut(stride) {
                logits.iter_mut().zip(bias).for_each(|(logit, bias)| *logit += bias * LOG2_E);
            }
        }
        let rows = self.rows.clone().zip(weights.chunks_exact_mut(stride));
        let (most, totals) = rows
            .map(|(row, logits)| Level::best().run(Exponentials { logits, seen: self.seen(row) }))
            .unzip();
        let mut sums = vec![0.0; count * head_dim];
        let values = self.cache.stored_values();
        if few {
            let values = values.widened(entries.start * head_dim..entries.end * head_dim, wide);
            Level::best().run(few::Sums { weights, values, head_dim, sums: &mut sums });
        } else {
            many::sums(weights, (values, len), head_dim, &mut sums, wide);
        }
        Partial { most, totals, sums }
    }
}
