//! The change of the rotary frequencies with which a model reads longer texts than its first training held.

use std::f32::consts::TAU;

use super::architecture::Architecture;
use super::error::Result;
use super::gguf::Gguf;

/// The scaling of the rotary frequencies, and the factor of the rotated vectors that comes with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RopeScaling {
    pub(super) interpolation: Interpolation,
    /// The factor of rotated queries and of rotated keys.
    pub(super) attention_factor: f32,
}

/// From a frequency `f` to the scaled one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Interpolation {
    /// `f / factor`.
    Linear { factor: f32 },
    /// `m f + (1 - m) f / factor`, with one weight `m` per pair of channels.
    Yarn { factor: f32, ramp: Ramp },
    /// The same, with a weight by the frequency.
    Llama3 { factor: f32, bands: Bands },
}

/// YaRN's weights: 1 up to the pair `low`, 0 from the pair `high` on, and a straight line between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ramp {
    low: f32,
    high: f32,
}

/// Llama 3's weights: 0 for pairs that turn less than `low` times within `original_len` tokens, 1 for those that turn more
/// than `high` times, and a straight line between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bands {
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) original_len: f32,
}

impl RopeScaling {
    /// Frequencies as they are.
    pub(super) const NONE: Self =
        Self { interpolation: Interpolation::Linear { factor: 1.0 }, attention_factor: 1.0 };

    /// Reads the keys `rope.scaling.*` of a model that rotates `rotary_dim` channels.
    ///
    /// # Errors
    /// [`super::Error::Metadata`] when the kind is not implemented or a number is not positive.
    pub(super) fn read(
        gguf: &Gguf<'_>,
        architecture: &Architecture,
        (rotary_dim, theta): (usize, f32),
        original_len: usize,
    ) -> Result<Self> {
        let key = architecture.key("rope.scaling.type");
        let factor = read_factor(gguf, architecture)?;
        // A file that states a factor alone means a linear scaling; the factors of a longrope are tensors.
        let scaling = match gguf.text(&key)?.as_deref().unwrap_or("linear") {
            "none" => Self::NONE,
            "linear" | "longrope" => {
                Self { interpolation: Interpolation::Linear { factor }, attention_factor: 1.0 }
            }
            "yarn" => {
                let turns = |name, default| {
                    gguf.positive_real(&architecture.key(&format!("rope.scaling.{name}")), Some(default))
                };
                let turns = [turns("yarn_beta_fast", 32.0)?, turns("yarn_beta_slow", 1.0)?];
                let ramp = Ramp::new(rotary_dim, theta, original_len, turns, true);
                Self {
                    interpolation: Interpolation::Yarn { factor, ramp },
                    attention_factor: yarn_length(factor, 1.0),
                }
            }
            other => {
                let known = "only 'none', 'linear', 'yarn' and 'longrope'";
                return Err(gguf.bad(&key, format!("'{other}' is not supported, {known}")));
            }
        };
        let own = gguf.positive_real(&architecture.key("rope.scaling.attn_factor"), Some(1.0))?;
        Ok(Self { attention_factor: own * scaling.attention_factor, ..scaling })
    }

    /// The scaled frequency of a pair of channels whose own frequency is `1 / period`.
    pub(super) fn scaled(&self, pair: usize, period: f32) -> f32 {
        match self.interpolation {
            Interpolation::Linear { factor } => period.recip() / factor,
            Interpolation::Yarn { factor, ramp } => {
                let weight = ramp.weight(pair);
                (factor * period).recip() * (1.0 - weight) + period.recip() * weight
            }
            Interpolation::Llama3 { factor, bands } => {
                let (frequency, weight) = (period.recip(), bands.weight(period.recip()));
                (1.0 - weight) * frequency / factor + weight * frequency
            }
        }
    }
}

/// YaRN's factor of queries and of keys, `1 + mscale ln(factor) / 10`.
pub(super) fn yarn_length(factor: f32, mscale: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { (0.1 * f64::from(mscale) * f64::from(factor).ln() + 1.0) as f32 }
}

impl Ramp {
    /// Between the pairs that turn `turns` times, fast and slow, within the length of the first training; `whole` makes the
    /// ends whole numbers.
    pub(super) fn new(
        rotary_dim: usize,
        theta: f32,
        original_len: usize,
        turns: [f32; 2],
        whole: bool,
    ) -> Self {
        let pair = |turns: f32| {
            let tokens_per_radian = original_len as f64 / (f64::from(turns) * std::f64::consts::TAU);
            rotary_dim as f64 * tokens_per_radian.ln() / (2.0 * f64::from(theta).ln())
        };
        let [low, high] = turns.map(pair);
        let [low, high] = if whole { [low.floor(), high.ceil()] } else { [low, high] };
        Self { low: low.max(0.0) as f32, high: high.min(rotary_dim as f64 - 1.0) as f32 }
    }

    fn weight(self, pair: usize) -> f32 {
        let width = (self.high - self.low).max(0.001);
        1.0 - ((pair as f32 - self.low) / width).clamp(0.0, 1.0)
    }
}

impl Bands {
    fn weight(self, frequency: f32) -> f32 {
        let wave_len = TAU / frequency;
        ((self.original_len / wave_len - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// The factor, by its present or its former key; 0 stands for none.
fn read_factor(gguf: &Gguf<'_>, architecture: &Architecture) -> Result<f32> {
    for name in ["rope.scaling.factor", "rope.scale_linear"] {
        let key = architecture.key(name);
        if gguf.real(&key)?.is_some_and(|factor| factor != 0.0) {
            return gguf.positive_real(&key, None);
        }
    }
    Ok(1.0)
}
