//! Greedy decoding.

use super::cache::KvCache;
use super::error::Result;
use super::forward::{Model, Segment, on_a_worker};

/// A sequence to continue.
pub struct Continuation {
    /// The logits after its last token.
    pub logits: Vec<f32>,
    /// Its cache, full or evicted, with room for further tokens.
    pub cache: KvCache,
}

impl Model {
    /// Continues all sequences at once with their most probable tokens: the weights are read once per step for all of
    /// them. Each ends at its end token or after `max_new` tokens. The end token is not part of the answer.
    ///
    /// A sequence's answer does not depend on the others: a product of few rows sums each in the same order.
    ///
    /// # Errors
    /// [`super::Error::Compute`] when a cache is full.
    pub fn decode_all(&self, sequences: &mut [Continuation], max_new: usize) -> Result<Vec<Vec<u32>>> {
        let mut answers = vec![Vec::new(); sequences.len()];
        let mut going: Vec<usize> = (0..sequences.len()).collect();
        for step in 1..=max_new {
            let next = |index: usize| most_probable(&sequences[index].logits);
            going.retain(|&index| !self.tokenizer().ends(next(index)));
            going.iter().for_each(|&index| answers[index].push(next(index)));
            if going.is_empty() || step == max_new {
                break;
            }
            let active = sequences.iter_mut().enumerate().filter(|(index, _)| going.contains(index));
            let mut active: Vec<_> = active.map(|(_, sequence)| sequence).collect();
            on_a_worker(|| self.step(&mut active))?;
        }
        Ok(answers)
    }

    /// Runs the most probable token of every sequence.
    fn step(&self, sequences: &mut [&mut Continuation]) -> Result<()> {
        let tokens: Vec<u32> = sequences.iter().map(|sequence| most_probable(&sequence.logits)).collect();
        let caches = sequences.iter_mut().map(|sequence| &mut sequence.cache);
        let mut segments: Vec<Segment<'_>> = tokens
            .iter()
            .zip(caches)
            .map(|(token, cache)| Segment { tokens: std::slice::from_ref(token), cache })
            .collect();
        let logits = self.logits(&self.forward_segments(&mut segments, &mut ())?)?;
        for (row, sequence) in sequences.iter_mut().enumerate() {
            sequence.logits = logits.get(row)?.to_vec1()?;
        }
        Ok(())
    }
}

/// The index of the largest logit, the lowest one among equals.
pub(super) fn most_probable(logits: &[f32]) -> u32 {
    let ids = 0..;
    let best = ids.zip(logits).reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(id, _)| id)
}
