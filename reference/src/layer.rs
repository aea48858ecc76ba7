//! One layer, widened to f64: the input of this crate's stages.

use std::borrow::Cow;

use nalgebra::DMatrix;

use crate::attend::{self, Attention};
use crate::error::{Error, all_finite};
use crate::problem::LayerProblem;
use crate::quantity::Supplement;
use crate::shape::{KvHead, LayerIndex, LayerShape, QueryHead};
use crate::tensor::{Elements, TensorView};

/// A layer's activations as f64 matrices, with the window's attention.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The layer's number in the model.
    pub index: LayerIndex,
    /// The layer's sizes.
    pub shape: LayerShape,
    /// The factor of `q . k` before the softmax.
    pub attention_scale: f64,
    /// Per query head, the window's queries, `[w, d]`; fewer rows if only the last ones are [observed](Layer::observed).
    pub queries: Vec<DMatrix<f64>>,
    /// Per KV head, `[n + t, d]`.
    pub keys: Vec<DMatrix<f64>>,
    /// Per KV head, `[n + t, d]`.
    pub values: Vec<DMatrix<f64>>,
    /// `W_h` per query head, `[d, D]`.
    pub output_projection: Vec<DMatrix<f64>>,
    /// `A_h` of the window, `[w, n]` per query head; fewer rows if only the last ones are [observed](Layer::observed).
    pub attention: Attention,
    /// Attention of the later queries, `[t, n + t]` per query head; `None` if there are none.
    pub future_attention: Option<Attention>,
    /// The tensors that the capture holds beside these, in C order.
    pub supplements: Vec<(Supplement, Vec<f64>)>,
}

impl Layer {
    /// Widens a problem exactly and computes its attention.
    ///
    /// # Errors
    /// [`Error::Range`] when f64 does not hold a product of a query and a key, or the square of any projected value.
    pub fn new(problem: &LayerProblem<'_>) -> Result<Self, Error> {
        let shape = problem.shape();
        let activations = problem.activations();
        let keys = matrices(&activations.key);
        let attend = |query: &TensorView<'_, 3>, first_row| {
            attend::attend(&matrices(query), &keys, first_row, problem.attention_scale())
        };
        let layer = Self {
            index: problem.layer(),
            shape,
            attention_scale: problem.attention_scale(),
            attention: attend(&activations.query, shape.candidate_len()),
            future_attention: activations.future_query.as_ref().map(|query| attend(query, shape.context_len)),
            keys,
            values: matrices(&activations.value),
            queries: matrices(&activations.query),
            output_projection: head_blocks(&activations.output_projection, shape),
            supplements: problem.supplements().iter().map(|(which, given)| (which, given.to_f64())).collect(),
        };
        // A logit beyond f64 makes the weights of its row NaN.
        let attentions = std::iter::once(&layer.attention).chain(&layer.future_attention);
        let weights = attentions.flat_map(|attention| &attention.weights).flatten();
        all_finite(layer.index, "an attention weight", weights)?;
        layer.check_squares()?;
        Ok(layer)
    }

    /// Checks that the largest projected value has a square, unless it is zero.
    fn check_squares(&self) -> Result<(), Error> {
        let largest = |matrices: &[DMatrix<f64>]| matrices.iter().map(DMatrix::amax).fold(0.0, f64::max);
        let (value, weight) = (largest(&self.values), largest(&self.output_projection));
        let square = (value * weight).powi(2);
        if value > 0.0 && weight > 0.0 && !square.is_normal() {
            let quantity = "the square of the largest projected value";
            return Err(Error::Range { layer: self.index, quantity, value: square });
        }
        Ok(())
    }

    /// A layer with its number and sizes only, for policies that read nothing else.
    #[must_use]
    pub fn unseen(index: LayerIndex, shape: LayerShape) -> Self {
        let attention = Attention::default();
        Self {
            index,
            shape,
            attention_scale: 1.0,
            queries: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
            output_projection: Vec::new(),
            attention,
            future_attention: None,
            supplements: Vec::new(),
        }
    }

    /// The layer with the attention of the last `window` queries only. Its candidates stay the same.
    #[must_use]
    pub fn observed(&self, window: usize) -> Cow<'_, Self> {
        if window >= self.shape.window_len {
            return Cow::Borrowed(self);
        }
        let last_rows = |queries: &DMatrix<f64>| queries.rows(queries.nrows() - window, window).into_owned();
        Cow::Owned(Self {
            index: self.index,
            shape: self.shape,
            attention_scale: self.attention_scale,
            queries: self.queries.iter().map(last_rows).collect(),
            keys: self.keys.clone(),
            values: self.values.clone(),
            output_projection: self.output_projection.clone(),
            attention: self.attention.last_rows(window),
            future_attention: None,
            supplements: self.supplements.clone(),
        })
    }

    /// Whether the layer has these supplements.
    ///
    /// # Errors
    /// [`Error::Supplement`] names the first one that the capture left out.
    pub fn require(&self, supplements: &[Supplement]) -> Result<(), Error> {
        let given = |which: &Supplement| self.supplements.iter().any(|(given, _)| given == which);
        supplements.iter().find(|which| !given(which)).map_or(Ok(()), |missing| Err(missing.missing()))
    }

    /// The numbers of a supplement, in C order.
    ///
    /// # Panics
    /// When the capture left it out: a score that reads it is [refused](Layer::require) before.
    #[must_use]
    pub fn supplement(&self, supplement: Supplement) -> &[f64] {
        let given = self.supplements.iter().find(|(given, _)| *given == supplement);
        given.map(|(_, numbers)| numbers.as_slice()).expect("a layer with what the score reads")
    }

    /// `K_{h/G}`, the keys that query head `h` reads, `[n + t, d]`.
    #[must_use]
    pub fn keys_of(&self, head: QueryHead) -> &DMatrix<f64> {
        &self.keys[self.shape.kv_head_of(head).0]
    }

    /// `V_{h/G}`, the values that query head `h` reads, `[n + t, d]`.
    #[must_use]
    pub fn values_of(&self, head: QueryHead) -> &DMatrix<f64> {
        &self.values[self.shape.kv_head_of(head).0]
    }

    /// Every query group with its KV head.
    pub fn query_groups(&self) -> impl Iterator<Item = (KvHead, Vec<QueryHead>)> + '_ {
        self.shape.kv_heads().map(|head| (head, self.shape.query_group(head).collect()))
    }
}

/// `[N, rows, columns]` in C order as N matrices.
fn matrices(tensor: &TensorView<'_, 3>) -> Vec<DMatrix<f64>> {
    let [count, rows, columns] = tensor.shape();
    (0..count).map(|index| DMatrix::from_row_slice(rows, columns, &tensor.outer(index).to_f64())).collect()
}

/// `W_h = (columns h*d..(h+1)*d of o_proj.weight)^T` per query head, `[d, D]`.
fn head_blocks(weight: &TensorView<'_, 2>, shape: LayerShape) -> Vec<DMatrix<f64>> {
    let widened = Elements::to_f64(&weight.elements());
    let whole = DMatrix::from_row_slice(shape.hidden_dim, shape.query_heads * shape.head_dim, &widened);
    shape
        .query_heads()
        .map(|head| whole.columns(head.0 * shape.head_dim, shape.head_dim).transpose())
        .collect()
}
