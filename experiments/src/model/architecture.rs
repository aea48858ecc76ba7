//! The architectures that the forward pass implements: one row of a table per architecture.

use super::error::Result;
use super::gguf::Gguf;
use super::harmless;

/// What sets one architecture apart from another. A file that asks for more than its row lists is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The value of `general.architecture`, which is also the first part of the metadata keys.
    pub name: &'static str,
    /// The metadata keys below `NAME.` whose meaning is implemented. Any other may change the arithmetic (a soft cap,
    /// experts), unless its value is that of a model without it.
    pub(super) keys: &'static [&'static str],
    /// How the file orders the rotary channels of `attn_q` and `attn_k`.
    pub(super) rotary: RotaryLayout,
    /// Whether each head of q and k passes an RMS norm before its rotation.
    pub(super) norms_heads: bool,
    /// The tensors that a file may lack, without the `blk.N.` of their layer: a bias then is zero, the embedding takes
    /// the place of `output.weight`, and no rotary frequency is divided.
    pub(super) optional: &'static [&'static str],
}

/// Which channels of a head form a rotated pair, `j < d/2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RotaryLayout {
    /// `2j` and `2j + 1`: GGUF permutes the rows of transformers' matrices so.
    Interleaved,
    /// `j` and `j + d/2`, as in transformers.
    Halves,
}

/// The keys of a decoder with one attention over all positions and one feed-forward layer.
const DECODER_KEYS: &[&str] = &[
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "vocab_size",
];

/// Every architecture.
pub static ARCHITECTURES: [Architecture; 3] = [
    // Llama, Mistral and their descendants; from Llama 3.1 on with divisors of the rotary frequencies.
    Architecture {
        name: "llama",
        keys: DECODER_KEYS,
        rotary: RotaryLayout::Interleaved,
        norms_heads: false,
        optional: &[
            "output.weight",
            "rope_freqs.weight",
            "attn_q.bias",
            "attn_k.bias",
            "attn_v.bias",
            "attn_output.bias",
            "ffn_gate.bias",
            "ffn_up.bias",
            "ffn_down.bias",
        ],
    },
    // Qwen2 and Qwen2.5.
    Architecture {
        name: "qwen2",
        keys: DECODER_KEYS,
        rotary: RotaryLayout::Halves,
        norms_heads: false,
        optional: &["output.weight", "attn_q.bias", "attn_k.bias", "attn_v.bias"],
    },
    Architecture {
        name: "qwen3",
        keys: DECODER_KEYS,
        rotary: RotaryLayout::Halves,
        norms_heads: true,
        optional: &["output.weight", "attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias"],
    },
];

impl Architecture {
    /// Finds the row of a file.
    ///
    /// # Errors
    /// [`super::Error::Metadata`] when the file names no architecture or another one, or has a metadata key that the row
    /// does not list, with a value that matters.
    pub(super) fn read(gguf: &Gguf<'_>) -> Result<&'static Self> {
        const KEY: &str = "general.architecture";
        let name = gguf.required(KEY, gguf.text(KEY)?)?;
        let Some(architecture) = ARCHITECTURES.iter().find(|row| row.name == name) else {
            let known: Vec<String> = ARCHITECTURES.iter().map(|row| format!("'{}'", row.name)).collect();
            return Err(gguf.bad(KEY, format!("'{name}' is not supported, only {}", known.join(", "))));
        };
        let prefix = architecture.key("");
        for (key, value) in gguf.metadata(&prefix) {
            let below = &key[prefix.len()..];
            if !architecture.keys.contains(&below) {
                harmless::check(below, value).map_err(|reason| gguf.bad(key, reason))?;
            }
        }
        Ok(architecture)
    }

    /// `NAME.key`, a metadata key of this architecture.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }
}
