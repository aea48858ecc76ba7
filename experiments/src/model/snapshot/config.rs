//! A model's hyperparameters, from config.json.

use serde_json::Value;

use crate::model::config::Config;
use crate::model::error::Result;
use crate::model::rope::Divisors;

use super::class::Class;
use super::document::Document;
use super::keys;
use super::rotary::{self, Rotary};

/// What config.json says of a model.
pub(super) struct Described {
    pub(super) config: Config,
    /// The divisors of the rotary frequencies.
    pub(super) divisors: Divisors,
    /// The number of rows of the embedding.
    pub(super) vocabulary_len: usize,
}

/// Reads and validates config.json.
///
/// # Errors
/// [`crate::model::Error::Metadata`] when a key is missing, of the wrong type or unknown, two sizes contradict each other,
/// or a value asks for arithmetic that is not implemented.
pub(super) fn read(document: &Document, class: &Class) -> Result<Described> {
    keys::check(document, class)?;
    let (hidden_dim, query_heads) =
        (document.positive("hidden_size")?, document.positive("num_attention_heads")?);
    let kv_heads = document.size("num_key_value_heads")?;
    let kv_heads = kv_heads.or(class.defaults_to_own_kv_heads.then_some(query_heads));
    let head_dim = document.size("head_dim")?.or(class.head_dim).unwrap_or(hidden_dim / query_heads);
    let kv_heads = document.required("num_key_value_heads", kv_heads)?;
    check_heads(document, query_heads, kv_heads, head_dim)?;
    let architecture = class.architecture();
    let Rotary { theta, dim, scaling, divisors, context_len, original_len } =
        rotary::read(document, head_dim, architecture.rotates_part)?;
    let config = Config {
        architecture,
        layers: document.positive("num_hidden_layers")?,
        query_heads,
        kv_heads,
        head_dim,
        hidden_dim,
        feed_forward_dim: document.positive("intermediate_size")?,
        rotary_dim: dim,
        rope_theta: theta,
        rope_scaling: scaling,
        rms_epsilon: document.required("rms_norm_eps", document.positive_real("rms_norm_eps")?)?,
        context_len,
        original_len,
        sliding_window: sliding_window(document, class)?,
    };
    check_layer_types(document)?;
    Ok(Described { config, divisors, vocabulary_len: document.positive("vocab_size")? })
}

fn check_heads(document: &Document, query_heads: usize, kv_heads: usize, head_dim: usize) -> Result<()> {
    if kv_heads == 0 || !query_heads.is_multiple_of(kv_heads) {
        let reason = format!("expected a divisor of the {query_heads} query heads, found {kv_heads}");
        return Err(document.bad("num_key_value_heads", reason));
    }
    if head_dim == 0 || !head_dim.is_multiple_of(2) {
        return Err(document.bad("head_dim", format!("expected an even head dimension, found {head_dim}")));
    }
    Ok(())
}

/// The number of last tokens to which a token attends in some layer; `None` for all.
fn sliding_window(document: &Document, class: &Class) -> Result<Option<usize>> {
    let slides = document.flag("use_sliding_window")?.unwrap_or(class.slides);
    Ok(document.size("sliding_window")?.filter(|&window| slides && window > 0))
}

fn check_layer_types(document: &Document) -> Result<()> {
    let layers = document.optional("layer_types", "a list", Value::as_array)?;
    match layers.into_iter().flatten().find(|layer| *layer != "full_attention") {
        Some(other) => {
            let reason = format!("{other} is not supported, only \"full_attention\"");
            Err(document.unsupported("layer_types", &reason))
        }
        None => Ok(()),
    }
}
