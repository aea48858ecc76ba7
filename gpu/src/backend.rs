//! The path that `--path gpu` takes.

use std::f64::consts::LOG2_E;
use std::sync::{Arc, OnceLock};

use half::f16;
use laprox_reference::error::finite;
use laprox_reference::oracle::Stop;
use laprox_reference::oracle::gram::{PairGram, Rows};
use laprox_reference::{
    Backend, CandidatesPerHead, Elements, Error, Form, HeadScores, LayerIndex, LayerProblem, LayerRetained,
    LayerScores, LayerShape, Lazy, OnDevice, PackedRows, Policy, PreparedLayer, ReferenceLayer, RetainedSet,
    Score, Scored, Statistic,
};

use crate::activations::once;
use crate::device::Device;
use crate::error::{DeviceError, Result};
use crate::evaluate;
use crate::gram::DeviceGram;
use crate::layer::DeviceLayer;
use crate::resident::{Download, ResidentProblem};
use crate::score::{DeviceScores, has_kernel};
use crate::select::{self, DeviceSet, ModelScores};

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
    pub fn open() -> Result<Self> {
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
        let device = Arc::clone(&self.device);
        let source = Source::Host(Box::new(Lazy::new(problem)));
        Ok(Box::new(GpuLayer { device, source, loaded: OnceLock::new() }))
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
    /// Takes on a layer that another library has on this device. Its tensors are read where they lie, so they stay as they are as
    /// long as the layer lives; whatever has written them in any stream is waited for.
    #[must_use]
    pub fn prepare_resident<'a>(&self, problem: &ResidentProblem<'a>) -> Box<dyn PreparedLayer + 'a> {
        let source = Source::Resident(Box::new(Download::new(&self.device, problem)));
        Box::new(GpuLayer { device: Arc::clone(&self.device), source, loaded: OnceLock::new() })
    }

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
    source: Source<'a>,
    /// At the first question that a kernel answers.
    loaded: OnceLock<Option<DeviceLayer<'a>>>,
}

/// Where a layer lies; each answers what no kernel does.
enum Source<'a> {
    Host(Box<Lazy<'a>>),
    Resident(Box<Download<'a>>),
}

/// Products of `D` numbers of this size and a `D` below 2^12 have squares below 2^121.
const LARGEST: f64 = (1_u64 << 24) as f64;

/// Squares of smaller numbers lose digits in f32.
const SMALLEST: f64 = 1.0 / (1_u64 << 40) as f64;

/// f32 holds a query times the scale, and a logit, up to this size.
const LARGEST_LOGIT: f64 = (1_u128 << 100) as f64;

/// Whether f32 holds what the kernels make of a layer. Nothing is scaled here, so values or weights that are too small are left to
/// the reference, too.
fn fits_f32(problem: &LayerProblem<'_>) -> bool {
    let activations = problem.activations();
    let [query, key] = [activations.query, activations.key].map(|tensor| largest(tensor.elements()));
    let values = (0..problem.shape().kv_heads).map(|head| activations.value.outer(head));
    let multiplied = values.chain([activations.output_projection.elements()]).map(largest);
    let scaled_query = query * problem.attention_scale() * LOG2_E;
    let logit = scaled_query * key * problem.shape().head_dim as f64;
    query.max(key) <= LARGEST
        && scaled_query.max(logit) <= LARGEST_LOGIT
        && multiplied.into_iter().all(|largest| largest == 0.0 || (SMALLEST..=LARGEST).contains(&largest))
}

/// The largest magnitude; of halves, the largest that there is.
fn largest(elements: Elements<'_>) -> f64 {
    match elements {
        Elements::F16(_) => f16::MAX.to_f64(),
        Elements::F32(numbers) => numbers.iter().fold(0.0, |most, number| f64::from(number.abs()).max(most)),
        Elements::F64(numbers) => numbers.iter().fold(0.0, |most, number| number.abs().max(most)),
    }
}

impl<'a> GpuLayer<'a> {
    /// The layer on the device, if f32 holds it. Whether it does is not looked at where it lies on the device already.
    fn loaded(&self) -> Result<Option<&DeviceLayer<'a>>> {
        let load = || match &self.source {
            Source::Host(layer) => {
                let fits = fits_f32(layer.problem());
                fits.then(|| DeviceLayer::upload(&self.device, layer.problem())).transpose()
            }
            Source::Resident(layer) => DeviceLayer::resident(&self.device, &layer.problem).map(Some),
        };
        once(&self.loaded, load).map(Option::as_ref)
    }

    /// What answers where no kernel does.
    fn on_host(&self) -> &dyn PreparedLayer {
        match &self.source {
            Source::Host(layer) => layer.as_ref(),
            Source::Resident(layer) => layer.as_ref(),
        }
    }
}

impl PreparedLayer for GpuLayer<'_> {
    fn index(&self) -> LayerIndex {
        self.on_host().index()
    }

    fn shape(&self) -> LayerShape {
        self.on_host().shape()
    }

    fn reference(&self) -> Result<&ReferenceLayer, Error> {
        self.on_host().reference()
    }

    fn score(&self, score: &Score) -> Result<LayerScores, Error> {
        let shape = self.shape();
        if has_kernel(score, shape.window_len)
            && let Some(layer) = self.loaded()?
            && let Some(scores) = layer.score(score)?
        {
            let (device, layer) = (Arc::clone(&self.device), self.index());
            return Ok(LayerScores::Device(Box::new(ScoredLayer { device, layer, shape, scores })));
        }
        self.on_host().score(score)
    }

    fn statistic(&self, statistic: Statistic, queries: usize) -> Result<f64, Error> {
        match self.loaded()? {
            Some(layer) if statistic == Statistic::OutputNorm => {
                finite(self.index(), statistic.name(), evaluate::output_norm(layer)?)
            }
            _ => self.on_host().statistic(statistic, queries),
        }
    }

    fn gather(&self, retained: LayerRetained<'_>) -> Result<Option<PackedRows>, Error> {
        let Some(layer) = self.loaded()? else { return Ok(None) };
        retained.check(self.index(), self.shape())?;
        let set = DeviceSet::upload(&self.device, self.shape(), retained)?;
        let packed = set.gather(0, layer)?.download(&self.device)?;
        let [keys, values] = packed.map(|numbers| numbers.into_iter().map(|number| number as f32).collect());
        Ok(Some(PackedRows { keys, values }))
    }

    fn gram(&self, form: Form, rows: Rows, stop: Stop) -> Result<Box<dyn PairGram>, Error> {
        Ok(Box::new(DeviceGram::until(&self.device, self.reference()?, form, rows, stop)?))
    }
}
