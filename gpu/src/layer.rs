//! One layer on the device: its activations, and the results that the stages have already computed from them.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use cudarc::driver::CudaSlice;
use laprox_reference::LayerProblem;

use crate::activations::{DeviceActivations, once};
use crate::attend::{self, RowParts, Statistic, WindowStatistic};
use crate::device::Device;
use crate::error::Result;
use crate::project::{self, DeviceFactors};
use crate::resident::ResidentProblem;

/// A layer on the device. Each stage is enqueued when it is first asked for, and at most once. Only the functions that
/// return numbers to the host wait.
pub struct DeviceLayer<'a> {
    activations: DeviceActivations<'a>,
    row_parts: OnceLock<RowParts>,
    joined_rows: OnceLock<RowParts>,
    statistics: [OnceLock<WindowStatistic>; 3],
    value_norms: OnceLock<CudaSlice<f32>>,
}

impl<'a> Deref for DeviceLayer<'a> {
    type Target = DeviceActivations<'a>;

    fn deref(&self) -> &Self::Target {
        &self.activations
    }
}

impl<'a> DeviceLayer<'a> {
    /// Uploads a layer, as [`DeviceActivations::upload`] does.
    pub fn upload(device: &Arc<Device>, problem: &LayerProblem<'a>) -> Result<Self> {
        DeviceActivations::upload(device, problem).map(Self::of)
    }

    /// Takes a layer that is on the device, as [`DeviceActivations::resident`] does.
    pub fn resident(device: &Arc<Device>, problem: &ResidentProblem<'a>) -> Result<Self> {
        DeviceActivations::resident(device, problem).map(Self::of)
    }

    fn of(activations: DeviceActivations<'a>) -> Self {
        Self {
            activations,
            row_parts: OnceLock::new(),
            joined_rows: OnceLock::new(),
            statistics: Default::default(),
            value_norms: OnceLock::new(),
        }
    }

    /// The rows' sums, one part per split of the keys.
    pub(crate) fn row_parts(&self) -> Result<&RowParts> {
        once(&self.row_parts, || {
            let mut parts = RowParts::allocate(self)?;
            attend::enqueue_rows(self, &mut parts)?;
            Ok(parts)
        })
    }

    /// The rows' sums over all keys.
    pub(crate) fn joined_rows(&self) -> Result<&RowParts> {
        let parts = self.row_parts()?;
        if parts.is_joined() { Ok(parts) } else { once(&self.joined_rows, || attend::join(self, parts)) }
    }

    /// A statistic of the columns of `A_h`.
    pub fn window_statistic(&self, statistic: Statistic) -> Result<&WindowStatistic> {
        once(&self.statistics[statistic as usize], || {
            let mut columns = WindowStatistic::allocate(self, statistic)?;
            attend::enqueue_columns(self, self.row_parts()?, &mut columns)?;
            Ok(columns)
        })
    }

    /// `norm2(b_{h,i})` of the candidates, `[H, n - w]`.
    pub(crate) fn value_norms(&self) -> Result<&CudaSlice<f32>> {
        once(&self.value_norms, || {
            let mut norms = project::allocate_norms(self)?;
            if self.shape().candidate_len() > 0 {
                project::enqueue_norms(self, &DeviceFactors::upload(self)?, &mut norms)?;
            }
            Ok(norms)
        })
    }

    /// `norm2(b_{h,i})` of the candidates, query head by query head.
    pub fn projected_value_norms(&self) -> Result<Vec<f32>> {
        self.device.copy_out(self.value_norms()?)
    }
}
