//! Rotary position embedding in the half-split layout.

use candle_core::{Device, Tensor};
use candle_nn::rotary_emb::rope_thd;

use super::config::Config;
use super::error::Result;

/// `angle(p, j) = p * scaled(theta^(-2j/d) / divisor_j)` for `j < d/2`.
///
/// The exponents, the powers, their reciprocals and the angles are each rounded to f32, as in transformers. At position
/// 2,000 one rounding of a frequency moves an angle by 1e-4, so more exact angles would differ more from the model as its
/// users run it.
pub(super) struct Rope {
    frequencies: Vec<f32>,
    attention_factor: f32,
}

/// The cosines and sines of some positions, each `[c, d/2]`, times the attention factor.
pub(super) struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// The frequencies of a model whose file may hold a divisor of each.
    pub(super) fn new(config: &Config, divisors: Option<&[f32]>) -> Self {
        let &Config { head_dim, rope_theta, rope_scaling, .. } = config;
        let frequency = |pair| {
            let exponent = (2 * pair) as f32 / head_dim as f32;
            let plain = (f64::from(rope_theta).powf(f64::from(exponent)) as f32).recip();
            rope_scaling.scaled(pair, plain / divisors.map_or(1.0, |divisors| divisors[pair]))
        };
        Self {
            frequencies: (0..head_dim / 2).map(frequency).collect(),
            attention_factor: rope_scaling.attention_factor(),
        }
    }

    /// The rotation of some positions, in their order.
    pub(super) fn rotation(&self, positions: impl Iterator<Item = usize>) -> Result<Rotation> {
        let angle = |position: usize| self.frequencies.iter().map(move |f| position as f32 * f);
        let angles: Vec<f32> = positions.flat_map(angle).collect();
        let len = angles.len() / self.frequencies.len();
        let table = |function: fn(f32) -> f32| {
            let values = angles.iter().map(|&angle| self.attention_factor * function(angle)).collect();
            Tensor::from_vec(values, (len, self.frequencies.len()), &Device::Cpu)
        };
        Ok(Rotation { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }
}

impl Rotation {
    /// `out[j] = x[j] cos - x[j + d/2] sin`, `out[j + d/2] = x[j + d/2] cos + x[j] sin`.
    ///
    /// From projected rows `[c, heads*d]` to rotated heads `[heads, c, d]`.
    pub(super) fn apply(&self, rows: &Tensor, heads: usize) -> Result<Tensor> {
        let len = rows.dim(0)?;
        let rotated = rope_thd(&rows.reshape((1, len, heads, ()))?, &self.cos, &self.sin)?;
        split_heads(&rotated.squeeze(0)?)
    }
}

/// `[c, heads, d]` to `[heads, c, d]`, contiguous.
pub(super) fn split_heads(rows: &Tensor) -> Result<Tensor> {
    Ok(rows.transpose(0, 1)?.contiguous()?)
}
