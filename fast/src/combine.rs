//! Scores of one KV head from its query group's statistics: raw, then pooled.

use std::ops::Range;

use laprox_reference::Pooling;
use pulp::{Simd, WithSimd};

use crate::held::WEIGHT_SCALE;
use crate::pool::{divide, outside, pool, reach};
use crate::project::ValueNorms;

/// Candidates per block: their raw scores stay in the first-level cache.
const BLOCK: usize = 512;

/// The raw scores of one KV head. Statistics of attention carry the factor [`WEIGHT_SCALE`].
pub enum Raw<'a> {
    /// `mean over the group of attention * norm`
    MeanProduct(&'a [Vec<f32>], &'a [ValueNorms]),
    /// `attention / G * mean over the group of norm`
    ProductOfMeans(&'a [f32], &'a [ValueNorms]),
    /// `mean of the rows`, each divided by a count
    Mean(Vec<&'a [f32]>, f64),
    /// `max of the rows`, each divided by a count
    Max(Vec<&'a [f32]>, f64),
    /// The scores themselves.
    Scores(&'a [f64]),
}

/// Pools the raw scores of one KV head.
pub struct Combine<'a> {
    /// The raw scores.
    pub raw: Raw<'a>,
    /// The pooling.
    pub pooling: Pooling,
    /// The number of candidates.
    pub candidates: usize,
    /// Memory for the pooled scores.
    pub scores: Vec<f64>,
}

impl WithSimd for Combine<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> Vec<f64> {
        let reach = reach(self.pooling);
        let (mut raw, mut pooled) = (vec![0.0; BLOCK + 2 * reach], vec![0.0; BLOCK]);
        for first in (0..self.candidates).step_by(BLOCK) {
            // A block's neighbours are computed again.
            let last = self.candidates.min(first + BLOCK);
            let inside = first.saturating_sub(reach)..self.candidates.min(last + reach);
            let before = reach - (first - inside.start);
            let raw = &mut raw[..last - first + 2 * reach];
            raw[..before].fill(outside(self.pooling));
            raw[before + inside.len()..].fill(outside(self.pooling));
            self.raw.write(inside.clone(), &mut raw[before..before + inside.len()]);
            pool(self.pooling, raw, &mut pooled[..last - first]);
            self.scores.extend_from_slice(&pooled[..last - first]);
        }
        self.scores
    }
}

impl Raw<'_> {
    /// Writes the raw scores of the candidates of `range`.
    #[inline(always)]
    fn write(&self, range: Range<usize>, scores: &mut [f64]) {
        scores.fill(0.0);
        match self {
            Self::MeanProduct(attention, norms) => {
                let pairs = attention.iter().zip(*norms);
                let terms = pairs.map(|(attention, norms)| Term {
                    rows: [&attention[range.clone()], &norms.norms[range.clone()]],
                    scale: norms.scale,
                });
                add_terms(terms, |[attention, norm]| attention * norm / WEIGHT_SCALE, scores);
                divide(scores, norms.len() as f64);
            }
            Self::ProductOfMeans(attention, norms) => {
                let terms = norms
                    .iter()
                    .map(|norms| Term { rows: [&norms.norms[range.clone()]], scale: norms.scale });
                add_terms(terms, |[norm]| norm, scores);
                divide(scores, (norms.len() * norms.len()) as f64);
                for (score, &attention) in scores.iter_mut().zip(&attention[range]) {
                    *score *= f64::from(attention) / WEIGHT_SCALE;
                }
            }
            Self::Mean(rows, count) => {
                let terms = rows.iter().map(|row| Term { rows: [&row[range.clone()]], scale: 1.0 });
                add_terms(terms, |[number]| number / WEIGHT_SCALE, scores);
                divide(scores, count * rows.len() as f64);
            }
            Self::Max(rows, count) => {
                for row in rows {
                    for (score, &number) in scores.iter_mut().zip(&row[range.clone()]) {
                        *score = score.max(f64::from(number) / WEIGHT_SCALE);
                    }
                }
                divide(scores, *count);
            }
            Self::Scores(raw) => scores.copy_from_slice(&raw[range]),
        }
    }
}

/// One head's term of a sum: a function of one number per row, times a power of two.
#[derive(Clone, Copy)]
struct Term<'a, const R: usize> {
    rows: [&'a [f32]; R],
    scale: f64,
}

/// Adds the terms in order, four heads at a time, so that loads from all their rows are under way at once.
#[inline(always)]
fn add_terms<'a, const R: usize>(
    mut terms: impl ExactSizeIterator<Item = Term<'a, R>>,
    make: impl Fn([f64; R]) -> f64 + Copy,
    scores: &mut [f64],
) {
    while terms.len() >= 4 {
        let four = std::array::from_fn::<_, 4, _>(|_| terms.next().expect("four are left"));
        add_each(four, make, scores);
    }
    for term in terms {
        add_each([term], make, scores);
    }
}

#[inline(always)]
fn add_each<const R: usize, const N: usize>(
    terms: [Term<'_, R>; N],
    make: impl Fn([f64; R]) -> f64,
    scores: &mut [f64],
) {
    let count = scores.len();
    let terms = terms.map(|term| Term { rows: term.rows.map(|row| &row[..count]), ..term });
    for (i, score) in scores.iter_mut().enumerate() {
        let mut sum = *score;
        for term in &terms {
            sum += make(term.rows.map(|row| f64::from(row[i]))) * term.scale;
        }
        *score = sum;
    }
}
