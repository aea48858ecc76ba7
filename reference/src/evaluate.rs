//! Stage *evaluate*: the change that an eviction makes in the layer's output.

use nalgebra::DMatrix;

use crate::attend::{Attention, softmax_of_retained};
use crate::error::Result;
use crate::layer::Layer;
use crate::oracle::Rows;
use crate::output_error::{ObjectiveError, OutputError, OutputErrors};
use crate::project::head_output;
use crate::retained::LayerRetained;
use crate::shape::QueryHead;

/// The three objectives for one retained set, relative to the layer's own norms.
///
/// # Errors
/// [`crate::Error::Shape`] when the set was made for other sizes.
pub fn evaluate(layer: &Layer, norms: &OutputNorms, retained: LayerRetained<'_>) -> Result<OutputErrors> {
    retained.check(layer.index, layer.shape)?;
    let keeps = keeps_by_head(layer, retained);
    let OutputNorms { window, future } = norms;
    let later = layer.future_attention.as_ref().zip(future.as_ref());
    Ok(OutputErrors {
        drop: objective(layer, &layer.attention, window, &keeps, dropped),
        renormalised: objective(layer, &layer.attention, window, &keeps, renormalised),
        future: later.map(|(attention, norms)| objective(layer, attention, norms, &keeps, renormalised)),
    })
}

/// The `drop` objective alone, for the window's queries or the later ones.
///
/// # Errors
/// As [`evaluate`]; also when the layer holds no later queries.
pub fn drop_error(
    layer: &Layer,
    norms: &OutputNorms,
    retained: LayerRetained<'_>,
    rows: Rows,
) -> Result<ObjectiveError> {
    retained.check(layer.index, layer.shape)?;
    let norms = match rows {
        Rows::Window => Some(&norms.window),
        Rows::Future => norms.future.as_ref(),
    };
    let attention = rows.attention(layer)?;
    let norms = norms.expect("attention that is there has norms");
    Ok(objective(layer, attention, norms, &keeps_by_head(layer, retained), dropped))
}

/// The norms that a layer's errors are relative to, the same for every eviction.
#[derive(Clone, Debug)]
pub struct OutputNorms {
    window: Norms,
    future: Option<Norms>,
}

/// `norm_F(sum_h A_h B_h)^2` and `sum_h norm_F(A_h B_h)^2`.
#[derive(Clone, Copy, Debug)]
struct Norms {
    layer_wise: f64,
    head_wise: f64,
}

impl OutputNorms {
    /// The norms of one layer.
    #[must_use]
    pub fn new(layer: &Layer) -> Self {
        let norms = |attention: &Attention| {
            Summed::of(layer, attention.rows(), |head| attention.weights[head.0].clone()).squares()
        };
        Self { window: norms(&layer.attention), future: layer.future_attention.as_ref().map(norms) }
    }
}

/// Per KV head, whether each key is kept; positions after the context cannot be evicted.
fn keeps_by_head(layer: &Layer, retained: LayerRetained<'_>) -> Vec<Vec<bool>> {
    let keeps = |head| {
        let mut keeps = retained.keeps(head);
        keeps.resize(layer.shape.cached_len(), true);
        keeps
    };
    layer.shape.kv_heads().map(keeps).collect()
}

/// One head's attention weights after eviction less those before: logits, weights, retained keys.
type WeightChange = fn(&DMatrix<f64>, &DMatrix<f64>, &[bool]) -> DMatrix<f64>;

/// `drop`: evicted columns become zero, the others stay.
fn dropped(_: &DMatrix<f64>, weights: &DMatrix<f64>, keeps: &[bool]) -> DMatrix<f64> {
    let mut change = -weights;
    for (mut column, &keep) in change.column_iter_mut().zip(keeps) {
        if keep {
            column.fill(0.0);
        }
    }
    change
}

/// `renormalised`: each row is the softmax of its retained keys.
fn renormalised(logits: &DMatrix<f64>, weights: &DMatrix<f64>, keeps: &[bool]) -> DMatrix<f64> {
    softmax_of_retained(logits, keeps) - weights
}

/// One objective's error in both forms, from the change of the weights.
fn objective(
    layer: &Layer,
    attention: &Attention,
    norms: &Norms,
    keeps: &[Vec<bool>],
    change: WeightChange,
) -> ObjectiveError {
    let error = Summed::of(layer, attention.rows(), |head| {
        let keeps = &keeps[layer.shape.kv_head_of(head).0];
        change(&attention.logits[head.0], &attention.weights[head.0], keeps)
    });
    let Norms { layer_wise, head_wise } = error.squares();
    ObjectiveError {
        layer_wise: OutputError { squared_error: layer_wise, squared_norm: norms.layer_wise },
        head_wise: OutputError { squared_error: head_wise, squared_norm: norms.head_wise },
    }
}

/// A sum over the query heads beside the sum of the heads' own squared norms.
struct Summed {
    sum: DMatrix<f64>,
    head_squares: f64,
}

impl Summed {
    /// `sum_h X_h B_h` of `rows` rows.
    fn of(layer: &Layer, rows: usize, weights: impl Fn(QueryHead) -> DMatrix<f64>) -> Self {
        let mut summed = Self { sum: DMatrix::zeros(rows, layer.shape.hidden_dim), head_squares: 0.0 };
        for head in layer.shape.query_heads() {
            let output = head_output(layer, head, &weights(head));
            summed.head_squares += output.norm_squared();
            summed.sum += output;
        }
        summed
    }

    fn squares(&self) -> Norms {
        Norms { layer_wise: self.sum.norm_squared(), head_wise: self.head_squares }
    }
}
