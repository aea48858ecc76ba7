//! A model's hyperparameters, from the GGUF metadata.

use std::fmt;

use super::architecture::Architecture;
use super::error::Result;
use super::gguf::Gguf;
use super::rope_scaling::RopeScaling;

/// The sizes and constants of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The row of the table of architectures.
    pub architecture: &'static Architecture,
    /// `L`, decoder layers.
    pub layers: usize,
    /// `H`, query heads per layer.
    pub query_heads: usize,
    /// `Hkv`, KV heads per layer; divides `H`.
    pub kv_heads: usize,
    /// `d`, the width of one head.
    pub head_dim: usize,
    /// `D`, the width of the residual stream.
    pub hidden_dim: usize,
    /// The width of the feed-forward layer.
    pub feed_forward_dim: usize,
    /// `r`, the first channels of a head that are rotated.
    pub rotary_dim: usize,
    /// The base of the rotary frequencies.
    pub rope_theta: f32,
    /// What the file does to these frequencies.
    pub(super) rope_scaling: RopeScaling,
    /// The constant that the RMS norm adds to the mean square.
    pub rms_epsilon: f32,
    /// The longest sequence that the model was trained for.
    pub context_len: usize,
    /// The longest one of its first training, before its rotary frequencies were scaled.
    pub(super) original_len: usize,
    /// The number of last tokens, itself included, to which a token attends; `None` for all.
    pub sliding_window: Option<usize>,
}

/// The longest sequence that a model runs, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxLen {
    /// The number of tokens.
    pub tokens: usize,
    reason: &'static str,
}

impl fmt::Display for MaxLen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model's {} {}", self.reason, self.tokens)
    }
}

impl Config {
    /// `H / Hkv`, the query heads that share a KV head.
    #[must_use]
    pub fn group_size(&self) -> usize {
        self.query_heads / self.kv_heads
    }

    /// `1 / sqrt(d)`, the factor of the products of queries and keys.
    #[must_use]
    pub fn attention_scale(&self) -> f64 {
        (self.head_dim as f64).powf(-0.5)
    }

    /// The longest sequence in which every token sees all tokens before it, as the forward pass implements it.
    #[must_use]
    pub fn max_len(&self) -> MaxLen {
        match self.sliding_window {
            Some(tokens) if tokens < self.context_len => MaxLen { tokens, reason: "sliding window" },
            _ => MaxLen { tokens: self.context_len, reason: "context length" },
        }
    }

    /// Reads and validates the metadata.
    ///
    /// # Errors
    /// [`super::Error::Metadata`] when the architecture is not implemented, a key is missing, of the wrong type or
    /// unknown, or two sizes contradict each other.
    pub(super) fn read(gguf: &Gguf<'_>, architecture: &'static Architecture) -> Result<Self> {
        let key = |name: &str| architecture.key(name);
        let size = |name: &str| gguf.positive_size(&key(name));
        let real = |name: &str, default| gguf.positive_real(&key(name), default);

        let (hidden_dim, query_heads) = (size("embedding_length")?, size("attention.head_count")?);
        let head_dim = gguf.size(&key("attention.key_length"))?.unwrap_or(hidden_dim / query_heads);
        let rope_theta = real("rope.freq_base", Some(10_000.0))?;
        let context_len = size("context_length")?;
        let original_len = gguf.size(&key("rope.scaling.original_context_length"))?.filter(|&len| len > 0);
        let original_len = original_len.unwrap_or(context_len);
        let rotary_dim = read_rotary_dim(gguf, architecture, head_dim)?;
        let config = Self {
            architecture,
            layers: size("block_count")?,
            query_heads,
            kv_heads: gguf.size(&key("attention.head_count_kv"))?.unwrap_or(query_heads),
            head_dim,
            hidden_dim,
            feed_forward_dim: size("feed_forward_length")?,
            rotary_dim,
            rope_theta,
            rope_scaling: RopeScaling::read(gguf, architecture, (rotary_dim, rope_theta), original_len)?,
            rms_epsilon: real("attention.layer_norm_rms_epsilon", None)?,
            context_len,
            original_len,
            sliding_window: gguf.size(&key("attention.sliding_window"))?.filter(|&tokens| tokens > 0),
        };
        config.check_heads(gguf)?;
        config.check_value_dim(gguf)?;
        Ok(config)
    }

    fn check_heads(&self, gguf: &Gguf<'_>) -> Result<()> {
        if self.kv_heads == 0 || !self.query_heads.is_multiple_of(self.kv_heads) {
            let reason = format!(
                "expected a divisor of the {} query heads, found {}",
                self.query_heads, self.kv_heads
            );
            return Err(gguf.bad(&self.architecture.key("attention.head_count_kv"), reason));
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            let reason = format!("expected an even head dimension, found {}", self.head_dim);
            return Err(gguf.bad(&self.architecture.key("attention.key_length"), reason));
        }
        Ok(())
    }

    fn check_value_dim(&self, gguf: &Gguf<'_>) -> Result<()> {
        let key = self.architecture.key("attention.value_length");
        match gguf.size(&key)? {
            Some(found) if found != self.head_dim => {
                let reason = format!("expected the head dimension {}, found {found}", self.head_dim);
                Err(gguf.bad(&key, reason))
            }
            _ => Ok(()),
        }
    }
}

/// The rotated channels of a head: all of them, or fewer where the architecture allows it.
fn read_rotary_dim(gguf: &Gguf<'_>, architecture: &Architecture, head_dim: usize) -> Result<usize> {
    let key = architecture.key("rope.dimension_count");
    let found = gguf.size(&key)?.unwrap_or(head_dim);
    let is_part = architecture.rotates_part && (2..head_dim).contains(&found) && found.is_multiple_of(2);
    if found == head_dim || is_part {
        return Ok(found);
    }
    let expected = if architecture.rotates_part { "an even number up to the" } else { "the" };
    Err(gguf.bad(&key, format!("expected {expected} head dimension {head_dim}, found {found}")))
}
