//! One layer's sizes and activations on the device, before any stage has run.

use std::sync::{Arc, OnceLock};

use cudarc::driver::CudaSlice;
use laprox_reference::{LayerProblem, LayerShape};

use crate::device::{Device, Version};
use crate::error::Result;
use crate::launch::{Grid, Launch, Plain};
use crate::upload::{self, Format};

/// Queries `[H, w, d]`, keys and values `[Hkv, n + t, d]`, in one width.
pub(crate) struct Tensors<T> {
    pub query: CudaSlice<T>,
    pub key: CudaSlice<T>,
    pub value: CudaSlice<T>,
}

/// The activations of a layer on the device.
pub struct DeviceActivations<'a> {
    pub(crate) device: Arc<Device>,
    pub(crate) problem: LayerProblem<'a>,
    format: Format,
    halves: Option<Tensors<u16>>,
    singles: OnceLock<Tensors<f32>>,
}

/// Head dimensions of the tensor-core kernels.
const TENSOR_CORE_WIDTHS: [usize; 2] = [64, 128];

impl<'a> DeviceActivations<'a> {
    /// Uploads a layer in the narrowest format that holds it exactly and has kernels.
    pub fn upload(device: &Arc<Device>, problem: &LayerProblem<'a>) -> Result<Self> {
        let activations = problem.activations();
        let has_kernels = TENSOR_CORE_WIDTHS.contains(&problem.shape().head_dim);
        let format = if has_kernels && device.version() == Version::Shipped {
            Format::of(activations)
        } else {
            Format::F32
        };
        let narrow = |elements| upload::halves(device, format, elements);
        let halves = match format {
            Format::F32 => None,
            _ => Some(Tensors {
                query: narrow(activations.query.elements())?,
                key: narrow(activations.key.elements())?,
                value: narrow(activations.value.elements())?,
            }),
        };
        let uploaded =
            Self { device: Arc::clone(device), problem: *problem, format, halves, singles: OnceLock::new() };
        if format == Format::F32 {
            uploaded.singles()?;
        }
        Ok(uploaded)
    }

    /// The layer's sizes.
    #[must_use]
    pub fn shape(&self) -> LayerShape {
        self.problem.shape()
    }

    /// The format of its activations on the device.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// `scale * log2(e)`: logits as exponents of two.
    pub(crate) fn scale_log2(&self) -> f32 {
        (self.problem.attention_scale() * std::f64::consts::LOG2_E) as f32
    }

    /// The extents of the queries.
    pub(crate) fn query_extents(&self) -> [usize; 3] {
        let shape = self.shape();
        [shape.query_heads, shape.window_len, shape.head_dim]
    }

    /// The extents of the keys and of the values.
    pub(crate) fn cached_extents(&self) -> [usize; 3] {
        let shape = self.shape();
        [shape.kv_heads, shape.cached_len(), shape.head_dim]
    }

    /// A grid of one thread per candidate of each of `heads`.
    pub(crate) fn column_grid(&self, heads: usize) -> Grid {
        Grid::new([self.shape().candidate_len().div_ceil(128), heads, 1], 128)
    }

    /// Adds the first arguments of a kernel that attends: queries and keys.
    pub(crate) fn reading<'l, T: Plain>(&self, launch: Launch<'l>, tensors: &'l Tensors<T>) -> Launch<'l> {
        launch.input(&tensors.query, &self.query_extents()).input(&tensors.key, &self.cached_extents())
    }

    /// Adds the arguments that all versions of such a kernel share at the end: sizes and scale.
    pub(crate) fn attending<'l>(&self, launch: Launch<'l>) -> Launch<'l> {
        let shape = self.shape();
        let sizes = [shape.group_size(), shape.window_len, shape.context_len, shape.cached_len()];
        launch.ints(&sizes).real(self.scale_log2())
    }

    /// The activations in a 16-bit format, if they are in one.
    pub(crate) fn halves(&self) -> Option<&Tensors<u16>> {
        self.halves.as_ref()
    }

    /// The activations as f32. They are uploaded or widened when first needed.
    pub(crate) fn singles(&self) -> Result<&Tensors<f32>> {
        once(&self.singles, || {
            let activations = self.problem.activations();
            match &self.halves {
                Some(halves) => {
                    let widened = |narrow| upload::widened(&self.device, self.format, narrow);
                    Ok(Tensors {
                        query: widened(&halves.query)?,
                        key: widened(&halves.key)?,
                        value: widened(&halves.value)?,
                    })
                }
                None => Ok(Tensors {
                    query: upload::singles(&self.device, activations.query.elements())?,
                    key: upload::singles(&self.device, activations.key.elements())?,
                    value: upload::singles(&self.device, activations.value.elements())?,
                }),
            }
        })
    }
}

/// The value of a cell, made when first needed. If two threads make it at once, the first one's stays.
pub(crate) fn once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(value) => Ok(value),
        None => make().map(|value| cell.get_or_init(|| value)),
    }
}
