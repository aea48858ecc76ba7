//! Observers of a prompt's way through the model.

use std::ops::Range;

use candle_core::Tensor;
use laprox_reference::LayerIndex;

use super::error::Result;

/// Sees the activations that the model itself does not keep, from whichever thread runs the model.
pub trait Observer: Send {
    /// Sees one layer's post-RoPE queries `[H, c, d]` of the chunk that starts at `first_position`.
    ///
    /// # Errors
    /// An error ends the forward pass and is returned from it.
    fn queries(&mut self, layer: LayerIndex, first_position: usize, queries: &Tensor) -> Result<()> {
        let _ = (layer, first_position, queries);
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
    fn queries(&mut self, layer: LayerIndex, first_position: usize, queries: &Tensor) -> Result<()> {
        self.0.queries(layer, first_position, queries)?;
        self.1.queries(layer, first_position, queries)
    }

    fn progress(&mut self, tokens: usize) {
        self.0.progress(tokens);
        self.1.progress(tokens);
    }
}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn queries(&mut self, layer: LayerIndex, first_position: usize, queries: &Tensor) -> Result<()> {
        (**self).queries(layer, first_position, queries)
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
    fn queries(&mut self, layer: LayerIndex, first_position: usize, queries: &Tensor) -> Result<()> {
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
