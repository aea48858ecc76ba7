//! Greedy decoding.

use super::cache::KvCache;
use super::error::Result;
use super::forward::{Model, PREFILL_CHUNK, Segment};

impl Model {
    /// Answers a prompt with the most probable token at every step, up to `max_new` tokens.
    ///
    /// `on_token` is called with each new token. The token that ends the answer is neither passed to it nor returned.
    ///
    /// # Errors
    /// Those of [`Model::cache`], [`Model::prefill`] and [`Model::decode`].
    pub fn generate(&self, prompt: &[u32], max_new: usize, on_token: impl FnMut(u32)) -> Result<Vec<u32>> {
        let mut cache = self.cache(prompt.len() + max_new)?;
        let logits = self.prefill(prompt, PREFILL_CHUNK, &mut cache, &mut ())?;
        self.decode(logits, max_new, &mut cache, on_token)
    }

    /// Continues from `logits`, the logits after the last token in `cache`, otherwise as [`Model::generate`] does. The
    /// cache may be an evicted one and needs room for `max_new` tokens.
    ///
    /// The tensor library multiplies a vector with a matrix on one thread, so several answers can be decoded in parallel.
    ///
    /// # Errors
    /// [`super::Error::Compute`] when the cache is full.
    pub fn decode(
        &self,
        mut logits: Vec<f32>,
        max_new: usize,
        cache: &mut KvCache,
        mut on_token: impl FnMut(u32),
    ) -> Result<Vec<u32>> {
        let mut answer = Vec::new();
        while answer.len() < max_new {
            let token = most_probable(&logits);
            if self.tokenizer().ends(token) {
                break;
            }
            on_token(token);
            answer.push(token);
            if answer.len() < max_new {
                logits = self.prefill(&[token], 1, cache, &mut ())?;
            }
        }
        Ok(answer)
    }
}

/// A sequence to continue.
pub struct Continuation {
    /// The logits after its last token.
    pub logits: Vec<f32>,
    /// Its cache, full or evicted, with room for further tokens.
    pub cache: KvCache,
}

impl Model {
    /// Continues all sequences at once with their most probable tokens: the weights are read once per step for all of
    /// them. Each ends at its end token or after `max_new` tokens, as in [`Model::decode`].
    ///
    /// A sequence's answer does not depend on the others: from two rows on, the tensor library sums each row of a product
    /// of these shapes in the same order. With one sequence left, its row is therefore computed twice.
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
            self.step(&mut active.map(|(_, sequence)| sequence).collect::<Vec<_>>())?;
        }
        Ok(answers)
    }

    /// Runs the most probable token of every sequence.
    fn step(&self, sequences: &mut [&mut Continuation]) -> Result<()> {
        let mut company = self.cache(1)?;
        let tokens: Vec<u32> = sequences.iter().map(|sequence| most_probable(&sequence.logits)).collect();
        let caches = sequences.iter_mut().map(|sequence| &mut sequence.cache);
        let alone = tokens.len() == 1;
        let caches = caches.chain(alone.then_some(&mut company));
        let mut segments: Vec<Segment<'_>> = tokens
            .iter()
            .cycle()
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
fn most_probable(logits: &[f32]) -> u32 {
    let ids = 0..;
    let best = ids.zip(logits).reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(id, _)| id)
}
