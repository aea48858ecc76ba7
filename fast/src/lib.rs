//! The stages of `laprox-reference` at the speed of the machine.
//!
//! Scores and errors are computed in f32, streaming: nothing of the size `H w n` or `n D` is ever held. Every kernel is
//! written once and runs at the best [`Level`] of the machine; blocks have fixed sizes and are joined in order, so results do
//! not depend on the number of threads. How far they may be from the reference is derived in
//! `laprox_reference::conformance::rounding` and tested there.
//!
//! ```text
//! attend   columns of A, two passes over blocks of keys           attend, columns
//! project  norm2(v W_h) through the Cholesky factor of W_h W_h^T  project, factor
//! score    families of policies from these                        score, removed, centred
//! select   exact cuts by radix selection                          select
//! evaluate errors from two softmax averages per row               evaluate, average
//! ```
//!
//! A policy that is in none of the families is scored by the reference, on the same layer, widened to f64 when it is first
//! needed; so are layers whose numbers f32 does not carry. The oracles compute in f64: a certificate is a proof.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod attend;
mod average;
mod centred;
pub mod columns;
mod combine;
mod evaluate;
mod factor;
pub mod gram;
mod group;
mod held;
mod layer;
pub mod pool;
pub mod project;
mod removed;
pub mod score;
pub mod select;
pub mod simd;
mod stack;

use laprox_reference::oracle::PairGram;
use laprox_reference::{
    Backend, CandidatesPerHead, Error, LayerProblem, Policy, PreparedLayer, RetainedSet, Scored,
};

use layer::FastLayer;
pub use simd::Level;
use stack::ParallelStack;

/// The path that `--path fast` takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fast {
    level: Level,
}

impl Fast {
    /// The path at one level; [`Fast::default`] takes the best of the machine.
    #[must_use]
    pub fn at(level: Level) -> Self {
        Self { level }
    }
}

impl Backend for Fast {
    fn name(&self) -> &'static str {
        "fast"
    }

    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error> {
        Ok(Box::new(FastLayer::new(self.level, problem)))
    }

    fn cut(
        &self,
        policy: &Policy,
        scores: &Scored,
        per_head: CandidatesPerHead,
    ) -> Result<RetainedSet, Error> {
        select::cut(policy, scores.on_host()?, per_head, scores.window_len())
    }

    fn stack<'a>(&self, layers: Vec<Box<dyn PairGram + 'a>>) -> Box<dyn PairGram + 'a> {
        Box::new(ParallelStack::new(layers))
    }
}
