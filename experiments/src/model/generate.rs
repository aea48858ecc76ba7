//! Greedy decoding.

use rayon::prelude::*;

use super::cache::KvCache;
use super::error::Result;
use super::forward::{Model, Segment, on_a_worker};
use super::linear::with_numbers;

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
            let next = going.par_iter().map(|&index| (index, most_probable(&sequences[index].logits)));
            let mut next: Vec<(usize, u32)> = next.collect();
            next.retain(|&(_, token)| !self.tokenizer().ends(token));
            next.iter().for_each(|&(index, token)| answers[index].push(token));
            if next.is_empty() || step == max_new {
                break;
            }
            on_a_worker(|| self.step(sequences, &next))?;
            going = next.into_iter().map(|(index, _)| index).collect();
        }
        Ok(answers)
    }

    /// Runs the next tokens of some sequences, each with its index, in ascending order.
    fn step(&self, sequences: &mut [Continuation], next: &[(usize, u32)]) -> Result<()> {
        let mut tokens = next.iter().peekable();
        let active = sequences.iter_mut().enumerate();
        let (mut logits_of, mut segments) = (Vec::new(), Vec::new());
        for (index, Continuation { logits, cache }) in active {
            if let Some((_, token)) = tokens.next_if(|(active, _)| *active == index) {
                segments.push(Segment { tokens: std::slice::from_ref(token), cache });
                logits_of.push(logits);
            }
        }
        let logits = self.logits(&self.forward_segments(&mut segments, &mut ())?)?;
        let rows = logits_of.len();
        with_numbers(&logits, |numbers| {
            let numbers = numbers.par_chunks(numbers.len() / rows);
            logits_of.into_par_iter().zip(numbers).for_each(|(logits, row)| row.clone_into(logits));
        })
    }
}

/// The index of the largest logit, the lowest one among equals.
pub(super) fn most_probable(logits: &[f32]) -> u32 {
    let ids = 0..;
    let best = ids.zip(logits).reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(id, _)| id)
}
