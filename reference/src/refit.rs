//! Stage *refit*: retained entries are reweighted so that they reproduce the window's output: how much a bias, and another value, can add
//! to a set that is chosen.
//!
//! Per KV head, over the rows `(h, t)` of its query group, with `S` the retained candidates and `o = A_h V` before its projection:
//!
//! ```text
//! bias:    beta = ln(1 + u), u >= 0 least squares of  sum over the retained of A_i (1 + u_i) (v_i - o) = 0
//!                                              and of  s (sum over the retained of A_i (1 + u_i) - 1) = 0
//! values:  Delta least squares of  X (V + Delta) = A_h V,  X the softmax of the biased retained logits,
//!          plus lambda norm_F(Delta)^2
//! ```
//!
//! `s^2` is [`MASS`] times the rows' mean `norm2(o)^2`, and `lambda` is [`RIDGE`] times the mean diagonal entry of `X_S X_S^T`. The first
//! line alone is the numerator of the renormalised error and leaves the size of the weights open; the second alone is
//! the fit of masses in the paper, after which outputs of the plain values are further off than before. The window's own entries keep their logits
//! and values: few rows see them, and all later ones will. There are fewer rows than unknowns where a head keeps many
//! candidates, so `values` fits the window far better than what comes after it: compare the `future` error.
//!
//! Source: Attention Matching (arXiv 2602.16284), which also chooses keys. Its biases may be negative; here `beta >= 0`, because evicting
//! only takes weight away.

mod least_squares;

use nalgebra::{DMatrix, DVector};

pub use least_squares::{non_negative, ridge};

use crate::attend::softmax_of_retained;
use crate::error::{Result, all_finite};
use crate::layer::Layer;
use crate::layers::Layers;
use crate::options::Refit;
use crate::retained::{LayerRetained, RetainedSet};
use crate::reweighting::Reweighting;
use crate::shape::{KvHead, QueryHead};

/// The weight of a row's mass beside its output. Of 0.01, 0.1 and 1, measured on SmolLM2-135M: the one with which biases alone lower the
/// `renormalised` and the `future` error of every set.
pub const MASS: f64 = 0.1;

/// The ridge of the values, relative to the mean square of a row's weights. Of 1e-4, 1e-2, 0.1 and 1: the one with the least `future` errors.
pub const RIDGE: f64 = 0.01;

/// Reweights the sets whose `refits` ask for it. Each layer is visited once, in f64 on every path.
///
/// # Errors
/// When a layer is refused; [`crate::Error::Range`] when f64 does not hold a fit, [`crate::Error::Shape`] when f32 does not.
pub fn refit<L: Layers>(
    layers: &L,
    sets: Vec<RetainedSet>,
    refits: &[Refit],
) -> Result<Vec<RetainedSet>, L::Error> {
    if refits.iter().all(|&refit| refit == Refit::No) {
        return Ok(sets);
    }
    let fits = layers.at_once(|ordinal, layer| {
        let layer = layer.reference()?;
        let fit = |(set, &refit): (&RetainedSet, &Refit)| match refit {
            Refit::No => Ok(Fit::default()),
            _ => of_layer(layer, set.layer(ordinal), refit),
        };
        sets.iter().zip(refits).map(fit).collect::<Result<Vec<_>>>()
    })?;
    let joined = |(place, (set, &refit)): (usize, (RetainedSet, &Refit))| {
        if refit == Refit::No {
            return Ok(set);
        }
        let bias = fits.iter().flat_map(|layer| &layer[place].bias).copied().collect();
        let values = || fits.iter().flat_map(|layer| &layer[place].values).copied().collect();
        set.reweighted(Reweighting::new(bias, (refit == Refit::Values).then(values))?)
    };
    Ok(sets.into_iter().zip(refits).enumerate().map(joined).collect::<Result<_>>()?)
}

/// The biases of some entries, and their values if these are fitted, `[entries, d]`.
#[derive(Clone, Debug, Default)]
struct Fit {
    bias: Vec<f32>,
    values: Vec<f32>,
}

/// The fit of every entry of one layer's set, KV head after KV head.
fn of_layer(layer: &Layer, retained: LayerRetained<'_>, refit: Refit) -> Result<Fit> {
    retained.check(layer.index, layer.shape)?;
    let mut fit = Fit::default();
    for (head, group) in layer.query_groups() {
        let rows = GroupRows::new(layer, retained, head, group);
        let bias = rows.bias();
        all_finite(layer.index, "a fitted logit bias", bias.iter())?;
        fit.bias.extend(bias.iter().map(|&bias| bias as f32));
        fit.bias.extend(vec![0.0; layer.shape.window_len]);
        if refit == Refit::Values {
            let values = rows.values(&bias);
            all_finite(layer.index, "a fitted value", values.iter())?;
            fit.values.extend(values.transpose().iter().map(|&value| value as f32));
        }
    }
    Ok(fit)
}

/// The window's rows of a KV head's query group.
struct GroupRows<'a> {
    layer: &'a Layer,
    head: KvHead,
    group: Vec<QueryHead>,
    /// The retained candidates, then the window.
    retained: Vec<usize>,
    /// How many of them are candidates.
    candidates: usize,
    /// `V` of the retained.
    values: DMatrix<f64>,
}

impl<'a> GroupRows<'a> {
    fn new(layer: &'a Layer, retained: LayerRetained<'_>, head: KvHead, group: Vec<QueryHead>) -> Self {
        let retained: Vec<usize> = retained.head(head).iter().map(|&position| position as usize).collect();
        let candidates = retained.len() - layer.shape.window_len;
        let values = layer.values[head.0].select_rows(&retained);
        Self { layer, head, group, retained, candidates, values }
    }

    /// `A_h V`, `[w, d]`.
    fn output(&self, head: QueryHead) -> DMatrix<f64> {
        let weights = &self.layer.attention.weights[head.0];
        weights * self.layer.values[self.head.0].rows(0, weights.ncols())
    }

    /// `beta` of the retained candidates.
    fn bias(&self) -> DVector<f64> {
        let (gram, target) = self.normal_equations();
        non_negative(&gram, &target).map(f64::ln_1p)
    }

    /// The normal equations of `u`. With `r_t = sum over the retained of A_i (v_i - o_t)` and `m_t` the retained mass:
    ///
    /// ```text
    /// gram_jk = sum of A_j A_k (<v_j - o, v_k - o> + s^2)
    /// target_j = sum of A_j (s^2 (1 - m) - <v_j - o, r>)
    /// ```
    fn normal_equations(&self) -> (DMatrix<f64>, DVector<f64>) {
        let values = self.values.rows(0, self.candidates);
        let inner = values * values.transpose();
        let outputs: Vec<_> = self.group.iter().map(|&head| self.output(head)).collect();
        let square: f64 = outputs.iter().map(DMatrix::norm_squared).sum();
        let rows: usize = outputs.iter().map(DMatrix::nrows).sum();
        let mass = MASS * square / rows as f64;
        let mut gram = DMatrix::zeros(self.candidates, self.candidates);
        let mut target = DVector::zeros(self.candidates);
        for (head, output) in self.group.iter().zip(&outputs) {
            let weights = self.layer.attention.weights[head.0].select_columns(&self.retained);
            let own = weights.columns(0, self.candidates);
            let (along, masses) = (output * values.transpose(), weights.column_sum());
            let cross = own.component_mul(&along).tr_mul(&own);
            let mut scaled = own.clone_owned();
            for (row, output) in output.row_iter().enumerate() {
                scaled.row_mut(row).scale_mut(output.norm_squared() + mass);
            }
            gram += own.tr_mul(&own).component_mul(&inner) - &cross - cross.transpose() + own.tr_mul(&scaled);
            let mut residual = &weights * &self.values;
            for row in 0..residual.nrows() {
                let moved = residual.row(row) - output.row(row) * masses[row];
                residual.set_row(row, &moved);
            }
            let reach = &residual * values.transpose();
            for row in 0..residual.nrows() {
                let level = mass * (1.0 - masses[row]) + residual.row(row).dot(&output.row(row));
                for j in 0..self.candidates {
                    target[j] += own[(row, j)] * (level - reach[(row, j)]);
                }
            }
        }
        (gram, target)
    }

    /// `V + Delta` of the retained, the window's own among them, `[retained, d]`.
    fn values(&self, bias: &DVector<f64>) -> DMatrix<f64> {
        let keeps = vec![true; self.retained.len()];
        let (mut weights, mut missing) = (Vec::new(), Vec::new());
        for &head in &self.group {
            let mut logits = self.layer.attention.logits[head.0].select_columns(&self.retained);
            for (mut column, &bias) in logits.column_iter_mut().zip(bias) {
                column.add_scalar_mut(bias);
            }
            let biased = softmax_of_retained(&logits, &keeps);
            missing.push(self.output(head) - &biased * &self.values);
            weights.push(biased.columns(0, self.candidates).into_owned());
        }
        let moved = ridge(&stacked(&weights), &stacked(&missing), RIDGE);
        let mut values = self.values.clone();
        let mut own = values.rows_mut(0, self.candidates);
        own += moved;
        values
    }
}

/// Matrices of one width below each other.
fn stacked(parts: &[DMatrix<f64>]) -> DMatrix<f64> {
    let rows: Vec<_> = parts.iter().flat_map(|part| part.row_iter()).collect();
    DMatrix::from_fn(rows.len(), parts[0].ncols(), |row, column| rows[row][column])
}
