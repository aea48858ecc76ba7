//! End to end: prefill once, evict under every policy and budget, continue from what is left.
//!
//! ```text
//! tokens -> Prefilled -> Evictions -> Continuation of each retained set -> answers, or the text's own next tokens
//!           [`prefilled`] [`evictions`]                                      [`answers`]  [`fidelity`]
//! ```
//!
//! Whatever is evicted is evicted after the prefill, as the model computed it: later tokens keep their positions and see
//! only what was retained.

pub mod answers;
pub mod evictions;
pub mod fidelity;
pub mod prefilled;

pub use answers::{Answers, answer};
pub use evictions::{Evicted, Evictions};
pub use fidelity::Fidelity;
pub use prefilled::Prefilled;
