//! Rotary position embedding in the half-split layout.

use std::ops::Range;

use candle_core::{D, Device, Tensor};
use candle_nn::rotary_emb::rope_thd;

use super::config::Config;
use super::error::Result;

/// `angle(p, j) = p * scaled(divisor_j * theta^(2j/r))` for `j < r/2`, where the first `r` channels of a head are rotated.
///
/// The exponents, the powers, their reciprocals and the angles are each rounded to f32, as in transformers. At position
/// 2,000 one rounding of a frequency moves an angle by 1e-4, so more exact angles would differ more from the model as its
/// users run it.
pub(super) struct Rope {
    frequencies: Vec<f32>,
    long: Option<Long>,
    attention_factor: f32,
}

/// The frequencies of sequences with room for more than `above` tokens.
struct Long {
    above: usize,
    frequencies: Vec<f32>,
}

/// Divisors of the rotary frequencies, `[r/2]`; without them every divisor is 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Divisors {
    pub(super) all: Option<Vec<f32>>,
    /// LongRoPE's divisors for sequences with room for more than this number of tokens.
    pub(super) long: Option<(usize, Vec<f32>)>,
}

/// The cosines and sines of some positions, each `[c, r/2]`, times the attention factor.
pub(super) struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    pub(super) fn new(config: &Config, divisors: &Divisors) -> Self {
        let &Config { rotary_dim, rope_theta, rope_scaling, .. } = config;
        let frequency = |pair, divisor| {
            let exponent = (2 * pair) as f32 / rotary_dim as f32;
            let period = f64::from(rope_theta).powf(f64::from(exponent)) as f32;
            rope_scaling.scaled(pair, divisor * period)
        };
        let frequencies = |divisors: Option<&Vec<f32>>| {
            let divisor = |pair| divisors.map_or(1.0, |divisors: &Vec<f32>| divisors[pair]);
            (0..rotary_dim / 2).map(|pair| frequency(pair, divisor(pair))).collect()
        };
        let long = divisors.long.as_ref();
        Self {
            frequencies: frequencies(divisors.all.as_ref()),
            long: long.map(|(above, long)| Long { above: *above, frequencies: frequencies(Some(long)) }),
            attention_factor: rope_scaling.attention_factor,
        }
    }

    /// The rotation of some positions, in their order: ranges of positions, each with the number of tokens for which its
    /// sequence has room.
    pub(super) fn rotation(&self, ranges: impl Iterator<Item = (Range<usize>, usize)>) -> Result<Rotation> {
        let angles = ranges.flat_map(|(positions, room)| {
            let frequencies = self.frequencies(room);
            positions.flat_map(move |position| frequencies.iter().map(move |f| position as f32 * f))
        });
        let angles: Vec<f32> = angles.collect();
        let len = angles.len() / self.frequencies.len();
        let table = |function: fn(f32) -> f32| {
            let values = angles.iter().map(|&angle| self.attention_factor * function(angle)).collect();
            Tensor::from_vec(values, (len, self.frequencies.len()), &Device::Cpu)
        };
        Ok(Rotation { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }

    fn frequencies(&self, room: usize) -> &[f32] {
        let long = self.long.as_ref().filter(|long| room > long.above);
        long.map_or(&self.frequencies, |long| &long.frequencies)
    }
}

impl Rotation {
    /// `out[j] = x[j] cos - x[j + r/2] sin`, `out[j + r/2] = x[j + r/2] cos + x[j] sin`; channels from `r` on stay.
    ///
    /// From projected rows `[c, heads*d]` to rotated heads `[heads, c, d]`.
    pub(super) fn apply(&self, rows: &Tensor, heads: usize) -> Result<Tensor> {
        let (len, rotary_dim) = (rows.dim(0)?, 2 * self.cos.dim(1)?);
        let rows = rows.reshape((1, len, heads, ()))?;
        let head_dim = rows.dim(D::Minus1)?;
        let rotated = if rotary_dim == head_dim {
            rope_thd(&rows, &self.cos, &self.sin)?
        } else {
            let first = rows.narrow(D::Minus1, 0, rotary_dim)?.contiguous()?;
            let rest = rows.narrow(D::Minus1, rotary_dim, head_dim - rotary_dim)?;
            Tensor::cat(&[&rope_thd(&first, &self.cos, &self.sin)?, &rest], D::Minus1)?
        };
        split_heads(&rotated.squeeze(0)?)
    }
}

impl Rotation {
    /// The mean over the positions of the matrix `R` with `out = R x`, `[d, d]`.
    pub(super) fn mean(&self, head_dim: usize) -> Result<Vec<f32>> {
        let half = self.cos.dim(1)?;
        let [cos, sin] = [&self.cos, &self.sin].map(|table| table.mean(0)?.to_vec1::<f32>());
        let (cos, sin) = (cos?, sin?);
        let mut matrix = vec![0.0; head_dim * head_dim];
        for channel in 0..head_dim {
            let row = &mut matrix[channel * head_dim..][..head_dim];
            if channel < half {
                row[channel] = cos[channel];
                row[channel + half] = -sin[channel];
            } else if channel < 2 * half {
                row[channel] = cos[channel - half];
                row[channel - half] = sin[channel - half];
            } else {
                row[channel] = 1.0;
            }
        }
        Ok(matrix)
    }
}

/// `[c, heads, d]` to `[heads, c, d]`, contiguous.
pub(super) fn split_heads(rows: &Tensor) -> Result<Tensor> {
    Ok(rows.transpose(0, 1)?.contiguous()?)
}
