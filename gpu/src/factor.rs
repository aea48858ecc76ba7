//! `T` with `norm2(v W) = norm2(v T)`: a lower triangle of `d * d` numbers instead of an output projection of `d * D`.
//!
//! It comes from a QR factorisation `W^T = Q R` in f64: `norm2(v W) = norm2(Q R v^T) = norm2(R v^T)`, so `T = R^T`, and
//! `W W^T = T T^T`. Nothing is squared on the way, so linearly dependent rows of `W` do no harm.

use std::ops::Range;

use faer::Mat;
use laprox_reference::{LayerShape, TensorView};
use rayon::prelude::*;

use crate::upload::Format;

/// A lower triangular factor. If `D` is smaller than the width, it is trapezoidal.
#[derive(Clone, Debug)]
pub struct Factor {
    /// `R`, upper triangular, `[rank, width]`.
    upper: Mat<f64>,
}

impl Factor {
    /// The factor of the projection `W` in some columns of `o_proj.weight`.
    #[must_use]
    pub fn new(weight: &TensorView<'_, 2>, columns: Range<usize>) -> Self {
        let [hidden_dim, width] = weight.shape();
        let row =
            |c: usize| weight.elements().slice(c * width + columns.start..c * width + columns.end).to_f64();
        let rows: Vec<Vec<f64>> = (0..hidden_dim).map(row).collect();
        let transposed = Mat::from_fn(hidden_dim, columns.len(), |c, k| rows[c][k]);
        Self { upper: transposed.qr().thin_R().to_owned() }
    }

    /// One factor per query head.
    #[must_use]
    pub fn of_heads(weight: &TensorView<'_, 2>, shape: LayerShape) -> Vec<Self> {
        Self::of_blocks(weight, shape.query_heads, shape.head_dim)
    }

    /// One factor per query group, of its heads' stacked projections. Rows `h * d..(h + 1) * d` are head `h`'s. Sums over
    /// heads keep their norm, too.
    #[must_use]
    pub fn of_groups(weight: &TensorView<'_, 2>, shape: LayerShape) -> Vec<Self> {
        Self::of_blocks(weight, shape.kv_heads, shape.group_size() * shape.head_dim)
    }

    fn of_blocks(weight: &TensorView<'_, 2>, count: usize, width: usize) -> Vec<Self> {
        (0..count)
            .into_par_iter()
            .map(|block| Self::new(weight, block * width..(block + 1) * width))
            .collect()
    }

    /// Columns of `T`.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.upper.nrows()
    }

    /// Rows of `T`.
    #[must_use]
    pub fn width(&self) -> usize {
        self.upper.ncols()
    }

    /// `T[k, column]`. Zero above the diagonal and behind the last column.
    #[must_use]
    pub fn entry(&self, k: usize, column: usize) -> f64 {
        if column <= k && column < self.rank() { self.upper[(column, k)] } else { 0.0 }
    }

    /// All entries, `[width, rank]`, rounded to f32.
    pub(crate) fn singles(&self) -> impl Iterator<Item = f32> + '_ {
        let entries = (0..self.width()).flat_map(|k| (0..self.rank()).map(move |column| (k, column)));
        entries.map(|(k, column)| self.entry(k, column) as f32)
    }

    /// The factor in the layout that `project_norms` of a 16-bit format reads.
    #[must_use]
    pub fn split(&self, format: Format) -> SplitFactor {
        SplitFactor::new(self, format)
    }
}

/// A factor, scaled by a power of two, as the sum of a high and a low part in a 16-bit format.
///
/// It is cut into column tiles of 8 and inner chunks of 32, and blocks above the diagonal are left out. A block holds the
/// high part, then the low part. A part has 32 lanes, and lane `4 g + q` holds the 8 inner indices from `8 q` of column `g`.
#[derive(Clone, Debug)]
pub struct SplitFactor {
    /// The parts' bits.
    pub bits: Vec<u16>,
    /// The factor that undoes the scaling of products with the parts.
    pub unscale: f32,
}

impl SplitFactor {
    /// The count of numbers in the parts of a factor of this width.
    pub(crate) fn len_of(width: usize) -> usize {
        (0..width / 8).map(|tile| (width / 32 - tile / 4) * 2 * 256).sum()
    }

    fn new(factor: &Factor, format: Format) -> Self {
        let exponent = match format {
            // Large, so that the low part of every entry that matters is a normal number.
            Format::F16 => 14 - factor.exponent(),
            _ => 0,
        };
        let scale = 2.0_f64.powi(exponent);
        let mut bits = Vec::new();
        for tile in 0..factor.width() / 8 {
            for chunk in tile / 4..factor.width() / 32 {
                let entries = (0..32).flat_map(|lane| (0..8).map(move |inner| (lane, inner)));
                let entries =
                    entries.map(|(lane, inner)| (32 * chunk + 8 * (lane % 4) + inner, 8 * tile + lane / 4));
                let numbers: Vec<f64> = entries.map(|(k, column)| factor.entry(k, column) * scale).collect();
                let high = format.round(&numbers);
                let rests = numbers.iter().zip(format.widen(&high)).map(|(number, high)| number - high);
                let low = format.round(&rests.collect::<Vec<f64>>());
                bits.extend(high);
                bits.extend(low);
            }
        }
        Self { bits, unscale: 2.0_f64.powi(-exponent) as f32 }
    }
}

impl Factor {
    /// `e` with the largest entry between `2^e` and `2^(e+1)`. 0 if all entries are zero.
    fn exponent(&self) -> i32 {
        let entries = (0..self.width()).flat_map(|k| (0..=k).map(move |column| self.entry(k, column).abs()));
        let largest = entries.fold(0.0, f64::max);
        if largest > 0.0 { largest.log2().floor() as i32 } else { 0 }
    }
}
