//! Stage *evaluate*: the change that an eviction makes in the layer's output.

use nalgebra::{DMatrix, DVector, RowDVector};

use crate::attend::{Attention, softmax_of_retained};
use crate::error::Result;
use crate::layer::Layer;
use crate::oracle::Rows;
use crate::output_error::{ObjectiveError, OutputError, OutputErrors};
use crate::project::head_output;
use crate::retained::LayerRetained;
use crate::shape::{KvHead, QueryHead};

/// The three objectives for one retained set, relative to the layer's own norms; without `drop` for a reweighted one.
///
/// # Errors
/// [`crate::Error::Shape`] when the set was made for other sizes.
pub fn evaluate(layer: &Layer, norms: &OutputNorms, retained: LayerRetained<'_>) -> Result<OutputErrors> {
    retained.check(layer.index, layer.shape)?;
    let heads: Vec<Kept> = layer.shape.kv_heads().map(|head| Kept::new(layer, retained, head)).collect();
    let OutputNorms { window, future } = norms;
    let later = layer.future_attention.as_ref().zip(future.as_ref());
    let is_plain = !retained.is_reweighted();
    Ok(OutputErrors {
        drop: is_plain.then(|| objective(layer, &layer.attention, window, &heads, dropped)),
        renormalised: objective(layer, &layer.attention, window, &heads, renormalised),
        future: later.map(|(attention, norms)| objective(layer, attention, norms, &heads, renormalised)),
    })
}

/// The `drop` objective alone, for the window's queries or the later ones.
///
/// # Errors
/// As [`evaluate`]; also when the layer holds no later queries, or the set is reweighted.
pub fn drop_error(
    layer: &Layer,
    norms: &OutputNorms,
    retained: LayerRetained<'_>,
    rows: Rows,
) -> Result<ObjectiveError> {
    retained.check(layer.index, layer.shape)?;
    retained.check_plain()?;
    let norms = match rows {
        Rows::Window => Some(&norms.window),
        Rows::Future => norms.future.as_ref(),
    };
    let attention = rows.attention(layer)?;
    let norms = norms.expect("attention that is there has norms");
    let heads: Vec<Kept> = layer.shape.kv_heads().map(|head| Kept::new(layer, retained, head)).collect();
    Ok(objective(layer, attention, norms, &heads, dropped))
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
            let output = |head: QueryHead| head_output(layer, head, &attention.weights[head.0]);
            Summed::of(layer, attention.rows(), output).squares()
        };
        Self { window: norms(&layer.attention), future: layer.future_attention.as_ref().map(norms) }
    }
}

/// What an eviction makes of one KV head's keys and values. Positions after the context cannot be evicted.
struct Kept {
    /// Whether each of the `n + t` keys is kept.
    keeps: Vec<bool>,
    /// The logit bias of each key, if the set is reweighted.
    bias: Option<DVector<f64>>,
    /// `V' - V`, `[n + t, d]`, if values are replaced.
    moved: Option<DMatrix<f64>>,
}

impl Kept {
    fn new(layer: &Layer, retained: LayerRetained<'_>, head: KvHead) -> Self {
        let mut keeps = retained.keeps(head);
        keeps.resize(layer.shape.cached_len(), true);
        let positions = retained.head(head).iter().map(|&position| position as usize);
        let bias = retained.bias(head).map(|bias| {
            let mut of_keys = DVector::zeros(keeps.len());
            positions.clone().zip(bias).for_each(|(position, &bias)| of_keys[position] = f64::from(bias));
            of_keys
        });
        let moved = retained.values(head).map(|values| {
            let own = &layer.values[head.0];
            let mut moved = DMatrix::zeros(own.nrows(), own.ncols());
            for (position, value) in positions.zip(values.chunks_exact(own.ncols())) {
                let value = RowDVector::from_iterator(value.len(), value.iter().copied().map(f64::from));
                moved.set_row(position, &(value - own.row(position)));
            }
            moved
        });
        Self { keeps, bias, moved }
    }

    /// The softmax over the retained keys, with their biases.
    fn softmax(&self, logits: &DMatrix<f64>) -> DMatrix<f64> {
        let Some(bias) = &self.bias else { return softmax_of_retained(logits, &self.keeps) };
        let mut biased = logits.clone();
        for (mut column, &bias) in biased.column_iter_mut().zip(bias) {
            column.add_scalar_mut(bias);
        }
        softmax_of_retained(&biased, &self.keeps)
    }
}

/// The change of one query head's output by an eviction, `[rows, D]`.
type Change = fn(&Layer, &Attention, &Kept, QueryHead) -> DMatrix<f64>;

/// `drop`: evicted columns become zero, the others stay.
fn dropped(layer: &Layer, attention: &Attention, kept: &Kept, head: QueryHead) -> DMatrix<f64> {
    let mut change = -&attention.weights[head.0];
    for (mut column, &keep) in change.column_iter_mut().zip(&kept.keeps) {
        if keep {
            column.fill(0.0);
        }
    }
    head_output(layer, head, &change)
}

/// `renormalised`: each row is the softmax of its retained keys. With biases and values of their own, `A' V' - A V` is
/// `(A' - A) V + A' (V' - V)`.
fn renormalised(layer: &Layer, attention: &Attention, kept: &Kept, head: QueryHead) -> DMatrix<f64> {
    let weights = kept.softmax(&attention.logits[head.0]);
    let change = head_output(layer, head, &(&weights - &attention.weights[head.0]));
    let Some(moved) = &kept.moved else { return change };
    let attended = &weights * moved.rows(0, weights.ncols());
    change + attended * &layer.output_projection[head.0]
}

/// One objective's error in both forms.
fn objective(
    layer: &Layer,
    attention: &Attention,
    norms: &Norms,
    heads: &[Kept],
    change: Change,
) -> ObjectiveError {
    let error = Summed::of(layer, attention.rows(), |head| {
        change(layer, attention, &heads[layer.shape.kv_head_of(head).0], head)
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
    /// Adds up the query heads' matrices `[rows, D]`.
    fn of(layer: &Layer, rows: usize, of_head: impl Fn(QueryHead) -> DMatrix<f64>) -> Self {
        let mut summed = Self { sum: DMatrix::zeros(rows, layer.shape.hidden_dim), head_squares: 0.0 };
        for head in layer.shape.query_heads() {
            let output = of_head(head);
            summed.head_squares += output.norm_squared();
            summed.sum += output;
        }
        summed
    }

    fn squares(&self) -> Norms {
        Norms { layer_wise: self.sum.norm_squared(), head_wise: self.head_squares }
    }
}
