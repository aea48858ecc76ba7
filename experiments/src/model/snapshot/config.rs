//! A model's hyperparameters, from config.json.

use serde_json::Value;

use crate::model::config::Config;
use crate::model::error::Result;
use crate::model::rope_scaling::RopeScaling;

use super::class::Class;
use super::document::Document;
use super::keys;

/// The hyperparameters, and the number of rows of the embedding.
///
/// # Errors
/// [`crate::model::Error::Metadata`] when a key is missing, of the wrong type or unknown, two sizes contradict each other,
/// or a value asks for arithmetic that is not implemented.
pub(super) fn read(document: &Document, class: &Class) -> Result<(Config, usize)> {
    keys::check(document)?;
    let (hidden_dim, query_heads) =
        (document.positive("hidden_size")?, document.positive("num_attention_heads")?);
    let kv_heads = document.size("num_key_value_heads")?;
    let kv_heads = kv_heads.or(class.defaults_to_own_kv_heads.then_some(query_heads));
    let config = Config {
        architecture: class.architecture(),
        layers: document.positive("num_hidden_layers")?,
        query_heads,
        kv_heads: document.required("num_key_value_heads", kv_heads)?,
        head_dim: document.size("head_dim")?.unwrap_or(hidden_dim / query_heads),
        hidden_dim,
        feed_forward_dim: document.positive("intermediate_size")?,
        rope_theta: rope_theta(document)?.unwrap_or(10_000.0),
        rope_scaling: RopeScaling::NONE,
        rms_epsilon: document.required("rms_norm_eps", real(document, "rms_norm_eps")?)?,
        context_len: document.positive("max_position_embeddings")?,
        sliding_window: None,
    };
    check_heads(document, &config)?;
    check_window(document, class, config.context_len)?;
    Ok((config, document.positive("vocab_size")?))
}

fn real(document: &Document, key: &str) -> Result<Option<f32>> {
    document.optional(key, "a positive number", positive_real)
}

fn positive_real(value: &Value) -> Option<f32> {
    value.as_f64().map(|real| real as f32).filter(|real| real.is_finite() && *real > 0.0)
}

/// The base of the rotary frequencies, a key of its own or a part of the rotary parameters, which name no scaling.
fn rope_theta(document: &Document) -> Result<Option<f32>> {
    let mut theta = real(document, "rope_theta")?;
    for key in ["rope_scaling", "rope_parameters"] {
        let parameters = document.optional(key, "an object", Value::as_object)?;
        for (name, value) in parameters.into_iter().flatten() {
            match name.as_str() {
                "rope_theta" if positive_real(value).is_some() => theta = positive_real(value),
                "rope_type" | "type" if value == "default" => {}
                "partial_rotary_factor" if value.as_f64() == Some(1.0) => {}
                _ => {
                    let scaling = parameters.and_then(|all| all.get("rope_type").or(all.get("type")));
                    let scaling = scaling.map_or_else(String::new, |scaling| format!(" of {scaling}"));
                    let reason = format!("{name} {value}{scaling} is not supported, only unscaled rotation");
                    return Err(document.unsupported(key, &reason));
                }
            }
        }
    }
    Ok(theta)
}

fn check_heads(document: &Document, config: &Config) -> Result<()> {
    let &Config { query_heads, kv_heads, head_dim, .. } = config;
    if kv_heads == 0 || !query_heads.is_multiple_of(kv_heads) {
        let reason = format!("expected a divisor of the {query_heads} query heads, found {kv_heads}");
        return Err(document.bad("num_key_value_heads", reason));
    }
    if head_dim == 0 || !head_dim.is_multiple_of(2) {
        return Err(document.bad("head_dim", format!("expected an even head dimension, found {head_dim}")));
    }
    Ok(())
}

/// Refuses a window through which a token would not see the whole context.
fn check_window(document: &Document, class: &Class, context_len: usize) -> Result<()> {
    let slides = document.flag("use_sliding_window")?.unwrap_or(class.slides);
    match document.size("sliding_window")?.filter(|_| slides) {
        Some(window) if window < context_len => {
            let reason = format!("{window} is not supported below the context length {context_len}");
            return Err(document.unsupported("sliding_window", &reason));
        }
        _ => {}
    }
    let layers = document.optional("layer_types", "a list", Value::as_array)?;
    match layers.into_iter().flatten().find(|layer| *layer != "full_attention") {
        Some(other) => {
            let reason = format!("{other} is not supported, only \"full_attention\"");
            Err(document.unsupported("layer_types", &reason))
        }
        None => Ok(()),
    }
}
