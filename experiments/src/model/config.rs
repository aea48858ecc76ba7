//! A model's hyperparameters, from the GGUF metadata.

use super::error::Result;
use super::gguf::Gguf;

/// The architectures that the forward pass implements. They differ in the rotary layout of the stored weights and in
/// the biases on q, k and v, which are used where the file has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama and its descendants; GGUF stores q and k for the interleaved rotary layout.
    Llama,
    /// Qwen2 and Qwen2.5; q and k are stored for the half-split layout.
    Qwen2,
}

/// The sizes and constants of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which forward pass.
    pub architecture: Architecture,
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
    /// The base of the rotary frequencies.
    pub rope_theta: f32,
    /// What the RMS norm adds to the mean square.
    pub rms_epsilon: f32,
    /// The longest sequence that the model was trained for.
    pub context_len: usize,
}

/// The keys below `<architecture>.` whose meaning is implemented. Any other may change the arithmetic (a sliding
/// window, a soft cap, experts), so it is refused rather than ignored.
const SUPPORTED_KEYS: [&str; 13] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "vocab_size",
];

impl Config {
    /// `H / Hkv`, the query heads that share a KV head.
    #[must_use]
    pub fn group_size(&self) -> usize {
        self.query_heads / self.kv_heads
    }

    /// `1 / sqrt(d)`, what the products of queries and keys are multiplied by.
    #[must_use]
    pub fn attention_scale(&self) -> f32 {
        (self.head_dim as f32).sqrt().recip()
    }

    /// Reads and validates the metadata.
    ///
    /// # Errors
    /// [`super::Error::Metadata`] when the architecture is not implemented, a key is missing, of the wrong type or
    /// unknown, or two sizes contradict each other.
    pub(super) fn read(gguf: &Gguf<'_>) -> Result<Self> {
        let (architecture, prefix) = read_architecture(gguf)?;
        refuse_unknown_keys(gguf, prefix)?;
        let size = |key: &str| positive(gguf, &format!("{prefix}.{key}"));
        let real = |key: &str, default| read_real(gguf, &format!("{prefix}.{key}"), default);

        let (hidden_dim, query_heads) = (size("embedding_length")?, size("attention.head_count")?);
        let config = Self {
            architecture,
            layers: size("block_count")?,
            query_heads,
            kv_heads: optional_size(gguf, prefix, "attention.head_count_kv")?.unwrap_or(query_heads),
            head_dim: optional_size(gguf, prefix, "attention.key_length")?
                .unwrap_or(hidden_dim / query_heads),
            hidden_dim,
            feed_forward_dim: size("feed_forward_length")?,
            rope_theta: real("rope.freq_base", Some(10_000.0))?,
            rms_epsilon: real("attention.layer_norm_rms_epsilon", None)?,
            context_len: size("context_length")?,
        };
        config.check_heads(gguf, prefix)?;
        config.check_rope(gguf, prefix)?;
        Ok(config)
    }

    fn check_heads(&self, gguf: &Gguf<'_>, prefix: &str) -> Result<()> {
        if self.kv_heads == 0 || !self.query_heads.is_multiple_of(self.kv_heads) {
            let reason = format!(
                "expected a divisor of the {} query heads, found {}",
                self.query_heads, self.kv_heads
            );
            return Err(gguf.bad(&format!("{prefix}.attention.head_count_kv"), reason));
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            let reason = format!("expected an even head dimension, found {}", self.head_dim);
            return Err(gguf.bad(&format!("{prefix}.attention.key_length"), reason));
        }
        self.check_head_dim(gguf, prefix, "attention.value_length")
    }

    fn check_rope(&self, gguf: &Gguf<'_>, prefix: &str) -> Result<()> {
        let key = format!("{prefix}.rope.scaling.type");
        if let Some(scaling) = gguf.text(&key)?.filter(|&scaling| scaling != "none") {
            return Err(gguf.bad(&key, format!("'{scaling}' is not supported, only 'none'")));
        }
        self.check_head_dim(gguf, prefix, "rope.dimension_count")
    }

    fn check_head_dim(&self, gguf: &Gguf<'_>, prefix: &str, key: &str) -> Result<()> {
        match optional_size(gguf, prefix, key)? {
            Some(found) if found != self.head_dim => {
                let reason = format!("expected the head dimension {}, found {found}", self.head_dim);
                Err(gguf.bad(&format!("{prefix}.{key}"), reason))
            }
            _ => Ok(()),
        }
    }
}

fn read_architecture(gguf: &Gguf<'_>) -> Result<(Architecture, &'static str)> {
    const KEY: &str = "general.architecture";
    match gguf.required(KEY, gguf.text(KEY)?)? {
        "llama" => Ok((Architecture::Llama, "llama")),
        "qwen2" => Ok((Architecture::Qwen2, "qwen2")),
        other => Err(gguf.bad(KEY, format!("'{other}' is not supported, only 'llama' and 'qwen2'"))),
    }
}

fn refuse_unknown_keys(gguf: &Gguf<'_>, prefix: &str) -> Result<()> {
    let prefix = format!("{prefix}.");
    for key in gguf.keys(&prefix) {
        if !SUPPORTED_KEYS.contains(&&key[prefix.len()..]) {
            return Err(gguf.bad(key, "not supported; ignoring it could change the model".to_owned()));
        }
    }
    Ok(())
}

fn optional_size(gguf: &Gguf<'_>, prefix: &str, key: &str) -> Result<Option<usize>> {
    gguf.size(&format!("{prefix}.{key}"))
}

fn positive(gguf: &Gguf<'_>, key: &str) -> Result<usize> {
    let size = gguf.required(key, gguf.size(key)?)?;
    if size == 0 { Err(gguf.bad(key, "expected at least 1, found 0".to_owned())) } else { Ok(size) }
}

fn read_real(gguf: &Gguf<'_>, key: &str, default: Option<f32>) -> Result<f32> {
    let real = gguf.required(key, gguf.real(key)?.or(default))?;
    if real.is_finite() && real > 0.0 {
        return Ok(real);
    }
    Err(gguf.bad(key, format!("expected a positive number, found {real}")))
}
