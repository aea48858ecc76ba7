//! The path that `--path gpu` takes.

use std::sync::{Arc, OnceLock};

use laprox_reference::layer::Layer;
use laprox_reference::oracle::gram::{Form, PairGram, Rows};
use laprox_reference::{
    Backend, Error, HeadScores, LayerProblem, LayerRetained, LayerShape, OutputErrors, Policy, PreparedLayer,
};

use crate::device::Device;
use crate::error::DeviceError;
use crate::evaluate;
use crate::gram::DeviceGram;
use crate::layer::DeviceLayer;
use crate::score::DeviceScores;
use crate::select::ModelScores;

/// The stages on an open device.
#[derive(Clone, Debug)]
pub struct Gpu {
    device: Arc<Device>,
}

impl Gpu {
    /// Opens the first device.
    ///
    /// # Errors
    /// [`DeviceError::NoDriver`] where there is none; otherwise as [`Device::open`].
    pub fn open() -> Result<Self, DeviceError> {
        Device::open()?.map(|device| Self::new(Arc::new(device))).ok_or(DeviceError::NoDriver)
    }

    /// Takes a device.
    #[must_use]
    pub fn new(device: Arc<Device>) -> Self {
        Self { device }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// A policy's scores of a whole model, left on the device: what is to be cut over all layers, or `None` where there
    /// is no kernel for the policy.
    ///
    /// Layers stream: nothing waits for a layer's kernels, so that the next one is converted and copied while they run,
    /// and a layer's activations are given back behind them.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn score_model<'a>(
        &self,
        problems: impl IntoIterator<Item = LayerProblem<'a>>,
        policy: &Policy,
    ) -> Result<Option<ModelScores>, DeviceError> {
        let mut layers = Vec::new();
        let mut shape = None;
        for problem in problems {
            let layer = DeviceLayer::upload(&self.device, &problem)?;
            let Some(scores) = layer.score(policy)? else { return Ok(None) };
            layers.push(scores);
            shape = Some(problem.shape());
        }
        let none = || DeviceError::Request {
            what: "layers of a model",
            expected: "at least one".into(),
            found: "none".into(),
        };
        ModelScores::join(&self.device, &layers, shape.ok_or_else(none)?).map(Some)
    }
}

impl Backend for Gpu {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error> {
        Ok(Box::new(GpuLayer::new(&self.device, problem)?))
    }
}

/// One layer: kernels where there are some, and where there are none the reference on the same layer, which is prepared
/// when it is first needed.
///
/// Kernels: the scores of `laprox` (all group rules) and `snapkv`, the output's norm, the oracles' products. Reference:
/// the other policies' scores, the errors of a retained set, what else the oracles do.
pub struct GpuLayer<'a> {
    layer: DeviceLayer<'a>,
    output_norm: f64,
    reference: OnceLock<Layer>,
}

impl<'a> GpuLayer<'a> {
    /// Uploads a layer.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn new(device: &Arc<Device>, problem: &LayerProblem<'a>) -> Result<Self, DeviceError> {
        let layer = DeviceLayer::upload(device, problem)?;
        let output_norm = evaluate::output_norm(&layer)?;
        Ok(Self { layer, output_norm, reference: OnceLock::new() })
    }

    fn reference(&self) -> &Layer {
        self.reference.get_or_init(|| Layer::new(&self.layer.problem))
    }

    /// Scores on the host, KV head by KV head.
    fn host_scores(&self, scores: &DeviceScores) -> Result<HeadScores, Error> {
        let numbers = scores.download(&self.layer.device)?;
        let candidates = self.shape().candidate_len();
        let head =
            |head: usize| numbers[head * candidates..(head + 1) * candidates].iter().copied().map(f64::from);
        let heads: Vec<Vec<f64>> = (0..self.shape().kv_heads).map(|index| head(index).collect()).collect();
        HeadScores::new(self.layer.problem.layer(), &heads)
    }
}

impl PreparedLayer for GpuLayer<'_> {
    fn score(&self, policy: &Policy) -> Result<HeadScores, Error> {
        match self.layer.score(policy)? {
            Some(scores) => self.host_scores(&scores),
            None => self.reference().score(policy),
        }
    }

    fn shape(&self) -> LayerShape {
        self.layer.shape()
    }

    fn gram(&self, form: Form, rows: Rows) -> Result<Box<dyn PairGram + '_>, Error> {
        Ok(Box::new(DeviceGram::new(&self.layer.device, self.reference(), form, rows)?))
    }

    fn improve(&self, form: Form, start: LayerRetained<'_>) -> Result<Vec<Vec<u32>>, Error> {
        self.reference().improve(form, start)
    }

    fn output_norm(&self) -> f64 {
        self.output_norm
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
        self.reference().evaluate(retained)
    }
}
