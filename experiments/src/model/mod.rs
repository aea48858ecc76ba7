//! Runs a model from its GGUF file on the CPU and shows what happens inside attention.
//!
//! ```text
//! ModelFile -> Model { Config, Tokenizer, ChatTemplate, weights }
//! text -> Tokenizer -> Model::prefill -> KvCache, logits -> Model::decode -> text
//!                            |
//!                            Observer: post-RoPE queries -> capture -> an activation dump
//! ```
//!
//! The weights are dequantised to f32 and every product is an f32 product, so that activations can be compared with
//! those of transformers on the same file. Queries and keys are in the half-split rotary layout of transformers.
//!
//! Results do not depend on the number of threads: candle divides a product into tiles whose sums run over the whole
//! inner dimension in a fixed order, and threads only share out the tiles. They do depend, by rounding, on the
//! vector width of the CPU and on the chunk length of the prefill.

mod attention;
mod cache;
mod capture;
mod chat;
mod config;
mod error;
mod forward;
mod generate;
mod gguf;
mod known;
mod observe;
mod rope;
mod source;
mod tokenizer;
mod weights;
mod wheel;

pub use cache::{HeadCache, KvCache};
pub use capture::{CaptureShape, CapturedLayer, CapturedSample, capture};
pub use chat::{ChatTemplate, Message};
pub use config::{Architecture, Config};
pub use error::{Error, Result};
pub use forward::{Model, PREFILL_CHUNK, Segment};
pub use generate::Continuation;
pub use observe::{Observer, Progress, QueryTap};
pub use source::ModelFile;
pub use tokenizer::Tokenizer;
