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
    /// Whether a model may rotate only the first channels of each head.
    pub(super) rotates_part: bool,
    /// The RMS norms of q and k before their rotation.
    pub(super) query_key_norm: Option<NormWidth>,
    /// The place of the RMS norm of attention and of that of the feed-forward layer.
    pub(super) block_norm: NormPlace,
    /// Whether one tensor holds the rows of q, k and v, and one those of the gate and of what it gates.
    pub(super) fuses_projections: bool,
    /// The tensors that a file may lack, without the `blk.N.` of their layer: a bias then is zero, the embedding takes
    /// the place of `output.weight`, and no rotary frequency is divided.
    pub(super) optional: &'static [&'static str],
}

/// Which of the `r` rotated channels of a head form a pair, `j < r/2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RotaryLayout {
    /// `2j` and `2j + 1`: GGUF permutes the rows of transformers' matrices so.
    Interleaved,
    /// `j` and `j + r/2`, as in transformers.
    Halves,
}

/// The channels over which a norm of q or k takes its mean square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NormWidth {
    /// Those of one head.
    Head,
    /// Those of all heads of q, or of k.
    AllHeads,
}

/// The place of a norm in a residual block `x + f(x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NormPlace {
    /// `x + f(norm(x))`.
    Input,
    /// `x + norm(f(x))`.
    Output,
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
pub static ARCHITECTURES: [Architecture; 5] = [
    // Llama, Mistral and their descendants; from Llama 3.1 on with divisors of the rotary frequencies.
    Architecture {
        name: "llama",
        keys: DECODER_KEYS,
        rotary: RotaryLayout::Interleaved,
        rotates_part: false,
        query_key_norm: None,
        block_norm: NormPlace::Input,
        fuses_projections: false,
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
        rotates_part: false,
        query_key_norm: None,
        block_norm: NormPlace::Input,
        fuses_projections: false,
        optional: &["output.weight", "attn_q.bias", "attn_k.bias", "attn_v.bias"],
    },
    Architecture {
        name: "qwen3",
        keys: DECODER_KEYS,
        rotary: RotaryLayout::Halves,
        rotates_part: false,
        query_key_norm: Some(NormWidth::Head),
        block_norm: NormPlace::Input,
        fuses_projections: false,
        optional: &["output.weight", "attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias"],
    },
    // Phi 3 and 4, for long texts with LongRoPE's two sets of divisors of the rotary frequencies.
    Architecture {
        name: "phi3",
        keys: DECODER_KEYS,
        rotary: RotaryLayout::Halves,
        rotates_part: true,
        query_key_norm: None,
        block_norm: NormPlace::Input,
        fuses_projections: true,
        optional: &["output.weight", "rope_factors_short.weight", "rope_factors_long.weight"],
    },
    Architecture {
        name: "olmo2",
        keys: DECODER_KEYS,
        rotary: RotaryLayout::Halves,
        rotates_part: false,
        query_key_norm: Some(NormWidth::AllHeads),
        block_norm: NormPlace::Output,
        fuses_projections: false,
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
