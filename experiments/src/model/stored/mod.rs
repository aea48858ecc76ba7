//! Matrices as their file stores them, and their products with rows of activations.
//!
//! ```text
//! blocks, super_blocks   the formats: bytes -> codes and their factors
//! chunk, lanes           codes -> numbers, exact but for one rounding, the same on every instruction set
//! few, padded            few rows (decoding): every weight is read once for all rows
//! many                   many rows (prefill): panels of weights are widened, and multiplied by faer
//! ```
//!
//! The activations stay f32, so a product differs from that of the widened matrix by nothing but the order of its sums, and
//! a matrix that was widened before has the same products to the bit.

mod blocks;
mod chunk;
mod few;
mod lanes;
mod many;
mod padded;
mod super_blocks;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use faer::MatMut;
use laprox_fast::Level;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use blocks::Blocks;
use chunk::{CHUNK, Chunk};
use few::{Few, MOST_ROWS, WEIGHT_ROWS};
use padded::PaddedRows;

/// Memory that matrices share.
type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// The element types of matrices.
pub const ELEMENTS: [GgmlDType; 13] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

/// A matrix `[rows, columns]` in blocks of its element type, row after row.
#[derive(Clone)]
pub struct Matrix {
    owner: Owner,
    place: Range<usize>,
    element: GgmlDType,
    rows: usize,
    columns: usize,
}

/// Numbers whose bytes a matrix holds.
struct Widened(Vec<f32>);

impl AsRef<[u8]> for Widened {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// What is done with the format of a matrix.
trait Visit {
    type Output;
    fn visit<B: Blocks>(self) -> Self::Output;
}

fn visit<V: Visit>(element: GgmlDType, visitor: V) -> V::Output {
    match element {
        GgmlDType::F32 => visitor.visit::<blocks::F32>(),
        GgmlDType::F16 => visitor.visit::<blocks::F16>(),
        GgmlDType::BF16 => visitor.visit::<blocks::Bf16>(),
        GgmlDType::Q4_0 => visitor.visit::<blocks::Q4_0>(),
        GgmlDType::Q4_1 => visitor.visit::<blocks::Q4_1>(),
        GgmlDType::Q5_0 => visitor.visit::<blocks::Q5_0>(),
        GgmlDType::Q5_1 => visitor.visit::<blocks::Q5_1>(),
        GgmlDType::Q8_0 => visitor.visit::<blocks::Q8_0>(),
        GgmlDType::Q2K => visitor.visit::<super_blocks::Q2K>(),
        GgmlDType::Q3K => visitor.visit::<super_blocks::Q3K>(),
        GgmlDType::Q4K => visitor.visit::<super_blocks::Q4K>(),
        GgmlDType::Q5K => visitor.visit::<super_blocks::Q5K>(),
        GgmlDType::Q6K => visitor.visit::<super_blocks::Q6K>(),
        GgmlDType::Q8_1 | GgmlDType::Q8K => unreachable!("no file holds weights of type {element:?}"),
    }
}

impl Matrix {
    /// A matrix of bytes that others share.
    ///
    /// # Panics
    /// When `place` does not hold the rows, or a row is not of whole blocks.
    pub(super) fn shared(owner: Owner, place: Range<usize>, element: GgmlDType, shape: [usize; 2]) -> Self {
        let [rows, columns] = shape;
        assert!(columns.is_multiple_of(element.block_size()), "rows of whole blocks");
        let matrix = Self { owner, place, element, rows, columns };
        assert_eq!(matrix.bytes().len(), rows * matrix.row_bytes(), "bytes of every row");
        matrix
    }

    /// A matrix with bytes of its own.
    ///
    /// # Panics
    /// When there are not the bytes of every row, or a row is not of whole blocks.
    #[must_use]
    pub fn owned(bytes: Vec<u8>, element: GgmlDType, shape: [usize; 2]) -> Self {
        let place = 0..bytes.len();
        Self::shared(Arc::new(bytes), place, element, shape)
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The same matrix in f32.
    #[must_use]
    pub fn widened(&self) -> Self {
        let place = 0..self.rows * self.columns * size_of::<f32>();
        let numbers = Widened(self.numbers());
        Self { owner: Arc::new(numbers), place, element: GgmlDType::F32, ..*self }
    }

    /// The matrix whose row `i` is this one's row `source(i)`.
    ///
    /// # Panics
    /// When there is no such row.
    pub(super) fn rows_from(&self, source: impl Fn(usize) -> usize) -> Self {
        let sources = (0..self.rows).map(source);
        let bytes = sources.flat_map(|row| self.rows_at(row..row + 1)).copied().collect();
        Self::owned(bytes, self.element, [self.rows, self.columns])
    }

    /// Consecutive rows, which share their bytes with this matrix.
    ///
    /// # Panics
    /// When there are no such rows.
    pub(super) fn part(&self, rows: Range<usize>) -> Self {
        assert!(rows.end <= self.rows, "rows of the matrix");
        let start = self.place.start + rows.start * self.row_bytes();
        let place = start..start + rows.len() * self.row_bytes();
        Self { owner: self.owner.clone(), place, rows: rows.len(), ..*self }
    }

    /// All numbers, row by row.
    #[must_use]
    pub fn numbers(&self) -> Vec<f32> {
        let mut wide = vec![0.0; self.rows * self.columns];
        let rows = wide.par_chunks_mut(self.columns).enumerate();
        rows.for_each(|(row, wide)| self.widen(row..row + 1, wide));
        wide
    }

    /// Widens consecutive rows.
    ///
    /// # Panics
    /// When there are no such rows.
    pub fn widen(&self, rows: Range<usize>, wide: &mut [f32]) {
        self.widen_at(Level::best(), rows, wide);
    }

    fn widen_at(&self, level: Level, rows: Range<usize>, wide: &mut [f32]) {
        visit(self.element, Widen { level, matrix: self, blocks: self.rows_at(rows), wide });
    }

    /// `out_i = W x_i` for rows `x_i` `[c, columns]`, one after another: `[c, rows]`.
    #[must_use]
    pub fn product(&self, x: &[f32]) -> Vec<f32> {
        self.product_at(Level::best(), x)
    }

    /// The product on one instruction set.
    #[must_use]
    pub fn product_at(&self, level: Level, x: &[f32]) -> Vec<f32> {
        let [product] = products(level, [self], x);
        product
    }

    fn bytes(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.place.clone()]
    }

    fn rows_at(&self, rows: Range<usize>) -> &[u8] {
        &self.bytes()[rows.start * self.row_bytes()..rows.end * self.row_bytes()]
    }

    fn row_bytes(&self) -> usize {
        self.bytes_of(self.columns)
    }

    /// The bytes of whole blocks of some columns.
    fn bytes_of(&self, columns: usize) -> usize {
        columns / self.element.block_size() * self.element.type_size()
    }
}

/// The products of several matrices with the same rows, which share their tasks among the threads.
///
/// # Panics
/// When the matrices differ in their columns.
pub(super) fn products<const N: usize>(level: Level, matrices: [&Matrix; N], x: &[f32]) -> [Vec<f32>; N] {
    let columns = matrices[0].columns;
    assert!(matrices.iter().all(|matrix| matrix.columns == columns), "columns differ");
    let count = x.len() / columns;
    if count <= MOST_ROWS { products_of_few(level, matrices, x) } else { many::products(level, matrices, x) }
}

fn products_of_few<const N: usize>(level: Level, matrices: [&Matrix; N], x: &[f32]) -> [Vec<f32>; N] {
    let rows = PaddedRows::new(x, matrices[0].columns);
    let mut all = matrices.map(|matrix| vec![0.0; rows.count() * matrix.rows]);
    let total: usize = matrices.iter().map(|matrix| matrix.rows).sum();
    let per_task = (total / (TASKS_PER_THREAD * rayon::current_num_threads())).max(LEAST_ROWS);
    let per_task = per_task.next_multiple_of(WEIGHT_ROWS);
    let tasks = matrices.iter().zip(&mut all).flat_map(|(matrix, out)| {
        let out = MatMut::from_row_major_slice_mut(out, rows.count(), matrix.rows);
        column_parts(out, per_task).into_iter().map(move |(part, out)| (*matrix, part, out))
    });
    tasks.collect::<Vec<_>>().into_par_iter().for_each(|(matrix, part, out)| {
        let weights = matrix.rows_at(part);
        visit(matrix.element, Multiply { level, matrix, rows: &rows, weights, out });
    });
    all
}

/// The tasks of a product per thread, so that a slow thread leaves its work to others.
const TASKS_PER_THREAD: usize = 4;
/// The least weight rows of a task.
const LEAST_ROWS: usize = 16;

/// Parts of at most `width` columns, each with the places of its columns.
fn column_parts(mut rest: MatMut<'_, f32>, width: usize) -> Vec<(Range<usize>, MatMut<'_, f32>)> {
    let (mut parts, mut first) = (Vec::new(), 0);
    while rest.ncols() > 0 {
        let len = width.min(rest.ncols());
        let (part, behind) = rest.split_at_col_mut(len);
        parts.push((first..first + len, part));
        (rest, first) = (behind, first + len);
    }
    parts
}

/// Widens the blocks of whole rows.
struct Widen<'a> {
    level: Level,
    matrix: &'a Matrix,
    blocks: &'a [u8],
    wide: &'a mut [f32],
}

impl Visit for Widen<'_> {
    type Output = ();

    fn visit<B: Blocks>(self) {
        struct Op<'a, B>(Widen<'a>, PhantomData<B>);
        impl<B: Blocks> WithSimd for Op<'_, B> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let Widen { matrix, blocks, wide, .. } = self.0;
                let mut chunk = B::Chunk::empty();
                let rows = blocks.chunks_exact(matrix.row_bytes()).zip(wide.chunks_exact_mut(matrix.columns));
                for (blocks, wide) in rows {
                    for (blocks, wide) in blocks.chunks(matrix.bytes_of(CHUNK)).zip(wide.chunks_mut(CHUNK)) {
                        B::read(simd, blocks, &mut chunk);
                        chunk.widen(simd, wide);
                    }
                }
            }
        }
        self.level.run(Op::<B>(self, PhantomData));
    }
}

/// Multiplies some weight rows with few rows.
struct Multiply<'a> {
    level: Level,
    matrix: &'a Matrix,
    rows: &'a PaddedRows,
    weights: &'a [u8],
    out: MatMut<'a, f32>,
}

impl Visit for Multiply<'_> {
    type Output = ();

    fn visit<B: Blocks>(self) {
        let Self { level, matrix, rows, weights, out } = self;
        let (row_bytes, chunk_bytes) = (matrix.row_bytes(), matrix.bytes_of(CHUNK));
        level.run(Few::<B> { rows, weights, row_bytes, chunk_bytes, out, format: PhantomData });
    }
}
