//! Projections: products with weights, and what comes before and after them.

use candle_core::{CpuStorage, Device, Storage, Tensor};
use laprox_fast::Level;
use rayon::prelude::*;

use super::error::Result;
use super::stored::{Matrix, products};

/// `y = W x + b`, for rows.
#[derive(Clone)]
pub(super) struct Linear {
    weight: Matrix,
    bias: Option<Tensor>,
}

impl Linear {
    /// A projection by `[out, in]` weights, with the bias `[out]` if there is one.
    pub(super) fn new(weight: Matrix, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// The weights.
    pub(super) fn weight(&self) -> &Matrix {
        &self.weight
    }

    /// The bias.
    pub(super) fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// From rows `[c, in]` to rows `[c, out]`.
    pub(super) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let [product] = forward_all([self], rows)?;
        Ok(product)
    }

    fn with_bias(&self, mut product: Vec<f32>, count: usize) -> Result<Tensor> {
        if let Some(bias) = &self.bias {
            with_numbers(bias, |bias| {
                let rows = product.par_chunks_mut(bias.len());
                rows.for_each(|row| row.iter_mut().zip(bias).for_each(|(number, bias)| *number += bias));
            })?;
        }
        Ok(Tensor::from_vec(product, (count, self.weight.rows()), &Device::Cpu)?)
    }
}

/// Several projections of the same rows `[c, in]`.
pub(super) fn forward_all<const N: usize>(linears: [&Linear; N], rows: &Tensor) -> Result<[Tensor; N]> {
    let (count, columns) = rows.dims2()?;
    if let Some(other) = linears.iter().find(|linear| linear.weight.columns() != columns) {
        let expected = other.weight.columns();
        return Err(candle_core::Error::msg(format!("expected rows of {expected}, found {columns}")).into());
    }
    let matrices = linears.map(Linear::weight);
    let products = with_numbers(rows, |numbers| products(Level::best(), matrices, numbers))?;
    let rows = linears.iter().zip(products).map(|(linear, product)| linear.with_bias(product, count));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    Ok(rows.try_into().expect("rows of every projection"))
}

/// The rows of a table at some places, `[ids, columns]`.
pub(super) fn look_up(table: &Matrix, ids: &[u32]) -> Result<Tensor> {
    let mut rows = vec![0.0; ids.len() * table.columns()];
    for (&id, wide) in ids.iter().zip(rows.chunks_exact_mut(table.columns())) {
        let row = id as usize;
        if row >= table.rows() {
            let most = table.rows();
            return Err(candle_core::Error::msg(format!("expected a token below {most}, found {row}")).into());
        }
        table.widen(row..row + 1, wide);
    }
    Ok(Tensor::from_vec(rows, (ids.len(), table.columns()), &Device::Cpu)?)
}

/// Reads a tensor's numbers where they lie, in C order.
pub(super) fn with_numbers<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(numbers)), Some((start, end))) => Ok(read(&numbers[start..end])),
        _ => Err(candle_core::Error::msg("expected f32 numbers on the CPU").into()),
    }
}
