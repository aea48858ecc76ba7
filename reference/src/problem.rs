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
        let Activations { query, key, value, output_projection, future_query } = activations;
        let shapes = (query.shape(), key.shape(), value.shape(), output_projection.shape());
        let shape = LayerShape::of_tensors(shapes, future_query.map(|query| query.shape()))?;
        Self::check_scale(attention_scale)?;
        Ok(Self { layer, shape, attention_scale, activations, supplements: Supplements::default() })
    }

    /// The same with a tensor that some policies read, in C order.
    ///
    /// # Errors
    /// [`Error::Supplement`] when its elements are not finite, or not as many as its [extents](Supplement::extents).
    pub fn with(self, supplement: Supplement, elements: Elements<'a>) -> Result<Self> {
        Ok(Self { supplements: self.supplements.with(&self.shape, supplement, elements)?, ..self })
    }

    /// Refuses a scale that is no finite number above 0.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn check_scale(attention_scale: f64) -> Result<()> {
        if attention_scale.is_finite() && attention_scale > 0.0 {
            return Ok(());
        }
        Err(Error::shape("attention_scale", "a finite number above 0", attention_scale))
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
