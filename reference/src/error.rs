//! The errors of bad data and requests. A panic is a bug: here, or in a caller that breaks a documented `# Panics`.

use std::fmt::Display;

use crate::quantity::{Size, Supplement, Tensor};
use crate::shape::{KvHead, LayerIndex, Position};

/// A refusal that carries the values it is about.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A size of a layer that breaks a rule of [`LayerShape::validate`](crate::LayerShape::validate).
    #[error("{size}: expected {expected}, found {found}")]
    Size {
        /// The size.
        size: Size,
        /// The rule.
        expected: String,
        /// The value found.
        found: String,
    },
    /// Extents or counts that do not fit together.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The thing that does not fit, for people only.
        what: &'static str,
        /// The rule.
        expected: String,
        /// The value found.
        found: String,
    },
    /// A number that is NaN or infinite in a tensor of finite ones.
    #[error("{tensor}: element {index} is not finite")]
    NonFinite {
        /// The tensor.
        tensor: Tensor,
        /// The number's index in C order.
        index: usize,
    },
    /// A tensor that a capture may leave out, and that is missing where a policy reads it, or is not as it should be.
    #[error("{supplement}: expected {expected}, found {found}")]
    Supplement {
        /// The tensor.
        supplement: Supplement,
        /// The rule.
        expected: String,
        /// The thing found.
        found: String,
    },
    /// A score that is NaN or infinite.
    #[error(
        "score of layer {layer}, KV head {kv_head}, position {position} is {value}, expected a finite number"
    )]
    Score {
        /// The slot's layer.
        layer: LayerIndex,
        /// The slot's KV head.
        kv_head: KvHead,
        /// The slot's position.
        position: Position,
        /// The score.
        value: f64,
    },
    /// A quantity of a layer that f64 does not hold.
    #[error("{quantity} of layer {layer} is {value:e}, beyond the range of f64")]
    Range {
        /// The layer.
        layer: LayerIndex,
        /// The quantity.
        quantity: &'static str,
        /// Its value as computed.
        value: f64,
    },
    /// A search that had to end before it had a result.
    #[error("the search was stopped")]
    Stopped,
    /// A budget that cannot be read, or that leaves no room beyond the window.
    #[error("budget {budget}: {reason}")]
    Budget {
        /// The budget as written.
        budget: String,
        /// Why not.
        reason: String,
    },
    /// A problem that a path cannot take on, or a failure of its device.
    #[error("--path {path}: {reason}")]
    Path {
        /// The path's name.
        path: &'static str,
        /// Why not.
        reason: String,
    },
    /// A policy, an option or a value that does not exist or does not fit the request.
    #[error("policy '{policy}': {reason}")]
    Policy {
        /// The policy as written.
        policy: String,
        /// Why not, and which names or values exist.
        reason: String,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// [`Error::Shape`], the rule and the value found in words.
    pub(crate) fn shape(what: &'static str, expected: impl Display, found: impl Display) -> Self {
        Self::Shape { what, expected: expected.to_string(), found: found.to_string() }
    }
}

/// A number that f64 holds.
///
/// # Errors
/// [`Error::Range`] when it is NaN or infinite.
pub fn finite(layer: LayerIndex, quantity: &'static str, value: f64) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(Error::Range { layer, quantity, value }) }
}

/// The same for many numbers.
///
/// # Errors
/// [`Error::Range`] carries the first one that is NaN or infinite.
pub fn all_finite<'a>(
    layer: LayerIndex,
    quantity: &'static str,
    values: impl IntoIterator<Item = &'a f64>,
) -> Result<()> {
    values.into_iter().try_for_each(|&value| finite(layer, quantity, value).map(drop))
}
