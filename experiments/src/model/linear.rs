//! Projections: products with weights, and what comes before and after them.

use candle_core::{CpuStorage, Device, Storage, Tensor};

use super::error::Result;
use super::stored::Matrix;

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
        let (count, columns) = rows.dims2()?;
        if columns != self.weight.columns() {
            let expected = self.weight.columns();
            return Err(
                candle_core::Error::msg(format!("expected rows of {expected}, found {columns}")).into()
            );
        }
        let product = with_numbers(rows, |numbers| self.weight.product(numbers))?;
        let product = Tensor::from_vec(product, (count, self.weight.rows()), &Device::Cpu)?;
        Ok(match &self.bias {
            Some(bias) => product.broadcast_add(bias)?,
            None => product,
        })
    }
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
