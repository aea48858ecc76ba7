//! The path that `--path gpu` takes.

use std::sync::{Arc, OnceLock};

use laprox_reference::layer::Layer;
use laprox_reference::oracle::gram::{Form, PairGram, Rows};
use laprox_reference::{
    AttentionSpread, Backend, Elements, Error, HeadScores, LayerProblem, LayerRetained, LayerShape,
    OutputErrors, Policy, PreparedLayer,
};

use crate::device::Device;
use crate::error::DeviceError;
use crate::evaluate;
use crate::gram::DeviceGram;
use crate::layer::DeviceLayer;
use crate::select::{self, ModelScores};

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

    /// A policy's scores of a whole model, left on the device: what is to be cut over all layers by the highest share of
    /// its layer's sum, or `None` where there is no kernel for the policy's scores or its cut is another.
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
        if !select::cuts(policy) {
            return Ok(None);
        }
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
/// Kernels: the scores of `laprox` (all group rules) and `snapkv` (`adakv`, `pyramidkv`), the output's norm, the oracles' products. Reference:
/// the other policies' scores, the errors of a retained set, what else the oracles do; and all of a layer whose numbers f32
/// may not hold the squares of.
pub struct GpuLayer<'a> {
    device: Arc<Device>,
    problem: LayerProblem<'a>,
    /// The layer on the device, and the norm of its output.
    computed: Option<(DeviceLayer<'a>, f64)>,
    reference: OnceLock<Layer>,
}

/// Products of `D` numbers of this size and a `D` below 2^12 have squares below 2^121.
const LARGEST: f64 = (1_u64 << 24) as f64;

/// Whether f32 holds what the kernels make of a layer.
fn fits_f32(problem: &LayerProblem<'_>) -> bool {
    let activations = problem.activations();
    let tensors = [activations.query, activations.key, activations.value].map(|tensor| tensor.elements());
    tensors.into_iter().chain([activations.output_projection.elements()]).all(|elements| match elements {
        Elements::F16(_) => true,
        Elements::F32(numbers) => numbers.iter().all(|number| f64::from(number.abs()) <= LARGEST),
        Elements::F64(numbers) => numbers.iter().all(|number| number.abs() <= LARGEST),
    })
}

impl<'a> GpuLayer<'a> {
    /// Uploads a layer.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn new(device: &Arc<Device>, problem: &LayerProblem<'a>) -> Result<Self, DeviceError> {
        let compute = || {
            let layer = DeviceLayer::upload(device, problem)?;
            let output_norm = evaluate::output_norm(&layer)?;
            Ok((layer, output_norm))
        };
        let computed = fits_f32(problem).then(compute).transpose()?;
        Ok(Self { device: Arc::clone(device), problem: *problem, computed, reference: OnceLock::new() })
    }

    fn reference(&self) -> &Layer {
        self.reference.get_or_init(|| Layer::new(&self.problem))
    }

    /// Scores from a kernel; `None` where there is none.
    fn device_scores(&self, policy: &Policy) -> Result<Option<HeadScores>, Error> {
        let Some((layer, _)) = &self.computed else { return Ok(None) };
        let Some(scores) = layer.score(policy)? else { return Ok(None) };
        let numbers = scores.download(&self.device)?;
        let candidates = self.shape().candidate_len();
        let head =
            |head: usize| numbers[head * candidates..(head + 1) * candidates].iter().copied().map(f64::from);
        let heads: Vec<Vec<f64>> = (0..self.shape().kv_heads).map(|index| head(index).collect()).collect();
        HeadScores::new(self.problem.layer(), heads).map(Some)
    }
}

impl PreparedLayer for GpuLayer<'_> {
    fn score(&self, policy: &Policy) -> Result<HeadScores, Error> {
        match self.device_scores(policy)? {
            Some(scores) => Ok(scores),
            None => self.reference().score(policy),
        }
    }

    fn shape(&self) -> LayerShape {
        self.problem.shape()
    }

    fn gram(&self, form: Form, rows: Rows) -> Result<Box<dyn PairGram + '_>, Error> {
        Ok(Box::new(DeviceGram::new(&self.device, self.reference(), form, rows)?))
    }

    fn improve(&self, form: Form, start: LayerRetained<'_>) -> Result<Vec<Vec<u32>>, Error> {
        self.reference().improve(form, start)
    }

    fn output_norm(&self) -> f64 {
        match &self.computed {
            Some((_, norm)) => *norm,
            None => self.reference().output_norm(),
        }
    }

    fn attention_spread(&self, policy: &Policy) -> Result<AttentionSpread, Error> {
        self.reference().attention_spread(policy)
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
        self.reference().evaluate(retained)
    }
}
