//! The layers of one context, one of them prepared at a time: arrays in memory, or a sample of a dump.

use anyhow::{Context, Result, bail, ensure};
use laprox_experiments::progress::Progress;
use laprox_experiments::sample::Sample;
use laprox_experiments::streamed::Streamed;
use laprox_experiments::threads::Threads;
use laprox_gpu::{DeviceTensor, Gpu, ResidentActivations, ResidentProblem};
use laprox_reference::{
    Activations, Backend, Error, HeadScores, LayerIndex, LayerOrdinal, LayerProblem, LayerShape, Layers,
    Policy, PreparedLayer, Score, Tasks, TensorView,
};
use pyo3::prelude::*;
use rayon::prelude::*;

use crate::arrays::{Array, Numbers};
use crate::dump;

/// Layers as Python hands them over.
#[derive(FromPyObject)]
pub(crate) enum Given<'py> {
    Sample(PyRef<'py, dump::Sample>),
    Arrays(Vec<LayerArrays<'py>>),
}

/// One layer: its number, the attention scale if it is not `1 / sqrt(d)`, and q, k, v, o_proj and q_future.
#[derive(FromPyObject)]
pub(crate) struct LayerArrays<'py>(
    usize,
    Option<f64>,
    Array<'py>,
    Array<'py>,
    Array<'py>,
    Array<'py>,
    Option<Array<'py>>,
);

/// The numbers of one layer.
pub(crate) struct LayerNumbers<'a> {
    number: usize,
    scale: Option<f64>,
    query: Numbers<'a>,
    key: Numbers<'a>,
    value: Numbers<'a>,
    output_projection: Numbers<'a>,
    future_query: Option<Numbers<'a>>,
}

impl LayerArrays<'_> {
    /// The layer's number in the model.
    pub(crate) fn number(&self) -> usize {
        self.0
    }

    /// Whether queries, keys and values lie on the device.
    pub(crate) fn is_on_device(&self) -> bool {
        matches!(self.2, Array::OnDevice(_))
    }

    pub(crate) fn resident(&self) -> Result<ResidentNumbers<'_>> {
        let tensor = |array: &Array<'_>, name: &str| match array {
            Array::OnDevice(array) => array.tensor(&format!("layer {}: {name}", self.0)),
            _ => bail!("layer {}: {name}: expected a tensor on the device, as of the first layer", self.0),
        };
        Ok(ResidentNumbers {
            number: self.0,
            scale: self.1,
            tensors: [tensor(&self.2, "q")?, tensor(&self.3, "k")?, tensor(&self.4, "v")?],
            output_projection: self.5.numbers()?,
            future_query: self.6.as_ref().map(Array::numbers).transpose()?,
        })
    }

    pub(crate) fn numbers(&self) -> Result<LayerNumbers<'_>> {
        Ok(LayerNumbers {
            number: self.0,
            scale: self.1,
            query: self.2.numbers()?,
            key: self.3.numbers()?,
            value: self.4.numbers()?,
            output_projection: self.5.numbers()?,
            future_query: self.6.as_ref().map(Array::numbers).transpose()?,
        })
    }
}

/// One layer whose queries, keys and values lie on the device.
pub(crate) struct ResidentNumbers<'a> {
    number: usize,
    scale: Option<f64>,
    tensors: [DeviceTensor; 3],
    output_projection: Numbers<'a>,
    future_query: Option<Numbers<'a>>,
}

impl ResidentNumbers<'_> {
    /// The checked problem.
    pub(crate) fn problem(&self) -> Result<ResidentProblem<'_>> {
        let name = || format!("layer {}", self.number);
        let [query, key, value] = self.tensors;
        let activations = ResidentActivations {
            query,
            key,
            value,
            output_projection: self.output_projection.view("o_proj").with_context(name)?,
            future_query: later(&self.future_query).with_context(name)?,
        };
        let scale = self.scale.unwrap_or_else(|| usual_scale(query.shape[2]));
        ResidentProblem::new(LayerIndex(self.number), scale, activations).with_context(name)
    }
}

/// Later queries, if there are any.
fn later<'a>(query: &'a Option<Numbers<'_>>) -> Result<Option<TensorView<'a, 3>>> {
    let some = query.as_ref().filter(|query| !query.elements().is_empty());
    some.map(|query| query.view("q_future")).transpose()
}

/// `1 / sqrt(d)`.
fn usual_scale(head_dim: usize) -> f64 {
    1.0 / (head_dim as f64).sqrt()
}

impl LayerNumbers<'_> {
    pub(crate) fn activations(&self) -> Result<Activations<'_>> {
        Ok(Activations {
            query: self.query.view("q")?,
            key: self.key.view("k")?,
            value: self.value.view("v")?,
            output_projection: self.output_projection.view("o_proj")?,
            future_query: later(&self.future_query)?,
        })
    }

    /// The checked problem.
    pub(crate) fn problem(&self) -> Result<LayerProblem<'_>> {
        let name = || format!("layer {}", self.number);
        let activations = self.activations().with_context(name)?;
        let query: TensorView<'_, 3> = activations.query;
        let scale = self.scale.unwrap_or_else(|| usual_scale(query.shape()[2]));
        LayerProblem::new(LayerIndex(self.number), scale, activations).with_context(name)
    }
}

/// The layers' problems, all of one shape.
pub(crate) enum Problems<'a> {
    Host(&'a dyn Backend, Vec<LayerProblem<'a>>),
    Resident(&'a Gpu, Vec<ResidentProblem<'a>>),
}

impl<'a> Problems<'a> {
    pub(crate) fn host(backend: &'a dyn Backend, layers: &'a [LayerNumbers<'_>]) -> Result<Self> {
        let problems: Vec<_> = layers.iter().map(LayerNumbers::problem).collect::<Result<_>>()?;
        Self::Host(backend, problems).of_one_shape()
    }

    pub(crate) fn resident(gpu: &'a Gpu, layers: &'a [ResidentNumbers<'_>]) -> Result<Self> {
        let problems: Vec<_> = layers.iter().map(ResidentNumbers::problem).collect::<Result<_>>()?;
        Self::Resident(gpu, problems).of_one_shape()
    }

    fn of_one_shape(self) -> Result<Self> {
        let shapes = self.shapes();
        ensure!(!shapes.is_empty(), "layers: expected at least one, found none");
        for (ordinal, &found) in shapes.iter().enumerate() {
            let [expected, sizes] = [shapes[0], found].map(sizes);
            ensure!(
                found == shapes[0],
                "layer {}: expected the first layer's sizes {expected}, found {sizes}",
                self.layer(ordinal)
            );
        }
        Ok(self)
    }

    fn shapes(&self) -> Vec<LayerShape> {
        match self {
            Self::Host(_, problems) => problems.iter().map(LayerProblem::shape).collect(),
            Self::Resident(_, problems) => problems.iter().map(ResidentProblem::shape).collect(),
        }
    }

    /// The layer's number in the model.
    fn layer(&self, ordinal: usize) -> LayerIndex {
        match self {
            Self::Host(_, problems) => problems[ordinal].layer(),
            Self::Resident(_, problems) => problems[ordinal].layer(),
        }
    }

    fn prepare(&self, ordinal: usize) -> Result<Box<dyn PreparedLayer + '_>, Error> {
        match self {
            Self::Host(backend, problems) => backend.prepare(&problems[ordinal]),
            Self::Resident(gpu, problems) => Ok(gpu.prepare_resident(&problems[ordinal])),
        }
    }

    fn visited<T>(
        &self,
        ordinal: usize,
        scores: &[Score],
        visit: &(impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync),
    ) -> Result<T> {
        let name = || format!("layer {}", self.layer(ordinal));
        let mut prepared = self.prepare(ordinal).with_context(name)?;
        prepared.share(scores);
        visit(LayerOrdinal(ordinal), prepared.as_ref()).with_context(name)
    }
}

fn sizes(shape: LayerShape) -> String {
    let LayerShape { query_heads, kv_heads, head_dim, hidden_dim, context_len, window_len, future_len } =
        shape;
    format!(
        "(H {query_heads}, Hkv {kv_heads}, d {head_dim}, D {hidden_dim}, n {context_len}, w {window_len}, t {future_len})"
    )
}

/// The origin of layers.
enum Source<'a> {
    Arrays(Problems<'a>),
    Sample(Streamed<'a>),
}

/// The layers of a context, with scores that Python has made for them.
pub(crate) struct ContextLayers<'a> {
    source: Source<'a>,
    shapes: Vec<LayerShape>,
    scores: Vec<(Policy, Vec<HeadScores>)>,
}

impl<'a> ContextLayers<'a> {
    pub(crate) fn of_arrays(problems: Problems<'a>) -> Self {
        Self { shapes: problems.shapes(), source: Source::Arrays(problems), scores: Vec::new() }
    }

    pub(crate) fn of_sample(sample: Sample<'a>, progress: &'a Progress) -> Self {
        let layers = sample.layers(progress);
        let shapes = layers.shapes().to_vec();
        Self { source: Source::Sample(layers), shapes, scores: Vec::new() }
    }

    pub(crate) fn with_scores(&mut self, policy: Policy, scores: Vec<HeadScores>) {
        self.scores.push((policy, scores));
    }
}

impl Layers for ContextLayers<'_> {
    type Error = anyhow::Error;

    fn shapes(&self) -> &[LayerShape] {
        &self.shapes
    }

    fn each<T: Send>(
        &self,
        scores: &[Score],
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync,
    ) -> Result<Vec<T>> {
        match &self.source {
            Source::Sample(layers) => layers.each(scores, visit),
            Source::Arrays(problems) => {
                (0..self.shapes.len()).map(|ordinal| problems.visited(ordinal, scores, &visit)).collect()
            }
        }
    }

    fn at_once<T: Send>(
        &self,
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync,
    ) -> Result<Vec<T>> {
        match &self.source {
            Source::Sample(layers) => layers.at_once(visit),
            Source::Arrays(problems) => {
                let layers = (0..self.shapes.len()).into_par_iter();
                let results: Vec<Result<T>> =
                    layers.map(|ordinal| problems.visited(ordinal, &[], &visit)).collect();
                results.into_iter().collect()
            }
        }
    }

    fn given_scores(&self, policy: &Policy) -> Result<Vec<HeadScores>> {
        let found = self.scores.iter().find(|(given, _)| given.name() == policy.name());
        found.map(|(_, scores)| scores.clone()).with_context(|| format!("{policy}: no such scores"))
    }
}

impl Tasks for ContextLayers<'_> {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        Threads.run(count, task);
    }
}
