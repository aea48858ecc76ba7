//! The keys of config.json: those that are read, and those that change nothing, or nothing with one value.

use serde_json::Value;

use crate::model::error::Result;

use super::class::Class;
use super::document::Document;

/// The keys that are read elsewhere.
const READ: &[&str] = &[
    "architectures",
    "eos_token_id",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "tie_word_embeddings",
    "use_sliding_window",
    "vocab_size",
];

/// The keys that describe the file, training or the caller's choices.
const HARMLESS: &[&str] = &[
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attention_dropout",
    "attn_implementation",
    "bos_token_id",
    "chunk_size_feed_forward",
    "dtype",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "label2id",
    "max_window_layers",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "return_dict",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// The keys of features that are not implemented, with the value that switches them off, as JSON.
const OFF: &[(&str, &str)] = &[
    ("add_cross_attention", "false"),
    ("attention_bias", "false"),
    ("full_attn_mod", "1"),
    ("hidden_act", "\"silu\""),
    ("interpolate_factor", "1"),
    ("is_decoder", "false"),
    ("is_encoder_decoder", "false"),
    ("lm_head_bias", "false"),
    ("mlp_bias", "false"),
    ("pretraining_tp", "1"),
    ("pruned_heads", "{}"),
    ("quantization_config", "null"),
    ("rope_interleaved", "false"),
    ("use_mrope", "false"),
];

/// Accepts a config.json whose keys are read or change nothing.
///
/// # Errors
/// [`crate::model::Error::Metadata`] names the first other key.
pub(super) fn check(config: &Document, class: &Class) -> Result<()> {
    let unread = |key: &str| ![READ, HARMLESS, class.keys].iter().any(|keys| keys.contains(&key));
    for (key, value) in config.entries().filter(|(key, _)| unread(key)) {
        let Some((_, off)) = OFF.iter().find(|(name, _)| *name == key) else {
            return Err(config.unsupported(key, "not supported; ignoring it could change the model"));
        };
        if !is_off(value, off) {
            return Err(config.unsupported(key, &format!("{value} is not supported, only {off}")));
        }
    }
    Ok(())
}

/// Whether a value is the one that `off` writes; 1 is 1.0.
fn is_off(value: &Value, off: &str) -> bool {
    match value.as_f64() {
        Some(number) => off.parse() == Ok(number),
        None => serde_json::from_str(off).is_ok_and(|off: Value| off == *value),
    }
}
