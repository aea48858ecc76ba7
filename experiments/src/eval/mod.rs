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
pub mod correlation;
pub mod evaluation;
pub mod evicted;
pub mod evictions;
pub mod fidelity;
pub mod prefilled;
pub mod prompt_layers;
pub mod summary;
pub mod task;
pub mod text;
pub mod unit;

pub use answers::{Answer, evicted_answers, full_answer};
pub use correlation::correlations;
pub use evaluation::Evaluation;
pub use evicted::Evicted;
pub use evictions::Evictions;
pub use fidelity::Fidelity;
pub use prefilled::Prefilled;
pub use prompt_layers::set_sizes;
pub use summary::{EvalStatistic, summarise};
pub use task::EvalTask;
pub use text::text;
pub use unit::{Text, Unit};
