//! The changes that flips and swaps make, from inner products of column-row pairs.
//!
//! A move shifts row `t` of the output by `sum over the pairs it touches of z[t] (b_{h,i} - o_h[t])` with `o_h = mean_h W_h`
//! and signed weights `z`, `q / M` for a pair that becomes retained and `-q / M` for one that is evicted, `M` the row's new
//! mass in shares of the old. With `<., .>` in the layer's output, the squared error changes by
//!
//! ```text
//! sum_t sum over pairs e of z_e (2 <R[t], y_e> + sum over pairs f of z_f <y_e, y_f>),    y_e = b_e - o_{h(e)}[t]
//! <y_e, y_f> = <b_e, b_f> - <b_e, o_{h(f)}> - <o_{h(e)}, b_f> + <o_{h(e)}, o_{h(f)}>
//! ```

use nalgebra::{DMatrix, DVector};

use crate::layer::Layer;
use crate::output_error::Form;
use crate::shape::{KvHead, QueryHead};

use super::state::State;
use super::{LEAST_SHARE, Slot, Stop};

/// The data for the flips of all candidates that no round changes: per KV head, pairs of query heads of its group.
pub(super) struct GroupGrams<'a> {
    layer: &'a Layer,
    groups: Vec<Vec<PairOfHeads>>,
}

struct PairOfHeads {
    one: QueryHead,
    two: QueryHead,
    /// `C = W_h W_h'^T`, `[d, d]`.
    gram: DMatrix<f64>,
    /// `<b_{h,i}, b_{h',i}> = v_i C v_i^T` of the candidates.
    products: DVector<f64>,
}

impl<'a> GroupGrams<'a> {
    /// `None` if the search has to end.
    pub fn new(layer: &'a Layer, form: Form, stop: Stop) -> Option<Self> {
        let pairs = |(_, group): (KvHead, Vec<QueryHead>)| {
            let pairs = group.iter().flat_map(|&one| group.iter().map(move |&two| (one, two)));
            let pairs = pairs.filter(|(one, two)| form == Form::LayerWise || one == two);
            (!stop.is_due()).then(|| pairs.map(|(one, two)| PairOfHeads::new(layer, one, two)).collect())
        };
        Some(Self { layer, groups: layer.query_groups().map(pairs).collect::<Option<_>>()? })
    }
}

impl PairOfHeads {
    fn new(layer: &Layer, one: QueryHead, two: QueryHead) -> Self {
        let gram = &layer.output_projection[one.0] * layer.output_projection[two.0].transpose();
        let values = layer.values_of(one).rows(0, layer.shape.candidate_len());
        let products = row_products(&(values * &gram), &values.into_owned());
        Self { one, two, gram, products }
    }
}

/// How the squared error changes when each slot alone is flipped; infinite if that would empty a row.
pub(super) fn flip_changes(state: &State<'_>, grams: &GroupGrams<'_>) -> Vec<f64> {
    let kv_heads = grams.layer.shape.kv_heads();
    kv_heads.flat_map(|head| group_flip_changes(state, head, &grams.groups[head.0])).collect()
}

fn group_flip_changes(state: &State<'_>, kv_head: KvHead, pairs: &[PairOfHeads]) -> Vec<f64> {
    let shape = state.layer.shape;
    let values = state.layer.values[kv_head.0].rows(0, shape.candidate_len()).transpose();
    let first = kv_head.0 * shape.group_size();
    let weights: Vec<DMatrix<f64>> =
        shape.query_group(kv_head).map(|head| flip_weights(state, kv_head, head)).collect();
    let mut changes = vec![0.0; shape.candidate_len()];

    for head in shape.query_group(kv_head) {
        let pulled = state.residual_at(head) * state.layer.output_projection[head.0].transpose();
        let offsets = row_products(&pulled, &state.heads[head.0].mean);
        let mut slopes = &pulled * &values;
        slopes.column_iter_mut().for_each(|mut column| column -= &offsets);
        for (i, change) in changes.iter_mut().enumerate() {
            *change += 2.0 * weights[head.0 - first].column(i).dot(&slopes.column(i));
        }
    }
    for pair in pairs {
        let (one, two) = (&state.heads[pair.one.0], &state.heads[pair.two.0]);
        let reach = &one.mean * &pair.gram;
        let own = row_products(&reach, &two.mean);
        // Both mixed terms of <y, y'>: over both orders of the two heads, twice the one.
        let mixed = reach * &values * 2.0;
        let weights = (&weights[pair.one.0 - first], &weights[pair.two.0 - first]);
        for (i, change) in changes.iter_mut().enumerate() {
            for (row, own) in own.iter().enumerate() {
                let product = pair.products[i] - mixed[(row, i)] + own;
                *change += weights.0[(row, i)] * weights.1[(row, i)] * product;
            }
        }
    }
    changes.iter().map(|change| if change.is_nan() { f64::INFINITY } else { *change }).collect()
}

/// `z = q / (1 + q)` for an evicted slot, `-q / (1 - q)` for a retained one, NaN if too little would be left.
fn flip_weights(state: &State<'_>, kv_head: KvHead, head: QueryHead) -> DMatrix<f64> {
    let mut weights = state.heads[head.0].shares.clone();
    for (position, mut column) in weights.column_iter_mut().enumerate() {
        let sign = if state.keeps((kv_head, position)) { -1.0 } else { 1.0 };
        for share in column.iter_mut() {
            let mass = 1.0 + sign * *share;
            *share = if mass > LEAST_SHARE { sign * *share / mass } else { f64::NAN };
        }
    }
    weights
}

/// The column-row pairs of some slots, `G` per slot.
pub(super) struct ChosenPairs<'a> {
    state: &'a State<'a>,
    slots: &'a [Slot],
    /// `2 <R[t], y_e>`, `[w, pairs]`.
    slopes: DMatrix<f64>,
    /// `<b_e, b_f>`, `[pairs, pairs]`.
    products: DMatrix<f64>,
    /// `<o_h[t], b_e>`, `[w, pairs]` for each query head.
    reaches: Vec<DMatrix<f64>>,
    /// `<o_h[t], o_h'[t]>`, `[w, H]` for each query head.
    means: Vec<DMatrix<f64>>,
}

/// One pair in a move: its index, its query head, and its signed weights `z`.
struct Weighted {
    pair: usize,
    head: QueryHead,
    weights: DVector<f64>,
}

impl<'a> ChosenPairs<'a> {
    pub fn new(state: &'a State<'a>, slots: &'a [Slot]) -> Self {
        let layer = state.layer;
        let shape = layer.shape;
        let pairs: Vec<(QueryHead, usize)> = slots
            .iter()
            .flat_map(|&(kv_head, position)| shape.query_group(kv_head).map(move |head| (head, position)))
            .collect();
        let row = |&(head, position): &(QueryHead, usize)| {
            (layer.values_of(head).row(position) * &layer.output_projection[head.0]).transpose()
        };
        let rows: Vec<DVector<f64>> = pairs.iter().map(row).collect();
        let rows = DMatrix::from_fn(shape.hidden_dim, pairs.len(), |channel, pair| rows[pair][channel]);
        let output = |head: QueryHead| &state.heads[head.0].mean * &layer.output_projection[head.0];
        let outputs: Vec<DMatrix<f64>> = shape.query_heads().map(output).collect();
        let products_with = |one: &DMatrix<f64>| {
            let columns: Vec<_> = outputs.iter().map(|two| row_products(one, two)).collect();
            DMatrix::from_columns(&columns)
        };
        let mut slopes = DMatrix::zeros(shape.window_len, pairs.len());
        for head in shape.query_heads() {
            let residual = state.residual_at(head);
            let offsets = row_products(&residual, &outputs[head.0]);
            for (pair, _) in pairs.iter().enumerate().filter(|(_, pair)| pair.0 == head) {
                slopes.set_column(pair, &((&residual * rows.column(pair) - &offsets) * 2.0));
            }
        }
        Self {
            state,
            slots,
            slopes,
            products: rows.tr_mul(&rows),
            reaches: outputs.iter().map(|output| output * &rows).collect(),
            means: outputs.iter().map(products_with).collect(),
        }
    }

    /// How the squared error changes when one chosen slot is evicted and another retained; `None` if that would empty a row.
    pub fn swap_change(&self, evict: usize, retain: usize) -> Option<f64> {
        let mut moved = self.weighted(retain, evict, 1.0)?;
        moved.extend(self.weighted(evict, retain, -1.0)?);
        let mut change = 0.0;
        for one in &moved {
            change += one.weights.dot(&self.slopes.column(one.pair));
            for two in moved.iter().filter(|two| self.state.interact(one.head, two.head)) {
                change += self.weighted_product(one, two);
            }
        }
        Some(change)
    }

    /// `sum_t z_e z_f <y_e, y_f>`.
    fn weighted_product(&self, one: &Weighted, two: &Weighted) -> f64 {
        let product = self.products[(one.pair, two.pair)];
        let row = |row: usize| {
            let inner = product
                - self.reaches[two.head.0][(row, one.pair)]
                - self.reaches[one.head.0][(row, two.pair)]
                + self.means[one.head.0][(row, two.head.0)];
            one.weights[row] * two.weights[row] * inner
        };
        (0..one.weights.len()).map(row).sum()
    }

    /// The pairs of chosen slot `of`, weighted by `sign * q / M`, while `other` moves the opposite way.
    fn weighted(&self, of: usize, other: usize, sign: f64) -> Option<Vec<Weighted>> {
        let ((kv_head, position), other) = (self.slots[of], self.slots[other]);
        let shape = self.state.layer.shape;
        let weigh = |(offset, head): (usize, QueryHead)| {
            let shares = &self.state.heads[head.0].shares;
            let opposed = |row| if other.0 == kv_head { shares[(row, other.1)] } else { 0.0 };
            let weight = |row| {
                let mass = 1.0 + sign * (shares[(row, position)] - opposed(row));
                (mass > LEAST_SHARE).then(|| sign * shares[(row, position)] / mass)
            };
            let weights: Vec<f64> = (0..shape.window_len).map(weight).collect::<Option<_>>()?;
            Some(Weighted { pair: of * shape.group_size() + offset, head, weights: weights.into() })
        };
        shape.query_group(kv_head).enumerate().map(weigh).collect()
    }
}

/// The inner products of two matrices' rows.
fn row_products(one: &DMatrix<f64>, two: &DMatrix<f64>) -> DVector<f64> {
    DVector::from_fn(one.nrows(), |row, _| one.row(row).dot(&two.row(row)))
}
