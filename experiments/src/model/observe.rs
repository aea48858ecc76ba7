//! Observers of a prompt's way through the model.

use std::ops::Range;

use candle_core::Tensor;
use laprox_reference::LayerIndex;

use super::cache::HeadCache;
use super::error::Result;

/// What the attention of one layer reads for a chunk of `c` tokens.
pub struct Pass<'a> {
    /// The layer.
    pub layer: LayerIndex,
    /// The position of the chunk's first token.
    pub first_position: usize,
    /// The rows that are projected to queries, keys and values, `[c, D]`.
    pub input: &'a Tensor,
    /// Queries before rotation, `[c, H*d]`.
    pub unrotated: &'a Tensor,
    /// Post-RoPE queries, `[H, c, d]`.
    pub queries: &'a Tensor,
    /// The layer's KV heads, whose last entries are the chunk's.
    pub heads: &'a [HeadCache],
}

/// Sees the activations that the model itself does not keep, from whichever thread runs the model.
pub trait Observer: Send {
    /// Sees one layer's attention, before it is computed.
    ///
    /// # Errors
    /// An error ends the forward pass and is returned from it.
    fn attention(&mut self, pass: &Pass<'_>) -> Result<()> {
        let _ = pass;
        Ok(())
    }

    /// Receives the number of finished tokens after every chunk of a prefill.
    fn progress(&mut self, tokens: usize) {
        let _ = tokens;
    }
}

/// Observes nothing.
impl Observer for () {}

/// Two observers, one after the other.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn attention(&mut self, pass: &Pass<'_>) -> Result<()> {
        self.0.attention(pass)?;
        self.1.attention(pass)
    }

    fn progress(&mut self, tokens: usize) {
        self.0.progress(tokens);
        self.1.progress(tokens);
    }
}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn attention(&mut self, pass: &Pass<'_>) -> Result<()> {
        (**self).attention(pass)
    }

    fn progress(&mut self, tokens: usize) {
        (**self).progress(tokens);
    }
}

/// Calls a function with the number of finished tokens.
pub struct Progress<F>(pub F);

impl<F: FnMut(usize) + Send> Observer for Progress<F> {
    fn progress(&mut self, tokens: usize) {
        self.0(tokens);
    }
}

/// Records the post-RoPE queries of a range of positions in every layer.
#[derive(Clone)]
pub struct QueryTap {
    positions: Range<usize>,
    layers: Vec<Vec<Tensor>>,
}

impl QueryTap {
    /// A tap on `positions` of a model with `layers` layers.
    #[must_use]
    pub fn new(positions: Range<usize>, layers: usize) -> Self {
        Self { positions, layers: vec![Vec::new(); layers] }
    }

    /// The recorded queries of one layer, `[H, rows, d]`: a row per tapped position seen so far.
    ///
    /// # Errors
    /// [`super::Error::Compute`] when no tapped position has been seen yet.
    ///
    /// # Panics
    /// When the model has no such layer.
    pub fn layer(&self, layer: LayerIndex) -> Result<Tensor> {
        Ok(Tensor::cat(&self.layers[layer.0], 1)?)
    }
}

impl Observer for QueryTap {
    fn attention(&mut self, pass: &Pass<'_>) -> Result<()> {
        let &Pass { layer, first_position, queries, .. } = pass;
        let chunk = first_position..first_position + queries.dim(1)?;
        let start = self.positions.start.max(chunk.start);
        let end = self.positions.end.min(chunk.end);
        if start < end {
            // A copy: a view would keep the whole chunk alive.
            let rows = queries.narrow(1, start - chunk.start, end - start)?;
            self.layers[layer.0].push(rows.force_contiguous()?);
        }
        Ok(())
    }
}
