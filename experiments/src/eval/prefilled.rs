//! A prompt that has run through the model, from which any number of sequences can go on.

use std::sync::Arc;

use anyhow::Result;
use laprox_reference::{KvHead, LayerIndex, LayerOrdinal};

use super::evicted::Evicted;
use crate::model::{
    CaptureShape, CapturedSample, Continuation, KvCache, Model, Observer, QueryTap, Supplements, Wanted,
};

/// The full cache of a context, the logits after it and its window's queries.
pub struct Prefilled<'m> {
    model: &'m Model,
    window_len: usize,
    cache: KvCache,
    logits: Vec<f32>,
    queries: QueryTap,
    supplements: Arc<Supplements>,
    every_position: Vec<u32>,
}

impl<'m> Prefilled<'m> {
    /// Runs a context through the model; its last `window_len` tokens are the observation window. What policies
    /// read beside it is made if it is `wanted`.
    ///
    /// # Errors
    /// When the context is empty, shorter than the window, or longer than the model was trained for.
    pub fn new(
        model: &'m Model,
        context: &[u32],
        window_len: usize,
        wanted: Wanted,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let first_query = context.len().saturating_sub(window_len);
        let mut queries = QueryTap::new(first_query..usize::MAX, model.config().layers);
        let mut cache = model.cache(context.len())?;
        let (logits, supplements) =
            model.prefill_with(context, wanted, &mut cache, &mut (&mut queries, observer))?;
        let every_position = (0..context.len() as u32).collect();
        let supplements = Arc::new(supplements);
        Ok(Self { model, window_len, cache, logits, queries, supplements, every_position })
    }

    /// `n`, the tokens that have run.
    #[must_use]
    pub fn context_len(&self) -> usize {
        self.cache.next_position()
    }

    /// `w`, the last of them whose queries are kept.
    #[must_use]
    pub fn window_len(&self) -> usize {
        self.window_len
    }

    /// The bytes of the full cache.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.cache.allocated_bytes()
    }

    /// The sequence with its full cache, with room for `spare` further tokens.
    ///
    /// # Errors
    /// When the cache cannot be laid out.
    pub fn full(&self, spare: usize) -> Result<Continuation> {
        self.retained(|_, _| &self.every_position, spare)
    }

    /// The sequence with the cache that an eviction left, and room for `spare` further tokens.
    ///
    /// # Errors
    /// When the set is of another context.
    pub fn evicted(&self, evicted: &Evicted, spare: usize) -> Result<Continuation> {
        let set = &evicted.retained;
        match &evicted.packed {
            Some(packed) => {
                let cache = self.cache.of_packed(packed, set, spare)?;
                Ok(Continuation { logits: self.logits.clone(), cache })
            }
            None => {
                let Continuation { logits, cache } =
                    self.retained(|layer, head| set.layer(LayerOrdinal(layer.0)).head(head), spare)?;
                Ok(Continuation { logits, cache: cache.reweighted(set) })
            }
        }
    }

    fn retained<'a>(
        &self,
        positions: impl Fn(LayerIndex, KvHead) -> &'a [u32],
        spare: usize,
    ) -> Result<Continuation> {
        Ok(Continuation { logits: self.logits.clone(), cache: self.cache.retain(positions, spare)? })
    }

    /// The activations of every layer, with `later` tokens seen through the full cache as the future.
    ///
    /// # Errors
    /// When the later tokens leave the context that the model was trained for.
    pub fn captured(&self, later: &[u32]) -> Result<CapturedSample> {
        let shape = CaptureShape {
            context_len: self.context_len(),
            window_len: self.window_len,
            future_len: later.len(),
        };
        let mut queries = self.queries.clone();
        let mut cache = self.full(later.len())?.cache;
        if !later.is_empty() {
            self.model.forward(later, &mut cache, &mut queries)?;
        }
        Ok(CapturedSample::new(shape, queries, cache, Arc::clone(&self.supplements)))
    }
}
