//! The oracles' operator in f64, by large products: `M`, the Gram matrix of a layer's column-row pairs, never formed.
//!
//! As in the reference, `E(x) = sum_h (A_h diag x) V W_h` and `(M x)_i = sum over the group of a_{h,i}^T (E W_h^T) v_i`; but a query
//! group is one matrix `A_g`, `[G w, n]`, the output projection one for all heads, and
//!
//! ```text
//! E(x) = sum_g (A_g (diag x V)) [W_h],    (M x)_i = <(A_g^T [E W_h^T])_i, v_i>
//! ```
//!
//! take four products a KV head and two a layer. **Rounding**, as the certificate needs it: each entry of `E` goes through one
//! product with `x` and at most `n + d + H` multiply-adds, in whatever order, so it is off by `gamma_(n + d + H + 8)` times the
//! same expression in magnitudes ([`Product::drift`]); each value goes through `D`, then `G w`, then `d` of them, so given `E` it
//! is off by `gamma_(D + G w + d + 8)` times `sum_h norm2(a_{h,i}) norm_F(E) norm_F(W_h) norm2(v_i)` ([`Product::errors`]). The 8 covers
//! the rounding of the magnitudes themselves.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use laprox_reference::attend::Attention;
use laprox_reference::layer::Layer;
use laprox_reference::oracle::convexify;
use laprox_reference::oracle::gram::{Form, PairGram, Product, Rows, gamma};
use laprox_reference::{LayerShape, QueryHead};
use nalgebra::DMatrix;
use pulp::{Simd, WithSimd};

use crate::factor::Faer;
use crate::simd::Level;

/// Slots beyond which `M` is not formed: 8192 of them take half a gibibyte.
const MOST_SLOTS: usize = 8192;

/// Candidates of a product at a time.
const CHUNK: usize = 256;

/// One layer's `M`.
pub struct FastGram {
    shape: LayerShape,
    form: Form,
    /// Query rows of a head.
    rows: usize,
    /// Per KV head.
    groups: Vec<Group>,
    /// `o_proj.weight`, `[D, H d]`: the transposed `W_h` side by side.
    weight: Mat<f64>,
    /// `norm_F(W_h)`
    projection_norms: Vec<f64>,
    /// `W_h W_h'^T` of every pair of query heads, `[H d, H d]`.
    projection_gram: Mat<f64>,
    diagonal: Vec<f64>,
}

/// One KV head's candidates.
struct Group {
    /// `A_g`, `[G w, n - w]`, head after head.
    attention: Mat<f64>,
    /// `[n - w, d]`
    values: Mat<f64>,
    /// `norm2(a_{h,i})`, per head of the group.
    attention_norms: Vec<Vec<f64>>,
    /// `norm2(v_i)`
    value_norms: Vec<f64>,
}

impl FastGram {
    /// The quadratic form of one layer; `None` where it holds no such rows.
    #[must_use]
    pub fn new(layer: &Layer, form: Form, rows: Rows) -> Option<Self> {
        let attention = match rows {
            Rows::Window => &layer.attention,
            Rows::Future => layer.future_attention.as_ref()?,
        };
        let shape = layer.shape;
        let (width, head_dim) = (shape.query_heads * shape.head_dim, shape.head_dim);
        let weight = Mat::from_fn(shape.hidden_dim, width, |channel, column| {
            layer.output_projection[column / head_dim][(column % head_dim, channel)]
        });
        let groups = (0..shape.kv_heads).map(|head| Group::new(layer, attention, head)).collect();
        let rows = attention.weights[0].nrows();
        let projection_gram = product(weight.transpose(), weight.as_ref());
        let projection_norms = layer.output_projection.iter().map(DMatrix::norm).collect();
        let diagonal = Vec::new();
        let mut gram =
            Self { shape, form, rows, groups, weight, projection_norms, projection_gram, diagonal };
        gram.diagonal = (0..shape.kv_heads).flat_map(|head| gram.group_diagonal(head)).collect();
        Some(gram)
    }

    fn head_columns(&self, head: QueryHead) -> Range<usize> {
        head.0 * self.shape.head_dim..(head.0 + 1) * self.shape.head_dim
    }

    /// `W_h^T`, `[D, d]`.
    fn projection(&self, head: QueryHead) -> MatRef<'_, f64> {
        let columns = self.head_columns(head);
        self.weight.as_ref().subcols(columns.start, columns.len())
    }

    /// `W_h W_h'^T`, `[d, d]`.
    fn projection_gram_of(&self, one: QueryHead, two: QueryHead) -> MatRef<'_, f64> {
        let (rows, columns) = (self.head_columns(one), self.head_columns(two));
        self.projection_gram.as_ref().submatrix(rows.start, columns.start, rows.len(), columns.len())
    }

    /// The query heads of a group, each with its rows of `A_g`.
    fn group_rows(&self, kv_head: usize) -> impl Iterator<Item = (QueryHead, usize)> + '_ {
        let group_size = self.shape.group_size();
        (0..group_size).map(move |head| (QueryHead(kv_head * group_size + head), head * self.rows))
    }

    /// `M_ii = sum over pairs (h, h') of the group of <a_{h,i}, a_{h',i}> <b_{h,i}, b_{h',i}>`.
    fn group_diagonal(&self, kv_head: usize) -> Vec<f64> {
        let group = &self.groups[kv_head];
        let candidates = self.shape.candidate_len();
        let mut diagonal = vec![0.0; candidates];
        for (one, one_rows) in self.group_rows(kv_head) {
            for (two, two_rows) in self.group_rows(kv_head).filter(|(two, _)| self.interact(one, *two)) {
                // <v W_h, v W_h'> = v (W_h W_h'^T) v.
                let moved = product(group.values.as_ref(), self.projection_gram_of(one, two));
                let column = |i, first| &group.column(i)[first..first + self.rows];
                for (i, (entry, values)) in
                    diagonal.iter_mut().zip(row_dots(&moved, &group.values)).enumerate()
                {
                    *entry += dot(column(i, one_rows), column(i, two_rows)) * values;
                }
            }
        }
        // A sum of squares in exact arithmetic.
        diagonal.iter().map(|entry| entry.max(0.0)).collect()
    }

    /// Pairs of query heads whose products count.
    fn interact(&self, one: QueryHead, two: QueryHead) -> bool {
        self.form == Form::LayerWise || one == two
    }

    /// The share of `x` that belongs to a KV head.
    fn part<'x>(&self, x: &'x [f64], kv_head: usize) -> &'x [f64] {
        let candidates = self.shape.candidate_len();
        &x[kv_head * candidates..(kv_head + 1) * candidates]
    }

    /// `A_h diag x V` of every head side by side, `[rows, H d]`.
    fn attended(&self, x: &[f64]) -> Mat<f64> {
        let mut attended = Mat::zeros(self.rows, self.weight.ncols());
        for (kv_head, group) in self.groups.iter().enumerate() {
            let sums = group.attended(self.part(x, kv_head));
            for (head, first) in self.group_rows(kv_head) {
                let columns = self.head_columns(head);
                let mut target = attended.as_mut().subcols_mut(columns.start, columns.len());
                target.copy_from(sums.as_ref().subrows(first, self.rows));
            }
        }
        attended
    }

    /// `E(x)`: one matrix for the layer, or one for each query head.
    fn errors(&self, x: &[f64]) -> Vec<Mat<f64>> {
        let attended = self.attended(x);
        match self.form {
            Form::LayerWise => vec![product(attended.as_ref(), self.weight.transpose())],
            Form::HeadWise => {
                let error = |head| {
                    let columns = self.head_columns(head);
                    let attended = attended.as_ref().subcols(columns.start, columns.len());
                    product(attended, self.projection(head).transpose())
                };
                self.shape.query_heads().map(error).collect()
            }
        }
    }

    fn drift(&self, x: &[f64]) -> f64 {
        let shape = self.shape;
        let head = |head: QueryHead| {
            let (kv_head, within) = (shape.kv_head_of(head).0, head.0 % shape.group_size());
            let group = &self.groups[kv_head];
            let norms = group.attention_norms[within].iter().zip(&group.value_norms);
            let pairs: f64 =
                norms.zip(self.part(x, kv_head)).map(|((one, two), share)| one * two * share.abs()).sum();
            pairs * self.projection_norms[head.0]
        };
        let terms = shape.candidate_len() + shape.head_dim + shape.query_heads + 8;
        2.0 * gamma(terms) * shape.query_heads().map(head).sum::<f64>()
    }

    /// `E W_h^T` of every head side by side, `[rows, H d]`, and `norm_F(E) norm_F(W_h)` of each.
    fn pulled(&self, errors: &[Mat<f64>]) -> (Mat<f64>, Vec<f64>) {
        // One error for all heads, or one for each.
        let sizes: Vec<f64> = errors.iter().map(Mat::norm_l2).collect();
        let sizes = self.projection_norms.iter().zip(sizes.iter().cycle()).map(|(norm, size)| norm * size);
        let sizes = sizes.collect();
        match self.form {
            Form::LayerWise => (product(errors[0].as_ref(), self.weight.as_ref()), sizes),
            Form::HeadWise => {
                let mut pulled = Mat::zeros(self.rows, self.weight.ncols());
                for (head, error) in self.shape.query_heads().zip(errors) {
                    let columns = self.head_columns(head);
                    let target = pulled.as_mut().subcols_mut(columns.start, columns.len());
                    matmul(target, Accum::Replace, error.as_ref(), self.projection(head), 1.0, Par::Seq);
                }
                (pulled, sizes)
            }
        }
    }

    /// One KV head's part of the values and of their errors.
    fn group_values(&self, kv_head: usize, pulled: &Mat<f64>, magnitudes: &[f64], product: &mut Product) {
        let (shape, group) = (self.shape, &self.groups[kv_head]);
        let mut stacked = Mat::zeros(group.attention.nrows(), shape.head_dim);
        for (head, first) in self.group_rows(kv_head) {
            let columns = self.head_columns(head);
            let mut rows = stacked.as_mut().subrows_mut(first, self.rows);
            rows.copy_from(pulled.as_ref().subcols(columns.start, columns.len()));
        }
        let terms = shape.hidden_dim + group.attention.nrows() + shape.head_dim + 8;
        let factor = gamma(terms);
        product.values.extend(group.reach(&stacked));
        let mut sums = vec![0.0; shape.candidate_len()];
        for ((head, _), norms) in self.group_rows(kv_head).zip(&group.attention_norms) {
            sums.iter_mut().zip(norms).for_each(|(sum, norm)| *sum += magnitudes[head.0] * norm);
        }
        product.errors.extend(sums.iter().zip(&group.value_norms).map(|(sum, norm)| factor * sum * norm));
    }
}

impl Group {
    fn new(layer: &Layer, attention: &Attention, kv_head: usize) -> Self {
        let shape = layer.shape;
        let (candidates, group_size) = (shape.candidate_len(), shape.group_size());
        let rows = attention.weights[0].nrows();
        let weights = &attention.weights[kv_head * group_size..(kv_head + 1) * group_size];
        let norms = |weights: &DMatrix<f64>| (0..candidates).map(|i| weights.column(i).norm()).collect();
        let values = &layer.values[kv_head];
        Self {
            attention: Mat::from_fn(group_size * rows, candidates, |row, i| {
                weights[row / rows][(row % rows, i)]
            }),
            values: Mat::from_fn(candidates, shape.head_dim, |i, k| values[(i, k)]),
            attention_norms: weights.iter().map(norms).collect(),
            value_norms: (0..candidates).map(|i| values.row(i).norm()).collect(),
        }
    }

    /// `A_g (diag x V)`, `[G w, d]`.
    fn attended(&self, x: &[f64]) -> Mat<f64> {
        let mut sums = Mat::zeros(self.attention.nrows(), self.values.ncols());
        let level = Level::best();
        let mut scaled = Mat::zeros(CHUNK, self.values.ncols());
        for range in self.chunks() {
            let (values, x) = (self.values.as_ref().subrows(range.start, range.len()), &x[range.clone()]);
            level.run(Scale { values, x, scaled: scaled.as_mut().subrows_mut(0, range.len()) });
            let attention = self.attention.as_ref().subcols(range.start, range.len());
            let scaled = scaled.as_ref().subrows(0, range.len());
            matmul(sums.as_mut(), Accum::Add, attention, scaled, 1.0, Par::Seq);
        }
        sums
    }

    /// `<(A_g^T Y)_i, v_i>` of every candidate, `Y` of `[G w, d]`.
    fn reach(&self, rows: &Mat<f64>) -> Vec<f64> {
        let level = Level::best();
        let mut dots = vec![0.0; self.values.nrows()];
        let mut reach = Mat::zeros(CHUNK, self.values.ncols());
        for range in self.chunks() {
            let attention = self.attention.as_ref().subcols(range.start, range.len());
            let target = reach.as_mut().subrows_mut(0, range.len());
            matmul(target, Accum::Replace, attention.transpose(), rows.as_ref(), 1.0, Par::Seq);
            let values = self.values.as_ref().subrows(range.start, range.len());
            let rows = reach.as_ref().subrows(0, range.len());
            level.run(AddRowDots { one: rows, two: values, sums: &mut dots[range] });
        }
        dots
    }

    /// The candidates, some at a time: what is made of them stays in cache.
    fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let len = self.values.nrows();
        (0..len).step_by(CHUNK).map(move |first| first..len.min(first + CHUNK))
    }

    /// The group's weights of one candidate, head after head.
    fn column(&self, position: usize) -> &[f64] {
        column_of(self.attention.as_ref(), position, 0..self.attention.nrows())
    }
}

impl PairGram for FastGram {
    fn slots(&self) -> usize {
        self.shape.kv_heads * self.shape.candidate_len()
    }

    fn product(&self, x: &[f64]) -> Product {
        let errors = self.errors(x);
        let entries = errors.len() * errors[0].nrows() * errors[0].ncols();
        let value = errors.iter().map(Mat::squared_norm_l2).sum::<f64>();
        let mut product = Product {
            values: Vec::with_capacity(self.slots()),
            errors: Vec::with_capacity(self.slots()),
            value,
            squared_norm: value * (1.0 + 2.0 * gamma(entries)),
            drift: self.drift(x),
            root_loss: 0.0,
        };
        let (pulled, magnitudes) = self.pulled(&errors);
        for kv_head in 0..self.shape.kv_heads {
            self.group_values(kv_head, &pulled, &magnitudes, &mut product);
        }
        product
    }

    fn diagonal(&self) -> &[f64] {
        &self.diagonal
    }

    /// One block: `M_ij = sum over pairs of heads of <a_{h,i}, a_{h',j}> <b_{h,i}, b_{h',j}>`.
    ///
    /// Query heads are taken by their places in their groups: those at one place meet those at another, all chosen slots at
    /// once; `<b_{h,i}, b_{h',j}> = v_i (W_h W_h'^T) v_j`.
    fn blocks(&self, slots: &[usize]) -> Vec<DMatrix<f64>> {
        let (len, group_size) = (slots.len(), self.shape.group_size());
        let chosen = self.chosen(slots);
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
        vec![self.join(slots, own, &mixed)]
    }

    /// Each entry of a block is a sum of products of inner products of `w`, and of `D` after `d`, terms.
    fn magnitudes(&self) -> Vec<f64> {
        let shape = self.shape;
        let heads = shape.query_heads * shape.query_heads;
        let factor = gamma(self.rows + shape.hidden_dim + 2 * shape.head_dim + heads + 8).sqrt();
        let mut magnitudes = vec![0.0; self.slots()];
        for head in shape.query_heads() {
            let (kv_head, within) = (shape.kv_head_of(head).0, head.0 % shape.group_size());
            let group = &self.groups[kv_head];
            let absolute = |matrix: MatRef<'_, f64>| {
                Mat::from_fn(matrix.nrows(), matrix.ncols(), |i, k| matrix[(i, k)].abs())
            };
            let (weight, values) = (absolute(self.projection(head)), absolute(group.values.as_ref()));
            let reach = product(weight.as_ref(), values.transpose());
            let first = kv_head * shape.candidate_len();
            for (i, norm) in group.attention_norms[within].iter().enumerate() {
                magnitudes[first + i] += factor * norm * reach.as_ref().col(i).norm_l2();
            }
        }
        magnitudes
    }

    fn convexity(&self) -> Vec<f64> {
        if self.slots() > MOST_SLOTS {
            return vec![0.0; self.slots()];
        }
        convexify::diagonal(self, &Faer)
    }
}

/// The chosen slots of one KV head.
struct Chosen {
    kv_head: usize,
    /// The first of them among all.
    first: usize,
    positions: Vec<usize>,
    /// `[chosen, d]`
    values: Mat<f64>,
}

impl FastGram {
    /// The chosen slots, ascending, by KV head.
    fn chosen(&self, slots: &[usize]) -> Vec<Chosen> {
        let candidates = self.shape.candidate_len();
        let of_group = |kv_head: usize| {
            let first = slots.partition_point(|slot| slot / candidates < kv_head);
            let last = slots.partition_point(|slot| slot / candidates <= kv_head);
            let positions: Vec<usize> = slots[first..last].iter().map(|slot| slot % candidates).collect();
            let values = &self.groups[kv_head].values;
            let values = Mat::from_fn(positions.len(), self.shape.head_dim, |i, k| values[(positions[i], k)]);
            Chosen { kv_head, first, positions, values }
        };
        (0..self.shape.kv_heads).map(of_group).collect()
    }

    /// The query head at a place in a group.
    fn head_at(&self, kv_head: usize, place: usize) -> QueryHead {
        QueryHead(kv_head * self.shape.group_size() + place)
    }

    /// `a_{h,i}` of the heads at a place, `[w, len]`.
    fn chosen_columns(&self, chosen: &[Chosen], place: usize, len: usize) -> Mat<f64> {
        let mut columns = Mat::zeros(self.rows, len);
        for Chosen { kv_head, first, positions, .. } in chosen {
            let group = &self.groups[*kv_head];
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

    /// What heads at one place give, and what those at different places give in one order and in the other.
    fn join(&self, slots: &[usize], mut own: DMatrix<f64>, mixed: &DMatrix<f64>) -> DMatrix<f64> {
        let kv_head = |slot: usize| slots[slot] / self.shape.candidate_len();
        for j in 0..slots.len() {
            for i in j..slots.len() {
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

/// Rows of one column.
#[inline(always)]
fn column_of(matrix: MatRef<'_, f64>, column: usize, rows: Range<usize>) -> &[f64] {
    matrix.col(column).try_as_col_major().map_or(&[], |column| &column.as_slice()[rows])
}

/// `x_i v_i` of every row.
struct Scale<'a> {
    values: MatRef<'a, f64>,
    x: &'a [f64],
    scaled: MatMut<'a, f64>,
}

impl WithSimd for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { values, x, mut scaled } = self;
        for k in 0..values.ncols() {
            let target =
                scaled.as_mut().col_mut(k).try_as_col_major_mut().map_or(&mut [][..], |k| k.as_slice_mut());
            for ((number, value), x) in target.iter_mut().zip(column_of(values, k, 0..x.len())).zip(x) {
                *number = value * x;
            }
        }
    }
}

/// Adds `sum_k X_ik Y_ik` of every row, column by column.
struct AddRowDots<'a> {
    one: MatRef<'a, f64>,
    two: MatRef<'a, f64>,
    sums: &'a mut [f64],
}

impl WithSimd for AddRowDots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = 0..self.sums.len();
        for k in 0..self.one.ncols() {
            let (one, two) = (column_of(self.one, k, rows.clone()), column_of(self.two, k, rows.clone()));
            for ((sum, one), two) in self.sums.iter_mut().zip(one).zip(two) {
                *sum += one * two;
            }
        }
    }
}

fn row_dots(one: &Mat<f64>, two: &Mat<f64>) -> Vec<f64> {
    let mut sums = vec![0.0; one.nrows()];
    Level::best().run(AddRowDots { one: one.as_ref(), two: two.as_ref(), sums: &mut sums });
    sums
}

fn product(one: MatRef<'_, f64>, two: MatRef<'_, f64>) -> Mat<f64> {
    let mut product = Mat::zeros(one.nrows(), two.ncols());
    matmul(product.as_mut(), Accum::Replace, one, two, 1.0, Par::Seq);
    product
}

fn dot(one: &[f64], two: &[f64]) -> f64 {
    one.iter().zip(two).map(|(one, two)| one * two).sum()
}
