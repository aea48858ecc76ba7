//! What can be wrong with the data or the request; a panic is always a bug of this crate.

use crate::quantity::{Size, Tensor};
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
        /// What was there.
        found: String,
    },
    /// Extents or counts that do not fit together.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The thing that does not fit, for people only.
        what: &'static str,
        /// The rule.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A number that is NaN or infinite where only finite ones make sense.
    #[error("{tensor}: element {index} is not finite")]
    NonFinite {
        /// The tensor.
        tensor: Tensor,
        /// The number's index in C order.
        index: usize,
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
    /// A budget that does not leave room for the window, or is not a budget.
    #[error("budget {budget}: {reason}")]
    Budget {
        /// The budget as written.
        budget: String,
        /// Why not.
        reason: String,
    },
    /// What a path cannot do with a problem on this machine.
    #[error("--path {path}: {reason}")]
    Path {
        /// The path's name.
        path: &'static str,
        /// Why not.
        reason: String,
    },
    /// A policy, an option or a value that does not exist.
    #[error("policy '{policy}': {reason}")]
    Policy {
        /// The policy as written.
        policy: String,
        /// Why not, and what would have been possible.
        reason: String,
    },
}
