//! One layer on the device: its activations, and what the stages have already made of them.

use std::sync::{Arc, OnceLock};

use cudarc::driver::CudaSlice;
use laprox_reference::{LayerProblem, LayerShape, Policy};

use crate::attend::{self, RowParts, Statistic, WindowStatistic};
use crate::device::{Device, Version};
use crate::error::DeviceError;
use crate::launch::{Grid, Launch, Plain};
use crate::project::{self, DeviceFactors};
use crate::score::{self, DeviceScores};
use crate::upload::{self, Format};

/// Queries, keys and values in one width: `[H, w, d]`, `[Hkv, n + t, d]`, `[Hkv, n + t, d]`.
pub(crate) struct Tensors<T> {
    pub query: CudaSlice<T>,
    pub key: CudaSlice<T>,
    pub value: CudaSlice<T>,
}

/// A layer on the device. Stages are enqueued as they are asked for, each at most once; nothing waits but what returns
/// numbers to the host.
pub struct DeviceLayer<'a> {
    pub(crate) device: Arc<Device>,
    pub(crate) problem: LayerProblem<'a>,
    format: Format,
    halves: Option<Tensors<u16>>,
    singles: OnceLock<Tensors<f32>>,
    row_parts: OnceLock<RowParts>,
    joined_rows: OnceLock<RowParts>,
    statistics: [OnceLock<WindowStatistic>; 3],
    value_norms: OnceLock<CudaSlice<f32>>,
}

/// Head dimensions that the tensor-core kernels know.
const TENSOR_CORE_WIDTHS: [usize; 2] = [64, 128];

impl<'a> DeviceLayer<'a> {
    /// Uploads a layer in the narrowest format that holds it, if there are kernels for that.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn upload(device: &Arc<Device>, problem: &LayerProblem<'a>) -> Result<Self, DeviceError> {
        let activations = problem.activations();
        let has_kernels = TENSOR_CORE_WIDTHS.contains(&problem.shape().head_dim);
        let format = if has_kernels && device.version() == Version::Shipped {
            Format::of(activations)
        } else {
            Format::F32
        };
        let mut layer = Self {
            device: Arc::clone(device),
            problem: *problem,
            format,
            halves: None,
            singles: OnceLock::new(),
            row_parts: OnceLock::new(),
            joined_rows: OnceLock::new(),
            statistics: Default::default(),
            value_norms: OnceLock::new(),
        };
        if format == Format::F32 {
            layer.singles()?;
        } else {
            let narrow = |elements| upload::halves(device, format, elements);
            layer.halves = Some(Tensors {
                query: narrow(activations.query.elements())?,
                key: narrow(activations.key.elements())?,
                value: narrow(activations.value.elements())?,
            });
        }
        Ok(layer)
    }

    /// The layer's sizes.
    #[must_use]
    pub fn shape(&self) -> LayerShape {
        self.problem.shape()
    }

    /// How its activations lie on the device.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// `scale * log2(e)`: logits as exponents of two.
    pub(crate) fn scale_log2(&self) -> f32 {
        (self.problem.attention_scale() * std::f64::consts::LOG2_E) as f32
    }

    /// Of the queries.
    pub(crate) fn query_extents(&self) -> [usize; 3] {
        let shape = self.shape();
        [shape.query_heads, shape.window_len, shape.head_dim]
    }

    /// Of the keys or the values.
    pub(crate) fn cached_extents(&self) -> [usize; 3] {
        let shape = self.shape();
        [shape.kv_heads, shape.cached_len(), shape.head_dim]
    }

    /// A thread for each candidate of each of `heads`.
    pub(crate) fn column_grid(&self, heads: usize) -> Grid {
        Grid::new([self.shape().candidate_len().div_ceil(128), heads, 1], 128)
    }

    /// The first arguments of whatever attends: queries and keys.
    pub(crate) fn reading<'l, T: Plain>(&self, launch: Launch<'l>, tensors: &'l Tensors<T>) -> Launch<'l> {
        launch.input(&tensors.query, &self.query_extents()).input(&tensors.key, &self.cached_extents())
    }

    /// Its last ones, but for those of one version: sizes and scale.
    pub(crate) fn attending<'l>(&self, launch: Launch<'l>) -> Launch<'l> {
        let shape = self.shape();
        let sizes = [shape.group_size(), shape.window_len, shape.context_len, shape.cached_len()];
        launch.ints(&sizes).real(self.scale_log2())
    }

    /// The activations in their 16-bit format, if they are in one.
    pub(crate) fn halves(&self) -> Option<&Tensors<u16>> {
        self.halves.as_ref()
    }

    /// The activations as f32.
    pub(crate) fn singles(&self) -> Result<&Tensors<f32>, DeviceError> {
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

    /// The rows' sums, in splits of the keys.
    pub(crate) fn row_parts(&self) -> Result<&RowParts, DeviceError> {
        once(&self.row_parts, || {
            let mut parts = RowParts::allocate(self)?;
            attend::enqueue_rows(self, &mut parts)?;
            Ok(parts)
        })
    }

    /// The rows' sums over all keys.
    pub(crate) fn joined_rows(&self) -> Result<&RowParts, DeviceError> {
        let parts = self.row_parts()?;
        if parts.is_joined() { Ok(parts) } else { once(&self.joined_rows, || attend::join(self, parts)) }
    }

    /// A statistic of the columns of `A_h`.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn window_statistic(&self, statistic: Statistic) -> Result<&WindowStatistic, DeviceError> {
        once(&self.statistics[statistic as usize], || {
            let mut columns = WindowStatistic::allocate(self, statistic)?;
            attend::enqueue_columns(self, self.row_parts()?, &mut columns)?;
            Ok(columns)
        })
    }

    /// `norm2(b_{h,i})` of the candidates, `[H, n - w]`.
    pub(crate) fn value_norms(&self) -> Result<&CudaSlice<f32>, DeviceError> {
        once(&self.value_norms, || {
            let mut norms = project::allocate_norms(self)?;
            if self.shape().candidate_len() > 0 {
                project::enqueue_norms(self, &DeviceFactors::upload(self)?, &mut norms)?;
            }
            Ok(norms)
        })
    }

    /// A policy's scores, left on the device; `None` where there is no kernel for it.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn score(&self, policy: &Policy) -> Result<Option<DeviceScores>, DeviceError> {
        let mut scores = DeviceScores::allocate(self)?;
        Ok(score::enqueue_scores(self, policy, &mut scores)?.then_some(scores))
    }

    /// `norm2(b_{h,i})` of the candidates, query head by query head.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn projected_value_norms(&self) -> Result<Vec<f32>, DeviceError> {
        self.device.copy_out(self.value_norms()?)
    }
}

/// The value of a cell, made if there is none. Two threads may both make it; the first one's stays.
pub(crate) fn once<T>(
    cell: &OnceLock<T>,
    make: impl FnOnce() -> Result<T, DeviceError>,
) -> Result<&T, DeviceError> {
    match cell.get() {
        Some(value) => Ok(value),
        None => make().map(|value| cell.get_or_init(|| value)),
    }
}
