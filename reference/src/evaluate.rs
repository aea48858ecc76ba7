//! Stage *evaluate*: what an eviction changes in the layer's output.

use nalgebra::DMatrix;

use crate::attend::{Attention, softmax_of_retained};
use crate::error::Error;
use crate::layer::Layer;
use crate::output_error::{ObjectiveError, OutputError, OutputErrors};
use crate::project::head_output;
use crate::retained::LayerRetained;

/// The three objectives for one retained set.
///
/// # Errors
/// [`Error::Shape`] when the set was made for other sizes.
pub fn evaluate(layer: &Layer, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
    retained.check(layer.index, layer.shape)?;
    let keeps = keeps_by_head(layer, retained);
    Ok(OutputErrors {
        drop: objective(layer, &layer.attention, &keeps, dropped),
        renormalised: objective(layer, &layer.attention, &keeps, renormalised),
        future: layer
            .future_attention
            .as_ref()
            .map(|attention| objective(layer, attention, &keeps, renormalised)),
    })
}

/// `norm_F(O)`, `O = sum_h A_h B_h` over the window.
#[must_use]
pub fn output_norm(layer: &Layer) -> f64 {
    let heads = layer.shape.query_heads();
    let output = heads.map(|head| head_output(layer, head, &layer.attention.weights[head.0]));
    output.reduce(|sum, next| sum + next).map_or(0.0, |output| output.norm())
}

/// Per KV head, whether each key is kept; positions behind the context cannot be evicted.
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

/// `drop`: evicted columns are gone, the others stay.
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

/// The error of one objective in both forms, with the change of weights it stands for.
fn objective(
    layer: &Layer,
    attention: &Attention,
    keeps: &[Vec<bool>],
    change: WeightChange,
) -> ObjectiveError {
    let mut output = Summed::new(layer, attention);
    let mut error = Summed::new(layer, attention);
    for head in layer.shape.query_heads() {
        let (logits, weights) = (&attention.logits[head.0], &attention.weights[head.0]);
        let change = change(logits, weights, &keeps[layer.shape.kv_head_of(head).0]);
        output.add(&head_output(layer, head, weights));
        error.add(&head_output(layer, head, &change));
    }
    ObjectiveError {
        layer_wise: OutputError {
            squared_error: error.sum.norm_squared(),
            squared_norm: output.sum.norm_squared(),
        },
        head_wise: OutputError { squared_error: error.head_squares, squared_norm: output.head_squares },
    }
}

/// A sum over the query heads beside the sum of the heads' own squared norms.
struct Summed {
    sum: DMatrix<f64>,
    head_squares: f64,
}

impl Summed {
    fn new(layer: &Layer, attention: &Attention) -> Self {
        let rows = attention.weights[0].nrows();
        Self { sum: DMatrix::zeros(rows, layer.shape.hidden_dim), head_squares: 0.0 }
    }

    fn add(&mut self, head: &DMatrix<f64>) {
        self.head_squares += head.norm_squared();
        self.sum += head;
    }
}
