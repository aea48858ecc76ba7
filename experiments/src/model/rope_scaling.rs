//! The change of the rotary frequencies with which a model reads longer texts than its first training held.

use super::architecture::Architecture;
use super::error::Result;
use super::gguf::Gguf;

/// Position interpolation: `f' = m f + (1 - m) f / factor`, with one weight `m` per frequency `f`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RopeScaling {
    factor: f32,
    /// YaRN's weights; `None` stands for `m = 0`, the linear scaling.
    ramp: Option<Ramp>,
}

/// `m = 1` up to the pair `low`, `m = 0` from the pair `high` on, and a straight line between them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ramp {
    low: f32,
    high: f32,
}

impl RopeScaling {
    /// Frequencies as they are.
    pub(super) const NONE: Self = Self { factor: 1.0, ramp: None };

    /// Reads the keys `rope.scaling.*`.
    ///
    /// # Errors
    /// [`super::Error::Metadata`] when the kind is not implemented or a number is not positive.
    pub(super) fn read(
        gguf: &Gguf<'_>,
        architecture: &Architecture,
        head_dim: usize,
        theta: f32,
    ) -> Result<Self> {
        let key = architecture.key("rope.scaling.type");
        // A file that states a factor alone means a linear scaling.
        match gguf.text(&key)?.as_deref().unwrap_or("linear") {
            "none" => Ok(Self::NONE),
            "linear" => Ok(Self { factor: read_factor(gguf, architecture)?, ramp: None }),
            "yarn" => Ok(Self {
                factor: read_factor(gguf, architecture)?,
                ramp: Some(Ramp::read(gguf, architecture, head_dim, theta)?),
            }),
            other => {
                Err(gguf.bad(&key, format!("'{other}' is not supported, only 'none', 'linear' and 'yarn'")))
            }
        }
    }

    /// The scaled frequency of a pair of channels.
    pub(super) fn scaled(&self, pair: usize, frequency: f32) -> f32 {
        let weight = self.ramp.map_or(0.0, |ramp| ramp.weight(pair));
        frequency / self.factor * (1.0 - weight) + frequency * weight
    }

    /// YaRN's factor of queries and of keys, `1 + ln(factor) / 10`.
    pub(super) fn attention_factor(&self) -> f32 {
        if self.ramp.is_some() { 1.0 + 0.1 * self.factor.max(1.0).ln() } else { 1.0 }
    }
}

impl Ramp {
    /// The pairs that turn `beta_fast` and `beta_slow` times within the length of the first training.
    fn read(gguf: &Gguf<'_>, architecture: &Architecture, head_dim: usize, theta: f32) -> Result<Self> {
        let scaling = |name: &str| architecture.key(&format!("rope.scaling.{name}"));
        let original = gguf.size(&scaling("original_context_length"))?.filter(|&len| len > 0);
        let original =
            original.map_or_else(|| gguf.positive_size(&architecture.key("context_length")), Ok)?;
        let pair = |name: &str, default| -> Result<f64> {
            let turns = f64::from(gguf.positive_real(&scaling(name), Some(default))?);
            let tokens_per_radian = original as f64 / (turns * std::f64::consts::TAU);
            Ok(head_dim as f64 * tokens_per_radian.ln() / (2.0 * f64::from(theta).ln()))
        };
        let low = pair("yarn_beta_fast", 32.0)?.floor().max(0.0);
        let high = pair("yarn_beta_slow", 1.0)?.ceil().min(head_dim as f64 - 1.0);
        Ok(Self { low: low as f32, high: high as f32 })
    }

    fn weight(self, pair: usize) -> f32 {
        let width = (self.high - self.low).max(0.001);
        1.0 - ((pair as f32 - self.low) / width).clamp(0.0, 1.0)
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
