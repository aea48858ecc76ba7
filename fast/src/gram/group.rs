//! One KV head's candidates, and the products with them.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use laprox_reference::KvHead;
use laprox_reference::attend::Attention;
use laprox_reference::layer::Layer;
use nalgebra::DMatrix;
use pulp::{Simd, WithSimd};

use crate::simd::Level;

/// Why a column of one of this module's matrices is contiguous.
const OWNED: &str = "a matrix of our own has contiguous columns";

/// Candidates per product.
const CHUNK: usize = 256;

/// One KV head's candidates.
pub struct Group {
    /// `A_g`, `[G w, n - w]`, head after head.
    pub attention: Mat<f64>,
    /// `[n - w, d]`
    pub values: Mat<f64>,
    /// `norm2(a_{h,i})`, by head of the group.
    pub attention_norms: Vec<Vec<f64>>,
    /// `norm2(v_i)`
    pub value_norms: Vec<f64>,
}

impl Group {
    pub fn new(layer: &Layer, attention: &Attention, kv_head: KvHead) -> Self {
        let shape = layer.shape;
        let (candidate_len, group_size) = (shape.candidate_len(), shape.group_size());
        let rows = attention.weights[0].nrows();
        let weights = &attention.weights[kv_head.0 * group_size..][..group_size];
        let norms = |weights: &DMatrix<f64>| (0..candidate_len).map(|i| weights.column(i).norm()).collect();
        let values = &layer.values[kv_head.0];
        Self {
            attention: Mat::from_fn(group_size * rows, candidate_len, |row, i| {
                weights[row / rows][(row % rows, i)]
            }),
            values: Mat::from_fn(candidate_len, shape.head_dim, |i, k| values[(i, k)]),
            attention_norms: weights.iter().map(norms).collect(),
            value_norms: (0..candidate_len).map(|i| values.row(i).norm()).collect(),
        }
    }

    /// `A_g (diag x V)`, `[G w, d]`.
    pub fn attended(&self, x: &[f64]) -> Mat<f64> {
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
    pub fn reach(&self, rows: &Mat<f64>) -> Vec<f64> {
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

    /// The candidates in chunks, whose products stay in cache.
    fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let len = self.values.nrows();
        (0..len).step_by(CHUNK).map(move |first| first..len.min(first + CHUNK))
    }

    /// The group's weights of one candidate, head after head.
    pub fn column(&self, position: usize) -> &[f64] {
        column_of(self.attention.as_ref(), position, 0..self.attention.nrows())
    }
}

/// Rows of one column.
#[inline(always)]
pub fn column_of(matrix: MatRef<'_, f64>, column: usize, rows: Range<usize>) -> &[f64] {
    &matrix.col(column).try_as_col_major().expect(OWNED).as_slice()[rows]
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
            let target = scaled.as_mut().col_mut(k).try_as_col_major_mut().expect(OWNED).as_slice_mut();
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

/// `sum_k X_ik Y_ik` of every row.
pub fn row_dots(one: &Mat<f64>, two: &Mat<f64>) -> Vec<f64> {
    let mut sums = vec![0.0; one.nrows()];
    Level::best().run(AddRowDots { one: one.as_ref(), two: two.as_ref(), sums: &mut sums });
    sums
}
