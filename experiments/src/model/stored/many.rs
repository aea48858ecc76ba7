//! The product of a stored matrix with many rows: panels of weight rows are widened, and multiplied by faer.
//!
//! The panels do not depend on the number of threads, so neither do the sums.

use std::ops::Range;

use candle_core::quantized::GgmlDType;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use laprox_fast::Level;
use rayon::prelude::*;

use super::{Matrix, column_parts};

/// About the weight rows of two panels. There is an even number of panels, so that two threads share them.
const PAIR: usize = 256;

/// The products of several matrices with the same rows `x_i`, one after another.
pub(super) fn products<const N: usize>(level: Level, matrices: [&Matrix; N], x: &[f32]) -> [Vec<f32>; N] {
    let columns = matrices[0].columns;
    let count = x.len() / columns;
    let mut all = matrices.map(|matrix| vec![0.0; count * matrix.rows]);
    let x = MatRef::from_row_major_slice(x, count, columns);
    let outs = matrices.iter().zip(&mut all);
    let tasks = outs.flat_map(|(matrix, out)| {
        let out = MatMut::from_row_major_slice_mut(out, count, matrix.rows);
        panels(out).into_iter().map(move |(panel, out)| (*matrix, panel, out))
    });
    tasks.collect::<Vec<_>>().into_par_iter().for_each_init(Vec::new, |scratch, (matrix, panel, out)| {
        let weights = widened(matrix, level, panel, scratch);
        let weights = MatRef::from_row_major_slice(weights, out.ncols(), columns);
        matmul(out, Accum::Replace, x, weights.transpose(), 1.0, Par::Seq);
    });
    all
}

/// The columns of the product that each panel makes, with its weight rows.
fn panels(out: MatMut<'_, f32>) -> Vec<(Range<usize>, MatMut<'_, f32>)> {
    let rows = out.ncols();
    column_parts(out, rows.div_ceil(2 * rows.div_ceil(PAIR)))
}

/// A panel in f32: where it lies, or in `scratch`.
fn widened<'a>(
    matrix: &'a Matrix,
    level: Level,
    panel: Range<usize>,
    scratch: &'a mut Vec<f32>,
) -> &'a [f32] {
    let blocks = matrix.rows_at(panel.clone());
    if matrix.element == GgmlDType::F32
        && let Ok(numbers) = bytemuck::try_cast_slice(blocks)
    {
        return numbers;
    }
    scratch.resize(panel.len() * matrix.columns, 0.0);
    matrix.widen_at(level, panel, scratch);
    scratch
}
