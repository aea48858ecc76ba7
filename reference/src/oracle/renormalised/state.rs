//! A retained set with its `renormalised` error, computed as the stage *evaluate* does.
//!
//! Everything is measured in shares of the retained mass,
//!
//! ```text
//! q_{h,i}[t] = A_h[t, i] / sum over retained j of A_h[t, j] = exp(l_i - log sum over retained j of exp(l_j))
//! ```
//!
//! for retained and evicted candidates alike. Computed from the logits, they are right even if the retained mass itself
//! would underflow. The window's positions are always retained, so no row is empty.

use nalgebra::{DMatrix, DVector};

use crate::attend::softmax_of_retained;
use crate::layer::Layer;
use crate::output_error::Form;
use crate::project::head_output;
use crate::shape::{KvHead, QueryHead};

use super::Slot;

/// The logarithm beyond which a share is cut off: `q / (1 + q)` is 1 long before, and `exp` would overflow.
const LARGEST_LOG_SHARE: f64 = 600.0;

/// One query head's output after the eviction.
#[derive(Clone, Debug)]
pub(super) struct HeadState {
    /// `q_{h,i}[t]` of the candidates, `[w, n - w]`.
    pub shares: DMatrix<f64>,
    /// `mean_h[t] = sum over retained i of q_{h,i}[t] v_i`, `[w, d]`.
    pub mean: DMatrix<f64>,
    /// `(mean_h - o_h) W_h`, `[w, D]`.
    pub residual: DMatrix<f64>,
}

impl HeadState {
    fn new(layer: &Layer, head: QueryHead, keeps: &[bool]) -> Self {
        let logits = &layer.attention.logits[head.0];
        let retained = softmax_of_retained(logits, keeps);
        let change = &retained - &layer.attention.weights[head.0];
        let mut shares = logits.columns(0, layer.shape.candidate_len()).into_owned();
        let log_masses = log_masses(logits, keeps);
        for mut column in shares.column_iter_mut() {
            for (share, log_mass) in column.iter_mut().zip(log_masses.iter()) {
                *share = (*share - log_mass).min(LARGEST_LOG_SHARE).exp();
            }
        }
        Self {
            shares,
            mean: &retained * layer.values_of(head).rows(0, retained.ncols()),
            residual: head_output(layer, head, &change),
        }
    }
}

/// `log sum over retained j of exp(l_j)`, row by row.
fn log_masses(logits: &DMatrix<f64>, keeps: &[bool]) -> DVector<f64> {
    DVector::from_fn(logits.nrows(), |row, _| {
        let logits = logits.row(row);
        let retained = || logits.iter().zip(keeps).filter(|(_, keep)| **keep).map(|(logit, _)| *logit);
        let largest = retained().fold(f64::NEG_INFINITY, f64::max);
        largest + retained().map(|logit| (logit - largest).exp()).sum::<f64>().ln()
    })
}

/// A retained set of one layer.
pub(super) struct State<'a> {
    pub layer: &'a Layer,
    pub form: Form,
    /// Per KV head, which of the `n` positions stay.
    keeps: Vec<Vec<bool>>,
    pub heads: Vec<HeadState>,
    /// `norm_F(sum_h residual_h)^2`, or head-wise `sum_h norm_F(residual_h)^2`.
    pub squared_error: f64,
}

/// The heads that a swap touches, after it.
pub(super) struct Swapped {
    heads: Vec<(QueryHead, HeadState)>,
    pub squared_error: f64,
}

impl<'a> State<'a> {
    pub fn new(layer: &'a Layer, form: Form, keeps: Vec<Vec<bool>>) -> Self {
        let head = |head| HeadState::new(layer, head, &keeps[layer.shape.kv_head_of(head).0]);
        let heads: Vec<HeadState> = layer.shape.query_heads().map(head).collect();
        let squared_error = squared_error(form, heads.iter().map(|head| &head.residual));
        Self { layer, form, keeps, heads, squared_error }
    }

    /// Whether a slot is retained.
    pub fn keeps(&self, (head, position): Slot) -> bool {
        self.keeps[head.0][position]
    }

    /// The retained candidates of each KV head, ascending.
    pub fn retained(&self) -> Vec<Vec<u32>> {
        let candidate_len = self.layer.shape.candidate_len();
        let kept = |keeps: &Vec<bool>| {
            (0..candidate_len).filter(|&position| keeps[position]).map(|position| position as u32).collect()
        };
        self.keeps.iter().map(kept).collect()
    }

    /// Whether the product of two heads' changes counts.
    pub fn interact(&self, one: QueryHead, two: QueryHead) -> bool {
        self.form == Form::LayerWise || one == two
    }

    /// `R` for query head `h`: the layer's, or head-wise its own.
    pub fn residual_at(&self, head: QueryHead) -> DMatrix<f64> {
        match self.form {
            Form::HeadWise => self.heads[head.0].residual.clone(),
            Form::LayerWise => sum(self.heads.iter().map(|head| &head.residual)),
        }
    }

    /// The set with one slot evicted and one retained, computed anew from the logits.
    pub fn swapped(&self, evict: Slot, retain: Slot) -> Swapped {
        let shape = self.layer.shape;
        let mut heads = Vec::new();
        for kv_head in shape.kv_heads().filter(|&head| head == evict.0 || head == retain.0) {
            let keeps = self.keeps_after(kv_head, evict, retain);
            let group = shape.query_group(kv_head);
            heads.extend(group.map(|head| (head, HeadState::new(self.layer, head, &keeps))));
        }
        let residual = |head: QueryHead| {
            let swapped = heads.iter().find(|(other, _)| *other == head);
            &swapped.map_or(&self.heads[head.0], |(_, swapped)| swapped).residual
        };
        let squared_error = squared_error(self.form, shape.query_heads().map(residual));
        Swapped { heads, squared_error }
    }

    fn keeps_after(&self, kv_head: KvHead, evict: Slot, retain: Slot) -> Vec<bool> {
        let mut keeps = self.keeps[kv_head.0].clone();
        for (slot, keep) in [(evict, false), (retain, true)] {
            if slot.0 == kv_head {
                keeps[slot.1] = keep;
            }
        }
        keeps
    }

    /// Applies a swap.
    pub fn accept(&mut self, evict: Slot, retain: Slot, swapped: Swapped) {
        self.keeps[evict.0.0][evict.1] = false;
        self.keeps[retain.0.0][retain.1] = true;
        for (head, state) in swapped.heads {
            self.heads[head.0] = state;
        }
        self.squared_error = swapped.squared_error;
    }
}

/// In the order of the stage *evaluate*, so that both agree to the last bit.
fn squared_error<'r>(form: Form, residuals: impl Iterator<Item = &'r DMatrix<f64>>) -> f64 {
    match form {
        Form::HeadWise => residuals.map(DMatrix::norm_squared).fold(0.0, |sum, square| sum + square),
        Form::LayerWise => sum(residuals).norm_squared(),
    }
}

fn sum<'r>(residuals: impl Iterator<Item = &'r DMatrix<f64>>) -> DMatrix<f64> {
    residuals
        .fold(None, |sum, next| Some(sum.map_or_else(|| next.clone(), |sum| sum + next)))
        .expect("a head")
}
