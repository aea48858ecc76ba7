//! NumPy arrays as tensors. The Python side hands over C-ordered, aligned arrays of the machine's byte order; they are read where
//! they lie. bf16 comes as its bits and is widened to f32, which holds it exactly.

use anyhow::{Context, Result, bail};
use half::{bf16, f16};
use laprox_gpu::{DeviceTensor, Format};
use laprox_reference::{Elements, TensorView};
use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// An array of reals.
#[derive(FromPyObject)]
pub(crate) enum Array<'py> {
    F16(PyReadonlyArrayDyn<'py, f16>),
    F32(PyReadonlyArrayDyn<'py, f32>),
    F64(PyReadonlyArrayDyn<'py, f64>),
    /// The bits of bf16.
    Bf16(PyReadonlyArrayDyn<'py, u16>),
    OnDevice(DeviceArray),
}

/// An array that lies on the device, as `_device.py` describes it. Python holds its owner as long as a call lasts.
#[derive(FromPyObject)]
pub(crate) struct DeviceArray {
    address: u64,
    shape: Vec<usize>,
    format: String,
}

impl DeviceArray {
    /// The tensor in the device's memory.
    pub(crate) fn tensor(&self, name: &str) -> Result<DeviceTensor> {
        let Self { address, shape, format } = self;
        let axes = || format!("{name}: expected 3 axes, found shape {shape:?}");
        let shape = shape.as_slice().try_into().with_context(axes)?;
        let format = match format.as_str() {
            "bf16" => Format::Bf16,
            "f16" => Format::F16,
            "f32" => Format::F32,
            other => bail!("{name}: expected f16, bf16 or f32 on the device, found {other}"),
        };
        Ok(DeviceTensor { address: *address, shape, format })
    }
}

/// Its extents and numbers, apart from Python.
pub(crate) struct Numbers<'a> {
    shape: Vec<usize>,
    values: Values<'a>,
}

enum Values<'a> {
    Lent(Elements<'a>),
    Widened(Vec<f32>),
}

impl Array<'_> {
    /// The numbers where they lie.
    pub(crate) fn numbers(&self) -> Result<Numbers<'_>> {
        let bits = |bits: &[u16]| bits.iter().map(|&bits| bf16::from_bits(bits).to_f32()).collect();
        let (shape, values) = match self {
            Self::F16(array) => (array.shape(), Values::Lent(Elements::F16(array.as_slice()?))),
            Self::F32(array) => (array.shape(), Values::Lent(Elements::F32(array.as_slice()?))),
            Self::F64(array) => (array.shape(), Values::Lent(Elements::F64(array.as_slice()?))),
            Self::Bf16(array) => (array.shape(), Values::Widened(bits(array.as_slice()?))),
            Self::OnDevice(_) => bail!("expected an array in the host's memory, found one on the device"),
        };
        Ok(Numbers { shape: shape.to_vec(), values })
    }
}

impl Numbers<'_> {
    /// The numbers in C order.
    pub(crate) fn elements(&self) -> Elements<'_> {
        match &self.values {
            Values::Lent(elements) => *elements,
            Values::Widened(values) => Elements::F32(values),
        }
    }

    /// The tensor of a rank.
    pub(crate) fn view<const RANK: usize>(&self, name: &str) -> Result<TensorView<'_, RANK>> {
        let found = || format!("{name}: expected {RANK} axes, found shape {:?}", self.shape);
        let shape = self.shape.as_slice().try_into().with_context(found)?;
        Ok(TensorView::new(shape, self.elements())?)
    }
}

/// An array of f64 for Python.
pub(crate) fn array<'py>(
    py: Python<'py>,
    shape: &[usize],
    values: Vec<f64>,
) -> PyResult<Bound<'py, PyArrayDyn<f64>>> {
    numpy::PyArray1::from_vec(py, values).reshape(shape)
}
