//! The layers of one context, one of them prepared at a time: arrays in memory, or a sample of a dump.

use anyhow::{Context, Result, ensure};
use laprox_experiments::progress::Progress;
use laprox_experiments::sample::Sample;
use laprox_experiments::streamed::Streamed;
use laprox_experiments::threads::Threads;
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
    pub(crate) number: usize,
    scale: Option<f64>,
    query: Numbers<'a>,
    key: Numbers<'a>,
    value: Numbers<'a>,
    output_projection: Numbers<'a>,
    future_query: Option<Numbers<'a>>,
}

impl LayerArrays<'_> {
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

impl LayerNumbers<'_> {
    pub(crate) fn activations(&self) -> Result<Activations<'_>> {
        let later = |query: &'_ Numbers<'_>| query.elements().is_empty();
        let future = self.future_query.as_ref().filter(|query| !later(query));
        Ok(Activations {
            query: self.query.view("q")?,
            key: self.key.view("k")?,
            value: self.value.view("v")?,
            output_projection: self.output_projection.view("o_proj")?,
            future_query: future.map(|query| query.view("q_future")).transpose()?,
        })
    }

    /// The checked problem.
    pub(crate) fn problem(&self) -> Result<LayerProblem<'_>> {
        let name = || format!("layer {}", self.number);
        let activations = self.activations().with_context(name)?;
        let query: TensorView<'_, 3> = activations.query;
        let scale = self.scale.unwrap_or_else(|| 1.0 / (query.shape()[2] as f64).sqrt());
        LayerProblem::new(LayerIndex(self.number), scale, activations).with_context(name)
    }
}

/// The layers' problems, all of one shape.
pub(crate) fn problems<'a>(layers: &'a [LayerNumbers<'_>]) -> Result<Vec<LayerProblem<'a>>> {
    ensure!(!layers.is_empty(), "layers: expected at least one, found none");
    let problems: Vec<_> = layers.iter().map(LayerNumbers::problem).collect::<Result<_>>()?;
    let first = problems[0].shape();
    for problem in &problems {
        let (layer, found) = (problem.layer(), problem.shape());
        let [expected, sizes] = [first, found].map(sizes);
        ensure!(found == first, "layer {layer}: expected the first layer's sizes {expected}, found {sizes}");
    }
    Ok(problems)
}

fn sizes(shape: LayerShape) -> String {
    let LayerShape { query_heads, kv_heads, head_dim, hidden_dim, context_len, window_len, future_len } =
        shape;
    format!(
        "(H {query_heads}, Hkv {kv_heads}, d {head_dim}, D {hidden_dim}, n {context_len}, w {window_len}, t {future_len})"
    )
}

/// Where layers come from.
pub(crate) enum Source<'a> {
    Arrays(&'a dyn Backend, Vec<LayerProblem<'a>>),
    Sample(Streamed<'a>),
}

/// The layers of a context, with scores that Python has made for them.
pub(crate) struct ContextLayers<'a> {
    source: Source<'a>,
    shapes: Vec<LayerShape>,
    scores: Vec<(Policy, Vec<HeadScores>)>,
}

impl<'a> ContextLayers<'a> {
    pub(crate) fn of_arrays(backend: &'a dyn Backend, problems: Vec<LayerProblem<'a>>) -> Self {
        let shapes = problems.iter().map(LayerProblem::shape).collect();
        Self { source: Source::Arrays(backend, problems), shapes, scores: Vec::new() }
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

fn visited<T>(
    backend: &dyn Backend,
    (ordinal, problem): (usize, &LayerProblem<'_>),
    scores: &[Score],
    visit: &(impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync),
) -> Result<T> {
    let name = || format!("layer {}", problem.layer());
    let mut prepared = backend.prepare(problem).with_context(name)?;
    prepared.share(scores);
    visit(LayerOrdinal(ordinal), prepared.as_ref()).with_context(name)
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
            Source::Arrays(backend, problems) => {
                let layers = problems.iter().enumerate();
                layers.map(|layer| visited(*backend, layer, scores, &visit)).collect()
            }
        }
    }

    fn at_once<T: Send>(
        &self,
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync,
    ) -> Result<Vec<T>> {
        match &self.source {
            Source::Sample(layers) => layers.at_once(visit),
            Source::Arrays(backend, problems) => {
                let layers = problems.par_iter().enumerate();
                let results: Vec<Result<T>> =
                    layers.map(|layer| visited(*backend, layer, &[], &visit)).collect();
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
