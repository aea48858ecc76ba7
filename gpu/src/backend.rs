//! The path that `--path gpu` takes.

use std::sync::Arc;

use laprox_reference::layer::Layer;
use laprox_reference::oracle::gram::{PairGram, Rows};
use laprox_reference::{
    Backend, CandidatesPerHead, Elements, Error, Form, HeadScores, LayerIndex, LayerProblem, LayerScores,
    LayerShape, OnDevice, OwnStages, Policy, PreparedLayer, RetainedSet, Score, Scored, Statistic,
    WithReference,
};

use crate::device::Device;
use crate::error::DeviceError;
use crate::evaluate;
use crate::gram::DeviceGram;
use crate::layer::DeviceLayer;
use crate::score::DeviceScores;
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
}

impl Backend for Gpu {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error> {
        Ok(Box::new(WithReference::new(problem, GpuLayer::new(&self.device, problem)?)))
    }

    /// On the device if the scores are there and its cut is the policy's.
    fn cut(
        &self,
        policy: &Policy,
        scores: &Scored,
        per_head: CandidatesPerHead,
    ) -> Result<RetainedSet, Error> {
        match scores.on_device::<ScoredLayer>() {
            Some(layers) if select::cuts(policy) && per_head.0 > 0 => self.top(&layers, scores, per_head),
            _ => laprox_reference::cut(policy, scores.on_host()?, per_head, scores.window_len()),
        }
    }
}

impl Gpu {
    fn top(
        &self,
        layers: &[&ScoredLayer],
        scores: &Scored,
        CandidatesPerHead(per_head): CandidatesPerHead,
    ) -> Result<RetainedSet, Error> {
        let shape = layers[0].shape;
        let model = ModelScores::join(&self.device, layers.iter().map(|layer| &layer.scores), shape)?;
        let selected = model.top(layers.len() * shape.kv_heads * per_head)?;
        selected.download().or_else(|failure| {
            // The host names the layer of a score that is not finite.
            scores.on_host()?;
            Err(failure.into())
        })
    }
}

/// One layer's scores, left on the device. Nothing waits for the layer's kernels, so that the next layer is converted and
/// copied while they run.
struct ScoredLayer {
    device: Arc<Device>,
    layer: LayerIndex,
    shape: LayerShape,
    scores: DeviceScores,
}

impl OnDevice for ScoredLayer {
    fn download(&self) -> Result<HeadScores, Error> {
        let numbers = self.scores.download(&self.device)?;
        let candidates = self.shape.candidate_len();
        let head = |head: usize| {
            numbers[head * candidates..(head + 1) * candidates].iter().copied().map(f64::from).collect()
        };
        HeadScores::new(self.layer, (0..self.shape.kv_heads).map(head).collect())
    }
}

/// The stages that have kernels: the scores of LaProx (all group rules) and SnapKV, the output's norm, the oracles' products. A
/// layer has none of them if f32 may not hold the squares of its numbers.
struct GpuLayer<'a> {
    device: Arc<Device>,
    layer: Option<DeviceLayer<'a>>,
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
    fn new(device: &Arc<Device>, problem: &LayerProblem<'a>) -> Result<Self, DeviceError> {
        let layer = fits_f32(problem).then(|| DeviceLayer::upload(device, problem)).transpose()?;
        Ok(Self { device: Arc::clone(device), layer })
    }
}

impl OwnStages for GpuLayer<'_> {
    fn score(&self, score: &Score) -> Result<Option<LayerScores>, Error> {
        let Some(layer) = &self.layer else { return Ok(None) };
        let Some(scores) = layer.score(score)? else { return Ok(None) };
        let (device, shape) = (Arc::clone(&self.device), layer.shape());
        let scored = ScoredLayer { device, layer: layer.problem.layer(), shape, scores };
        Ok(Some(LayerScores::Device(Box::new(scored))))
    }

    fn statistic(&self, statistic: Statistic, _: usize) -> Result<Option<f64>, Error> {
        let layer = self.layer.as_ref().filter(|_| statistic == Statistic::OutputNorm);
        Ok(layer.map(evaluate::output_norm).transpose()?)
    }

    fn gram<'g>(
        &'g self,
        layer: &'g Layer,
        form: Form,
        rows: Rows,
    ) -> Result<Option<Box<dyn PairGram + 'g>>, Error> {
        Ok(Some(Box::new(DeviceGram::new(&self.device, layer, form, rows)?)))
    }
}
