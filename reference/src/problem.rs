//! One layer's eviction problem: its captured activations, checked once.

use crate::error::{Error, Result};
use crate::quantity::{Supplement, Tensor};
use crate::shape::{LayerIndex, LayerShape};
use crate::supplement::Supplements;
use crate::tensor::{Elements, TensorView};

/// The activations of one layer, as captured.
#[derive(Clone, Copy, Debug)]
pub struct Activations<'a> {
    /// Post-RoPE queries of the last `w` context positions, `[H, w, d]`.
    pub query: TensorView<'a, 3>,
    /// Post-RoPE keys, `[Hkv, n + t, d]`.
    pub key: TensorView<'a, 3>,
    /// Values, `[Hkv, n + t, d]`.
    pub value: TensorView<'a, 3>,
    /// `o_proj.weight` as PyTorch stores it, `[D, H * d]`.
    pub output_projection: TensorView<'a, 2>,
    /// Post-RoPE queries of positions `n..n + t`, `[H, t, d]`; `None` if `t = 0`.
    pub future_query: Option<TensorView<'a, 3>>,
}

/// One layer of one sample: shapes that agree, values that are finite, a usable scale.
#[derive(Clone, Copy, Debug)]
pub struct LayerProblem<'a> {
    layer: LayerIndex,
    shape: LayerShape,
    attention_scale: f64,
    activations: Activations<'a>,
    supplements: Supplements<'a>,
}

impl<'a> LayerProblem<'a> {
    /// Checks that the shapes agree and that every number is finite.
    ///
    /// `attention_scale` multiplies `q . k` before the softmax, usually `1 / sqrt(d)`.
    ///
    /// # Errors
    /// As [`LayerProblem::of_finite`]; [`Error::NonFinite`] names the tensor.
    pub fn new(layer: LayerIndex, attention_scale: f64, activations: Activations<'a>) -> Result<Self> {
        let problem = Self::of_finite(layer, attention_scale, activations)?;
        check_finite(&problem.activations)?;
        Ok(problem)
    }

    /// The same for numbers that are known to be finite: only the shapes and the scale are checked.
    ///
    /// # Errors
    /// [`Error::Size`] names the size, [`Error::Shape`] the tensor or the scale.
    pub fn of_finite(layer: LayerIndex, attention_scale: f64, activations: Activations<'a>) -> Result<Self> {
        let shape = shape_of(&activations)?;
        if !(attention_scale.is_finite() && attention_scale > 0.0) {
            return Err(Error::shape("attention_scale", "a finite number above 0", attention_scale));
        }
        Ok(Self { layer, shape, attention_scale, activations, supplements: Supplements::default() })
    }

    /// The same with a tensor that some policies read, in C order.
    ///
    /// # Errors
    /// [`Error::Supplement`] when its elements are not finite, or not as many as its [extents](Supplement::extents).
    pub fn with(self, supplement: Supplement, elements: Elements<'a>) -> Result<Self> {
        Ok(Self { supplements: self.supplements.with(&self.shape, supplement, elements)?, ..self })
    }

    /// The layer's number in the model.
    #[must_use]
    pub fn layer(&self) -> LayerIndex {
        self.layer
    }

    /// The layer's sizes.
    #[must_use]
    pub fn shape(&self) -> LayerShape {
        self.shape
    }

    /// The factor of `q . k` before the softmax.
    #[must_use]
    pub fn attention_scale(&self) -> f64 {
        self.attention_scale
    }

    /// The tensors.
    #[must_use]
    pub fn activations(&self) -> &Activations<'a> {
        &self.activations
    }

    /// The tensors that a capture may leave out.
    #[must_use]
    pub fn supplements(&self) -> &Supplements<'a> {
        &self.supplements
    }
}

/// Reads the sizes off the tensors and checks every tensor against them.
fn shape_of(activations: &Activations<'_>) -> Result<LayerShape> {
    let [query_heads, window_len, head_dim] = activations.query.shape();
    let [kv_heads, cached_len, _] = activations.key.shape();
    let [hidden_dim, _] = activations.output_projection.shape();
    let future_len = activations.future_query.map_or(0, |query| query.shape()[1]);
    let context_len = cached_len.checked_sub(future_len).ok_or_else(|| {
        let expected = format_args!("at least the {future_len} future positions");
        Error::shape(Tensor::Key.name(), expected, cached_len)
    })?;
    let shape =
        LayerShape { query_heads, kv_heads, head_dim, hidden_dim, context_len, window_len, future_len };
    shape.validate()?;

    let cached = [kv_heads, cached_len, head_dim];
    expect(Tensor::Key, activations.key.shape(), cached)?;
    expect(Tensor::Value, activations.value.shape(), cached)?;
    let weight = [hidden_dim, query_heads * head_dim];
    expect(Tensor::OutputProjection, activations.output_projection.shape(), weight)?;
    if let Some(query) = activations.future_query {
        expect(Tensor::FutureQuery, query.shape(), [query_heads, future_len, head_dim])?;
    }
    Ok(shape)
}

fn expect<const RANK: usize>(tensor: Tensor, found: [usize; RANK], expected: [usize; RANK]) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::shape(tensor.name(), format_args!("{expected:?}"), format_args!("{found:?}")))
    }
}

fn check_finite(activations: &Activations<'_>) -> Result<()> {
    let tensors: [(Tensor, Option<Elements<'_>>); 5] = [
        (Tensor::Query, Some(activations.query.elements())),
        (Tensor::Key, Some(activations.key.elements())),
        (Tensor::Value, Some(activations.value.elements())),
        (Tensor::OutputProjection, Some(activations.output_projection.elements())),
        (Tensor::FutureQuery, activations.future_query.map(|query| query.elements())),
    ];
    for (tensor, elements) in tensors {
        if let Some(index) = elements.and_then(|elements| elements.first_non_finite()) {
            return Err(Error::NonFinite { tensor, index });
        }
    }
    Ok(())
}
