//! The definition of LaProx: which cached keys and values must stay so that a layer's output changes least.
//!
//! One attention layer's output over the window is one matrix product with inner dimension `H * n`,
//!
//! ```text
//! O = sum_h A_h B_h,    A_h = softmax(Q_h K^T * scale + causal mask),    B_h = V_{h/G} W_h
//! ```
//!
//! Evicting a slot (layer, KV head, position) removes the column-row pairs of its query group from this product. This
//! crate computes the cost in f64, as the equations are written. It has no threads and no unsafe code. Its stages
//! follow the equations; the limits of the oracles' searches are tuned. Other paths compute the same stages fast. The
//! data flows
//!
//! ```text
//! LayerProblem -> attend, project -> score -> cut (allocate, select) -> RetainedSet -> evaluate -> OutputErrors
//! ```
//!
//! # Modules, in reading order
//!
//! | part | modules |
//! |---|---|
//! | words | [`shape`], [`tensor`], [`error`], [`quantity`], [`parameter`], [`budget`], [`pool`], [`rounding`], [`output_error`], [`retained`], [`reweighting`] |
//! | data: a layer as captured, and in f64 | [`problem`], [`supplement`], [`layer`] |
//! | stages | [`attend`], [`lookahead`], [`project`], [`columns`], [`group`], [`statistic`], [`score`], [`scores`], [`allocations`], [`select`], [`mod@draw`], [`mod@cut`], [`refit`], [`evaluate`] |
//! | the table of policies, and their syntax | [`options`], [`policy`], [`policies`] |
//! | the best eviction, or a proof of the distance to it | [`oracle`] |
//! | the seam that other paths fill | [`scored`], [`backend`] |
//! | from many layers to sets and errors | [`tasks`], [`layers`], [`search`], [`shrink`], [`pipeline`] |
//! | the statements B1 to B10, evaluated | [`bounds`] |
//! | the claims that every path must satisfy (feature `conformance`) | `conformance` |
//!
//! # Example
//!
//! ```
#![doc = include_str!("../tests/simple.rs")]
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod allocations;
pub mod attend;
pub mod backend;
pub mod bounds;
pub mod budget;
pub mod columns;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod cut;
pub mod draw;
pub mod error;
pub mod evaluate;
pub mod group;
pub mod layer;
pub mod layers;
pub mod lookahead;
pub mod options;
pub mod oracle;
pub mod output_error;
pub mod parameter;
pub mod pipeline;
pub mod policies;
pub mod policy;
pub mod pool;
pub mod problem;
pub mod project;
pub mod protected;
pub mod quantity;
pub mod refit;
pub mod retained;
pub mod reweighting;
pub mod rounding;
pub mod score;
pub mod scored;
pub mod scores;
pub mod search;
pub mod select;
pub mod shape;
pub mod shrink;
pub mod statistic;
pub mod supplement;
pub mod tasks;
pub mod tensor;

pub use allocations::Allocation;
pub use backend::{Backend, Lazy, PackedRows, PreparedLayer, Reference, ReferenceLayer};
pub use budget::{Budget, CandidatesPerHead, EntriesPerHead};
pub use cut::cut;
pub use error::Error;
pub use layers::{InMemory, Layers};
pub use lookahead::Lookahead;
pub use options::{Base, GroupRule, OptionKey, OptionList, PolicyOptions, Refit, Shrinkage};
pub use output_error::{Form, ObjectiveError, OutputError, OutputErrors};
pub use parameter::{Parameter, Parameters};
pub use pipeline::{Searched, Searching};
pub use policies::POLICIES;
pub use policy::{Oracle, Policy, PolicyEntry, Rule, Source};
pub use pool::{Pool, PoolStage, Pooling};
pub use problem::{Activations, LayerProblem};
pub use quantity::{Size, Supplement, Tensor};
pub use retained::{LayerRetained, RetainedSet};
pub use reweighting::Reweighting;
pub use score::{Family, Score, ScoreEntry, ScoreRule};
pub use scored::{LayerScores, OnDevice, Scored};
pub use scores::{FiniteScores, HeadScores, ModelScores, Normaliser};
pub use shape::{KvHead, LayerIndex, LayerOrdinal, LayerShape, Position, QueryHead};
pub use statistic::Statistic;
pub use supplement::Supplements;
pub use tasks::{InTurn, Tasks};
pub use tensor::{Elements, TensorView};
