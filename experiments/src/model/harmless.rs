//! Metadata of features that are not implemented, with the values that switch them off.

use super::header::Value;

/// The values of a key that leave the arithmetic of an architecture as it is.
enum Off {
    /// Any: the key describes the model and is read by nothing.
    Always,
    /// These numbers; a truth value counts as 0 or 1.
    Numbers(&'static [f64]),
    /// These texts.
    Texts(&'static [&'static str]),
}

/// The keys below the architecture's name.
const KEYS: &[(&str, Off)] = &[
    ("attention.causal", Off::Numbers(&[1.0])),
    ("attention.clamp_kqv", Off::Numbers(&[0.0])),
    ("attention.max_alibi_bias", Off::Numbers(&[0.0])),
    ("attention.scale", Off::Numbers(&[0.0])),
    ("attn_logit_softcapping", Off::Numbers(&[0.0])),
    ("embedding_scale", Off::Numbers(&[0.0, 1.0])),
    ("expert_count", Off::Numbers(&[0.0])),
    ("expert_feed_forward_length", Off::Numbers(&[0.0])),
    ("expert_group_count", Off::Numbers(&[0.0])),
    ("expert_group_used_count", Off::Numbers(&[0.0])),
    ("expert_shared_count", Off::Numbers(&[0.0])),
    ("expert_shared_feed_forward_length", Off::Numbers(&[0.0])),
    ("expert_used_count", Off::Numbers(&[0.0])),
    ("expert_weights_scale", Off::Numbers(&[0.0, 1.0])),
    ("final_logit_softcapping", Off::Numbers(&[0.0])),
    ("leading_dense_block_count", Off::Numbers(&[0.0])),
    ("logit_scale", Off::Numbers(&[0.0, 1.0])),
    ("nextn_predict_layers", Off::Numbers(&[0.0])),
    ("pooling_type", Off::Numbers(&[0.0])),
    ("residual_scale", Off::Numbers(&[0.0, 1.0])),
    ("rope.scaling.finetuned", Off::Always),
    ("rope.scaling.yarn_attn_factor", Off::Numbers(&[1.0])),
    ("rope.scaling.yarn_ext_factor", Off::Numbers(&[1.0])),
    ("rope.scaling.yarn_log_multiplier", Off::Numbers(&[0.0])),
    ("swin_norm", Off::Numbers(&[0.0])),
    ("tensor_data_layout", Off::Texts(&["Meta AI original pth", "reference"])),
    ("use_parallel_residual", Off::Numbers(&[0.0])),
];

/// Accepts a key whose value changes nothing.
///
/// # Errors
/// Says which values would.
pub(super) fn check(key: &str, value: Value<'_>) -> Result<(), String> {
    let Some((_, off)) = KEYS.iter().find(|(name, _)| *name == key) else {
        return Err("not supported; ignoring it could change the model".to_owned());
    };
    let (is_off, values) = match off {
        Off::Always => return Ok(()),
        Off::Numbers(numbers) => {
            let names = numbers.iter().map(f64::to_string).collect::<Vec<_>>();
            (value.number().is_some_and(|number| numbers.contains(&number)), names)
        }
        Off::Texts(texts) => {
            let names = texts.iter().map(|text| format!("'{text}'")).collect();
            (value.text().is_some_and(|text| texts.contains(&&*text)), names)
        }
    };
    if is_off { Ok(()) } else { Err(format!("not supported, only {}", values.join(" or "))) }
}
