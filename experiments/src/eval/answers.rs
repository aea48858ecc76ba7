//! What the model answers from the full cache and from what evictions left of it.

use anyhow::Result;

use super::evictions::Evicted;
use super::prefilled::Prefilled;
use crate::model::{Continuation, Model, PREFILL_CHUNK};

/// Sequences that are decoded together: enough that reading the weights no longer dominates, few enough for memory.
const TOGETHER: usize = 16;

/// The tokens that follow a context under each eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// From each evicted cache, in order.
    pub evicted: Vec<Vec<u32>>,
    /// The bytes that each evicted cache took, room for question and answer included.
    pub cache_bytes: Vec<usize>,
}

/// The full cache's answer: up to `max_new` tokens after the context and the question, which may be empty.
///
/// # Errors
/// When the model was not trained for so many tokens.
pub fn answer(
    model: &Model,
    prefilled: &Prefilled<'_>,
    question: &[u32],
    max_new: usize,
) -> Result<Vec<u32>> {
    let mut full = asked(model, prefilled.full(question.len() + max_new)?, question)?;
    Ok(model.decode_all(std::slice::from_mut(&mut full), max_new)?.concat())
}

impl Answers {
    /// Answers from every evicted cache. The question, where there is one, runs through each of them: it sees only what
    /// was retained.
    ///
    /// # Errors
    /// As [`answer`].
    pub fn new(
        model: &Model,
        prefilled: &Prefilled<'_>,
        evicted: &[Evicted],
        question: &[u32],
        max_new: usize,
    ) -> Result<Self> {
        let mut answers = Self { evicted: Vec::new(), cache_bytes: Vec::new() };
        for evicted in evicted.chunks(TOGETHER) {
            let start = |evicted: &Evicted| {
                asked(model, prefilled.evicted(&evicted.retained, question.len() + max_new)?, question)
            };
            let mut sequences = evicted.iter().map(start).collect::<Result<Vec<_>>>()?;
            answers.evicted.extend(model.decode_all(&mut sequences, max_new)?);
            answers.cache_bytes.extend(sequences.iter().map(|sequence| sequence.cache.allocated_bytes()));
        }
        Ok(answers)
    }
}

/// A sequence after its question.
fn asked(model: &Model, mut sequence: Continuation, question: &[u32]) -> Result<Continuation> {
    if !question.is_empty() {
        sequence.logits = model.prefill(question, PREFILL_CHUNK, &mut sequence.cache, &mut ())?;
    }
    Ok(sequence)
}
