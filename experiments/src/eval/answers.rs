//! What the model answers from the full cache and from what evictions left of it.

use anyhow::Result;

use super::evicted::Evicted;
use super::prefilled::Prefilled;
use crate::model::{Continuation, Model, PREFILL_CHUNK};

/// Sequences that are decoded together: enough that reading the weights no longer dominates, few enough for memory.
const TOGETHER: usize = 32;

/// What a model said, and what its cache took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The tokens after the question, without the one that ends them.
    pub tokens: Vec<u32>,
    /// The bytes of the cache, room for question and answer included.
    pub cache_bytes: usize,
}

/// The full cache's answer: up to `max_new` tokens after the context and the question, which may be empty.
///
/// # Errors
/// When the model was not trained for so many tokens.
pub fn full_answer(
    model: &Model,
    prefilled: &Prefilled<'_>,
    question: &[u32],
    max_new: usize,
) -> Result<Answer> {
    let mut full = [asked(model, prefilled.full(question.len() + max_new)?, question)?];
    let tokens = model.decode_all(&mut full, max_new)?.concat();
    Ok(Answer { tokens, cache_bytes: full[0].cache.allocated_bytes() })
}

/// The answer from each evicted cache, in order. The question, where there is one, runs through each of them: it sees only
/// what was retained.
///
/// # Errors
/// As [`full_answer`].
pub fn evicted_answers(
    model: &Model,
    prefilled: &Prefilled<'_>,
    evicted: &[Evicted],
    question: &[u32],
    max_new: usize,
) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for evicted in evicted.chunks(TOGETHER) {
        let start =
            |evicted: &Evicted| asked(model, prefilled.evicted(evicted, question.len() + max_new)?, question);
        let mut sequences = evicted.iter().map(start).collect::<Result<Vec<_>>>()?;
        let tokens = model.decode_all(&mut sequences, max_new)?;
        let bytes = sequences.iter().map(|sequence| sequence.cache.allocated_bytes());
        answers.extend(
            tokens.into_iter().zip(bytes).map(|(tokens, cache_bytes)| Answer { tokens, cache_bytes }),
        );
    }
    Ok(answers)
}

/// A sequence after its question.
fn asked(model: &Model, mut sequence: Continuation, question: &[u32]) -> Result<Continuation> {
    if !question.is_empty() {
        sequence.logits = model.prefill(question, PREFILL_CHUNK, &mut sequence.cache, &mut ())?;
    }
    Ok(sequence)
}
