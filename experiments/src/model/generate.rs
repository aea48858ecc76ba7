//! Greedy decoding.

use super::cache::KvCache;
use super::error::Result;
use super::forward::{Model, PREFILL_CHUNK};

impl Model {
    /// Answers a prompt with the most probable token at every step, up to `max_new` tokens.
    ///
    /// `on_token` hears each new token. The token that ends the answer is neither heard nor returned.
    ///
    /// # Errors
    /// Those of [`Model::cache`], [`Model::prefill`] and [`Model::decode`].
    pub fn generate(&self, prompt: &[u32], max_new: usize, on_token: impl FnMut(u32)) -> Result<Vec<u32>> {
        let mut cache = self.cache(prompt.len() + max_new)?;
        let logits = self.prefill(prompt, PREFILL_CHUNK, &mut cache, &mut ())?;
        self.decode(logits, max_new, &mut cache, on_token)
    }

    /// Continues from `logits`, those after the last token that went into `cache`; the rest is as in
    /// [`Model::generate`]. The cache may be an evicted one and needs room for `max_new` tokens.
    ///
    /// The tensor library multiplies a vector with a matrix on one thread, so several answers can be decoded beside
    /// each other.
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
            logits = self.prefill(&[token], 1, cache, &mut ())?;
        }
        Ok(answer)
    }
}

/// The index of the largest logit, the lowest one among equals.
fn most_probable(logits: &[f32]) -> u32 {
    let ids = 0..;
    let best = ids.zip(logits).reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(id, _)| id)
}
