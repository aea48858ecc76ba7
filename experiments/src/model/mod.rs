//! Runs a model from its GGUF file or its snapshot on the CPU and exposes the activations inside attention.
//!
//! ```text
//! source, folder, wheel, foreign, known          path -> ModelFile: the bytes and their digest
//! header, gguf, element                          ModelFile -> metadata and tensors, every length checked
//! snapshot                                       the same from config.json, safetensors files and tokenizer.json
//! stored, linear                                 matrices as their file stores them, and their products
//! architecture, harmless, pre_tokenizer          the tables of what is implemented
//! config, rope_scaling, weights, rope            -> the numbers of a Model
//! vocabulary, steps, byte_level, sentence_piece  the two kinds of tokenizers
//! tokenizer, chat, jinja                         -> the text of a Model
//! forward            tokens -> KvCache, logits   Model::prefill, Model::forward_segments
//! attention, gate    the parts of a layer between its products
//! cache              KvCache::retain             the cache that an eviction leaves
//! generate           logits, KvCache             -> an answer, Model::decode_all
//! observe, capture   post-RoPE queries, KvCache  -> the activations of a dump
//! query_statistics, repeat, supplements          the tensors of a dump that only some policies read
//! ```
//!
//! Weights stay as they are stored and are widened to f32 as they are multiplied; activations and sums are f32, so that they can
//! be compared with those of transformers on the same file. Queries and keys are in the half-split rotary layout of
//! transformers.
//!
//! Results do not depend on the number of threads, nor on the form in which weights are held: work is cut into tasks by its
//! shapes alone, and each sum runs over the whole inner dimension in a fixed order. Results do depend, by rounding, on the
//! vector width of the CPU, on the chunk length of the prefill, and on whether a pass has more than 32 rows.

mod architecture;
mod attention;
mod byte_level;
mod cache;
mod capture;
mod chat;
mod config;
mod element;
mod error;
mod folder;
mod foreign;
mod forward;
mod gate;
mod generate;
mod gguf;
mod harmless;
mod header;
mod jinja;
mod known;
mod lane_sums;
mod linear;
mod observe;
mod pre_tokenizer;
mod query_statistics;
mod regular;
mod repeat;
mod rope;
mod rope_scaling;
mod sentence_piece;
mod snapshot;
mod source;
mod steps;
mod stored;
mod supplements;
mod tensor_file;
pub(crate) mod tokenizer;
mod vocabulary;
mod weights;
mod wheel;

pub use architecture::{ARCHITECTURES, Architecture};
pub use cache::{CacheDtype, HeadCache, KvCache};
pub use capture::{CaptureShape, CapturedLayer, CapturedSample, capture};
pub use chat::ChatTemplate;
pub use config::{Config, MaxLen};
pub use error::{Error, Quantity, Result};
pub use forward::{Model, PREFILL_CHUNK, Segment};
pub use generate::Continuation;
pub use observe::{Observer, Pass, Progress, QueryTap};
pub use query_statistics::QueryStatistics;
pub use repeat::RepeatMaxima;
pub use source::ModelFile;
pub use stored::{ELEMENTS, Matrix};
pub use supplements::{Supplements, Wanted};
pub use tokenizer::Tokenizer;
pub use weights::WeightForm;
