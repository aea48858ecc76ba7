//! One text's activations, as an activation dump holds them.

use std::sync::Arc;

use candle_core::Tensor;
use laprox_reference::{Activations, Elements, LayerIndex, LayerProblem, Supplement, TensorView};
use ndarray::{Array2, Array3};

use super::cache::{HeadCache, KvCache};
use super::error::{Error, Quantity, Result};
use super::forward::{Model, PREFILL_CHUNK};
use super::observe::{Observer, QueryTap};
use super::supplements::{Supplements, Wanted};

/// The part of a text to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureShape {
    /// `n`, the tokens whose keys and values can be evicted.
    pub context_len: usize,
    /// `w`, the last context positions, whose queries are captured.
    pub window_len: usize,
    /// `t`, the tokens after the context, taken from the text; may be 0.
    pub future_len: usize,
}

/// One text's activations. The arrays are made one layer at a time.
pub struct CapturedSample {
    shape: CaptureShape,
    queries: QueryTap,
    cache: KvCache,
    supplements: Arc<Supplements>,
}

/// One layer's activations.
#[derive(Clone, Debug, PartialEq)]
pub struct CapturedLayer {
    /// Post-RoPE queries of the window, `[H, w, d]`.
    pub queries: Array3<f32>,
    /// Post-RoPE keys of the context and the future, `[Hkv, n + t, d]`.
    pub keys: Array3<f32>,
    /// Values of the context and the future, `[Hkv, n + t, d]`.
    pub values: Array3<f32>,
    /// Post-RoPE queries of the future, `[H, t, d]`.
    pub future_queries: Array3<f32>,
    /// The tensors that only some policies read, in C order.
    pub supplements: Vec<(Supplement, Vec<f32>)>,
}

/// Runs the model over the first `n + t` tokens of a text and keeps the activations of a dump.
///
/// The future is the text's own continuation, not the model's answer. `tokens` comes from [`super::Tokenizer::encode`],
/// so it starts with a begin-of-sequence token only if the model's metadata asks for one. The supplements that are wanted follow
/// from the context alone.
///
/// # Errors
/// [`Error::ShortText`] when the text is too short, [`Error::Request`] when the window is empty or longer than the
/// context, or the model was not trained for so many tokens.
pub fn capture(
    model: &Model,
    tokens: &[u32],
    shape: CaptureShape,
    wanted: Wanted,
    observer: &mut dyn Observer,
) -> Result<CapturedSample> {
    let sample_len = shape.validate()?;
    let tokens =
        tokens.get(..sample_len).ok_or(Error::ShortText { needed: sample_len, found: tokens.len() })?;
    let positions = shape.context_len - shape.window_len..sample_len;
    let mut queries = QueryTap::new(positions, model.config().layers);
    let mut cache = model.cache(sample_len)?;
    let (context, future) = tokens.split_at(shape.context_len);
    let (_, supplements) =
        model.prefill_with(context, wanted, &mut cache, &mut (&mut queries, &mut *observer))?;
    if !future.is_empty() {
        model.prefill(future, PREFILL_CHUNK, &mut cache, &mut (&mut queries, observer))?;
    }
    Ok(CapturedSample::new(shape, queries, cache, Arc::new(supplements)))
}

impl CaptureShape {
    /// The sample's length `n + t`.
    fn validate(self) -> Result<usize> {
        let Self { context_len, window_len, future_len } = self;
        if window_len == 0 || window_len > context_len {
            let expected = format!("between 1 and the context's {context_len}");
            return Err(Error::Request { quantity: Quantity::Window, expected, found: window_len });
        }
        Ok(context_len.saturating_add(future_len))
    }
}

impl CapturedSample {
    /// Takes a run's `cache`, `n + t` tokens in every KV head, the queries of the last `w + t` tokens, and the context's
    /// supplements.
    #[must_use]
    pub fn new(
        shape: CaptureShape,
        queries: QueryTap,
        cache: KvCache,
        supplements: Arc<Supplements>,
    ) -> Self {
        Self { shape, queries, cache, supplements }
    }

    /// The activations of every layer.
    ///
    /// # Errors
    /// As [`CapturedSample::layer`].
    pub fn layers(&self) -> Result<Vec<CapturedLayer>> {
        (0..self.cache.layers()).map(|layer| self.layer(LayerIndex(layer))).collect()
    }

    /// The activations of one layer.
    ///
    /// # Errors
    /// [`Error::Compute`] when they cannot be copied.
    ///
    /// # Panics
    /// When the model has no such layer.
    pub fn layer(&self, layer: LayerIndex) -> Result<CapturedLayer> {
        let CaptureShape { window_len, future_len, .. } = self.shape;
        let queries = self.queries.layer(layer)?;
        let heads = self.cache.heads(layer);
        let keys = heads.iter().map(HeadCache::keys).collect::<Result<Vec<_>>>()?;
        let values = heads.iter().map(HeadCache::values).collect::<Result<Vec<_>>>()?;
        Ok(CapturedLayer {
            queries: array(&queries.narrow(1, 0, window_len)?)?,
            keys: array(&Tensor::stack(&keys, 0)?)?,
            values: array(&Tensor::stack(&values, 0)?)?,
            future_queries: array(&queries.narrow(1, window_len, future_len)?)?,
            supplements: self.supplements.layer(layer)?,
        })
    }
}

impl CapturedLayer {
    /// The layer's eviction problem, with its output projection `[D, H*d]`.
    ///
    /// # Errors
    /// [`laprox_reference::Error`] when a number is not finite, or the projection has another layer's shape.
    pub fn problem<'a>(
        &'a self,
        layer: LayerIndex,
        attention_scale: f64,
        output_projection: &'a Array2<f32>,
    ) -> std::result::Result<LayerProblem<'a>, laprox_reference::Error> {
        let future = self.future_queries.dim().1 > 0;
        let activations = Activations {
            query: view(&self.queries)?,
            key: view(&self.keys)?,
            value: view(&self.values)?,
            output_projection: {
                let (rows, columns) = output_projection.dim();
                TensorView::new([rows, columns], elements(output_projection.as_slice()))?
            },
            future_query: if future { Some(view(&self.future_queries)?) } else { None },
        };
        let problem = LayerProblem::new(layer, attention_scale, activations)?;
        let mut supplements = self.supplements.iter();
        supplements
            .try_fold(problem, |problem, (which, numbers)| problem.with(*which, Elements::F32(numbers)))
    }
}

fn view(array: &Array3<f32>) -> std::result::Result<TensorView<'_, 3>, laprox_reference::Error> {
    let (one, two, three) = array.dim();
    TensorView::new([one, two, three], elements(array.as_slice()))
}

fn elements(slice: Option<&[f32]>) -> Elements<'_> {
    Elements::F32(slice.expect("arrays made here are in C order"))
}

fn array(tensor: &Tensor) -> Result<Array3<f32>> {
    let elements = tensor.flatten_all()?.to_vec1()?;
    Ok(Array3::from_shape_vec(tensor.dims3()?, elements).expect("a tensor has as many elements as its shape"))
}
