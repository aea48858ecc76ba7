//! Small dense blocks of `M`, of some candidates.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use laprox_reference::{Form, KvHead, QueryHead};
use nalgebra::DMatrix;

use super::FastGram;
use super::group::column_of;

/// The chosen candidates of one KV head.
struct Chosen {
    kv_head: KvHead,
    /// The first of them among all.
    first: usize,
    positions: Vec<usize>,
    /// `[chosen, d]`
    values: Mat<f64>,
}

impl FastGram {
    /// `M_ij = sum over pairs of heads of <a_{h,i}, a_{h',j}> <b_{h,i}, b_{h',j}>`.
    ///
    /// Query heads are taken by their places in their groups: the heads at one place are multiplied with those at another,
    /// for all chosen candidates at once. `<b_{h,i}, b_{h',j}> = v_i (W_h W_h'^T) v_j`.
    pub(super) fn block(&self, candidates: &[usize]) -> DMatrix<f64> {
        let (len, group_size) = (candidates.len(), self.shape.group_size());
        let chosen = self.chosen(candidates);
        let columns: Vec<Mat<f64>> =
            (0..group_size).map(|place| self.chosen_columns(&chosen, place, len)).collect();
        let (mut own, mut mixed) = (DMatrix::zeros(len, len), DMatrix::zeros(len, len));
        let (mut attention, mut values) = (Mat::zeros(len, len), Mat::zeros(len, len));
        for two in 0..group_size {
            let moved = self.moved_values(&chosen, two, len);
            let partners = if self.form == Form::LayerWise { two..group_size } else { two..two + 1 };
            for one in partners {
                let pair = (columns[one].transpose(), columns[two].as_ref());
                matmul(attention.as_mut(), Accum::Replace, pair.0, pair.1, 1.0, Par::Seq);
                self.meet_values(&chosen, one, &moved, &mut values);
                add_products(if one == two { &mut own } else { &mut mixed }, &attention, &values);
            }
        }
        self.join(candidates, own, &mixed)
    }

    /// The chosen candidates, ascending, by KV head.
    fn chosen(&self, candidates: &[usize]) -> Vec<Chosen> {
        let candidate_len = self.shape.candidate_len();
        let of_group = |kv_head: KvHead| {
            let first = candidates.partition_point(|i| i / candidate_len < kv_head.0);
            let last = candidates.partition_point(|i| i / candidate_len <= kv_head.0);
            let positions: Vec<usize> = candidates[first..last].iter().map(|i| i % candidate_len).collect();
            let values = &self.groups[kv_head.0].values;
            let values = Mat::from_fn(positions.len(), self.shape.head_dim, |i, k| values[(positions[i], k)]);
            Chosen { kv_head, first, positions, values }
        };
        self.shape.kv_heads().map(of_group).collect()
    }

    /// The query head at a place in a group.
    fn head_at(&self, kv_head: KvHead, place: usize) -> QueryHead {
        QueryHead(kv_head.0 * self.shape.group_size() + place)
    }

    /// `a_{h,i}` of the heads at a place, `[w, len]`.
    fn chosen_columns(&self, chosen: &[Chosen], place: usize, len: usize) -> Mat<f64> {
        let mut columns = Mat::zeros(self.rows, len);
        for Chosen { kv_head, first, positions, .. } in chosen {
            let group = &self.groups[kv_head.0];
            for (column, &position) in positions.iter().enumerate() {
                let weights = &group.column(position)[place * self.rows..(place + 1) * self.rows];
                let target = columns.as_mut().col_mut(first + column);
                target.iter_mut().zip(weights).for_each(|(number, &weight)| *number = weight);
            }
        }
        columns
    }

    /// `W W_h'^T v_j` of the heads `h'` at a place, for every head of `W`, `[H d, len]`.
    fn moved_values(&self, chosen: &[Chosen], place: usize, len: usize) -> Mat<f64> {
        let mut moved = Mat::zeros(self.weight.ncols(), len);
        for Chosen { kv_head, first, positions, values } in chosen {
            let own = self.head_columns(self.head_at(*kv_head, place));
            let gram = self.projection_gram.as_ref().subcols(own.start, own.len());
            let target = moved.as_mut().subcols_mut(*first, positions.len());
            matmul(target, Accum::Replace, gram, values.transpose(), 1.0, Par::Seq);
        }
        moved
    }

    /// `v_i (W_h W_h'^T) v_j`, `[len, len]`, of the heads `h` at a place and those whose values were moved.
    fn meet_values(&self, chosen: &[Chosen], place: usize, moved: &Mat<f64>, met: &mut Mat<f64>) {
        for Chosen { kv_head, first, positions, values } in chosen {
            let own = self.head_columns(self.head_at(*kv_head, place));
            let target = met.as_mut().subrows_mut(*first, positions.len());
            let moved = moved.as_ref().subrows(own.start, own.len());
            matmul(target, Accum::Replace, values.as_ref(), moved, 1.0, Par::Seq);
        }
    }

    /// Adds up the terms of heads at one place, and of heads at different places in both orders.
    fn join(&self, candidates: &[usize], mut own: DMatrix<f64>, mixed: &DMatrix<f64>) -> DMatrix<f64> {
        let kv_head = |index: usize| candidates[index] / self.shape.candidate_len();
        for j in 0..candidates.len() {
            for i in j..candidates.len() {
                let counts = self.form == Form::LayerWise || kv_head(i) == kv_head(j);
                let entry = if counts { own[(i, j)] + (mixed[(i, j)] + mixed[(j, i)]) } else { 0.0 };
                (own[(i, j)], own[(j, i)]) = (entry, entry);
            }
        }
        own
    }
}

/// Adds the products of two matrices' entries.
fn add_products(sums: &mut DMatrix<f64>, one: &Mat<f64>, two: &Mat<f64>) {
    let rows = sums.nrows();
    for (j, sums) in sums.as_mut_slice().chunks_exact_mut(rows.max(1)).enumerate() {
        let products = column_of(one.as_ref(), j, 0..rows).iter().zip(column_of(two.as_ref(), j, 0..rows));
        sums.iter_mut().zip(products).for_each(|(sum, (one, two))| *sum += one * two);
    }
}
