//! The rotary embedding of config.json: its base, its width and its scaling, in the old and in the new spelling.

use crate::model::error::Result;
use crate::model::rope::Divisors;
use crate::model::rope_scaling::{Bands, Interpolation, Ramp, RopeScaling, yarn_length};

use super::document::Document;

/// The numbers of the rotary embedding.
pub(super) struct Rotary {
    pub(super) theta: f32,
    /// The rotated channels of a head.
    pub(super) dim: usize,
    pub(super) scaling: RopeScaling,
    pub(super) divisors: Divisors,
    /// The longest text that the scaling makes of the one that the model was trained for.
    pub(super) context_len: usize,
    /// The length of the first training.
    pub(super) original_len: usize,
}

/// One kind of scaling.
struct Kind {
    /// The values of `rope_type`, or of `type` in the old spelling.
    names: &'static [&'static str],
    /// Its keys, beside those of every kind.
    keys: &'static [&'static str],
    read: fn(&Parameters<'_>) -> Result<(RopeScaling, Divisors)>,
}

static KINDS: [Kind; 5] = [
    Kind { names: &["default"], keys: &[], read: |_| Ok((RopeScaling::NONE, Divisors::default())) },
    Kind { names: &["linear"], keys: &["factor"], read: linear },
    Kind {
        names: &["llama3"],
        keys: &["factor", "high_freq_factor", "low_freq_factor", ORIGINAL_LEN],
        read: llama3,
    },
    Kind {
        names: &["yarn"],
        keys: &[
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "factor",
            "mscale",
            "mscale_all_dim",
            ORIGINAL_LEN,
            "truncate",
        ],
        read: yarn,
    },
    Kind {
        names: &["longrope", "su"],
        keys: &["attention_factor", "factor", "long_factor", ORIGINAL_LEN, "short_factor"],
        read: longrope,
    },
];

const ORIGINAL_LEN: &str = "original_max_position_embeddings";
/// The share of a head's channels that is rotated.
const SHARE: &str = "partial_rotary_factor";
/// The keys of every kind.
const COMMON: [&str; 4] = ["rope_theta", "rope_type", "type", SHARE];

/// What the kinds of scaling read.
struct Parameters<'a> {
    /// The object of the scaling.
    own: &'a Document,
    theta: f32,
    dim: usize,
    /// `max_position_embeddings`.
    max_len: usize,
    /// The length of the first training, if it is stated.
    original_len: Option<usize>,
}

/// Reads the rotary embedding of a class that rotates a part of each head only if `rotates_part`.
///
/// # Errors
/// [`crate::model::Error::Metadata`] when the kind of scaling is not implemented, or a number is missing or malformed.
pub(super) fn read(document: &Document, head_dim: usize, rotates_part: bool) -> Result<Rotary> {
    let key = if document.get("rope_scaling").is_some() { "rope_scaling" } else { "rope_parameters" };
    let own = document.section(key)?;
    let theta = own.positive_real("rope_theta")?.or(document.positive_real("rope_theta")?);
    let theta = theta.unwrap_or(10_000.0);
    let dim = rotary_dim(document, &own, head_dim, rotates_part)?;
    let max_len = document.positive("max_position_embeddings")?;
    let original_len = document.size(ORIGINAL_LEN)?.or(own.size(ORIGINAL_LEN)?).filter(|&len| len > 0);
    let parameters = Parameters { own: &own, theta, dim, max_len, original_len };
    let (scaling, divisors) = (kind(&own)?.read)(&parameters)?;
    let (context_len, original_len) = (parameters.context_len()?, parameters.original_len());
    Ok(Rotary { theta, dim, scaling, divisors, context_len, original_len })
}

/// The kind of scaling, none of whose keys is left unread.
fn kind(own: &Document) -> Result<&'static Kind> {
    let key = if own.get("rope_type").is_some() { "rope_type" } else { "type" };
    let name = own.text(key)?.unwrap_or("default");
    let Some(kind) = KINDS.iter().find(|kind| kind.names.contains(&name)) else {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.names[0]).collect();
        return Err(own.unsupported(key, &format!("'{name}' is not supported, only {}", known.join(", "))));
    };
    let is_read = |key: &str| COMMON.contains(&key) || kind.keys.contains(&key);
    match own.entries().find(|(key, _)| !is_read(key)) {
        Some((key, value)) => {
            Err(own.unsupported(key, &format!("{value} is not supported in a scaling of kind '{name}'")))
        }
        None => Ok(kind),
    }
}

fn rotary_dim(document: &Document, own: &Document, head_dim: usize, rotates_part: bool) -> Result<usize> {
    let place = if own.get(SHARE).is_some() { own } else { document };
    let share =
        place.optional(SHARE, "a positive number", |value| value.as_f64().filter(|&share| share > 0.0))?;
    let share = share.unwrap_or(1.0);
    let dim = (head_dim as f64 * share) as usize;
    if share != 1.0 && !rotates_part {
        return Err(place.unsupported(SHARE, &format!("{share} is not supported, only 1.0")));
    }
    if dim == 0 || !dim.is_multiple_of(2) || dim > head_dim {
        let reason = format!("expected an even share of the head dimension {head_dim}, found {share}");
        return Err(place.bad(SHARE, reason));
    }
    Ok(dim)
}

impl Parameters<'_> {
    fn required(&self, key: &str) -> Result<f32> {
        self.own.required(key, self.own.positive_real(key)?)
    }

    /// The length of the first training; the longest text if no other is stated.
    fn original_len(&self) -> usize {
        self.original_len.unwrap_or(self.max_len)
    }

    /// The factor; the ratio of the two lengths if none is stated.
    fn factor(&self) -> Result<f32> {
        let ratio = self.max_len as f64 / self.original_len() as f64;
        Ok(self.own.positive_real("factor")?.unwrap_or(ratio as f32))
    }

    fn context_len(&self) -> Result<usize> {
        let factor = f64::from(self.own.positive_real("factor")?.unwrap_or(1.0));
        Ok(self.max_len.max((self.original_len() as f64 * factor) as usize))
    }
}

fn linear(parameters: &Parameters<'_>) -> Result<(RopeScaling, Divisors)> {
    let interpolation = Interpolation::Linear { factor: parameters.required("factor")? };
    Ok((RopeScaling { interpolation, ..RopeScaling::NONE }, Divisors::default()))
}

fn llama3(parameters: &Parameters<'_>) -> Result<(RopeScaling, Divisors)> {
    let [low, high] = ["low_freq_factor", "high_freq_factor"].map(|key| parameters.required(key));
    let bands = Bands { low: low?, high: high?, original_len: parameters.original_len() as f32 };
    if bands.low >= bands.high {
        let reason = format!("expected more than low_freq_factor {}, found {}", bands.low, bands.high);
        return Err(parameters.own.bad("high_freq_factor", reason));
    }
    let interpolation = Interpolation::Llama3 { factor: parameters.required("factor")?, bands };
    Ok((RopeScaling { interpolation, ..RopeScaling::NONE }, Divisors::default()))
}

fn yarn(parameters: &Parameters<'_>) -> Result<(RopeScaling, Divisors)> {
    let &Parameters { own, theta, dim, .. } = parameters;
    let turns =
        [own.positive_real("beta_fast")?.unwrap_or(32.0), own.positive_real("beta_slow")?.unwrap_or(1.0)];
    let whole = own.flag("truncate")?.unwrap_or(true);
    let (factor, ramp) =
        (parameters.factor()?, Ramp::new(dim, theta, parameters.original_len(), turns, whole));
    let inferred = match (own.positive_real("mscale")?, own.positive_real("mscale_all_dim")?) {
        (Some(mscale), Some(all)) => yarn_length(factor, mscale) / yarn_length(factor, all),
        _ => yarn_length(factor, 1.0),
    };
    let attention_factor = own.positive_real("attention_factor")?.unwrap_or(inferred);
    let interpolation = Interpolation::Yarn { factor, ramp };
    Ok((RopeScaling { interpolation, attention_factor }, Divisors::default()))
}

fn longrope(parameters: &Parameters<'_>) -> Result<(RopeScaling, Divisors)> {
    let &Parameters { own, dim, .. } = parameters;
    let divisors = |key| own.required(key, own.positive_reals(key, dim / 2)?);
    let original_len = own.required(ORIGINAL_LEN, parameters.original_len.filter(|&len| len > 1))?;
    let divisors = Divisors {
        all: Some(divisors("short_factor")?),
        long: Some((original_len, divisors("long_factor")?)),
    };
    let factor = f64::from(parameters.factor()?);
    let inferred = (1.0 + factor.max(1.0).ln() / (original_len as f64).ln()).sqrt() as f32;
    let attention_factor = own.positive_real("attention_factor")?.unwrap_or(inferred);
    Ok((RopeScaling { attention_factor, ..RopeScaling::NONE }, divisors))
}
