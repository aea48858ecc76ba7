//! What can be wrong with the data or the request; a panic is always a bug of this crate.

use crate::shape::{KvHead, LayerIndex, Position};

/// A refusal that carries the values it is about.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A size that breaks a rule.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// Which size.
        what: &'static str,
        /// The rule.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A number that is NaN or infinite where only finite ones make sense.
    #[error("{what}: element {index} is not finite")]
    NonFinite {
        /// Which tensor.
        what: &'static str,
        /// Its flat index.
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
