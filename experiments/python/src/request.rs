//! Policies, budgets, paths and sets as Python names them.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::ValueEnum;
use laprox_experiments::cli::PathChoice;
use laprox_experiments::sets::SetSizes;
use laprox_gpu::Gpu;
use laprox_reference::{Backend, Budget, HeadScores, LayerIndex, LayerShape, Policy, RetainedSet};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::arrays::{Array, Numbers};

/// A policy: its text, and the scores behind it if Python has made them.
#[derive(FromPyObject)]
pub(crate) struct Ranked<'py>(String, Option<Array<'py>>);

/// The same, apart from Python.
pub(crate) struct Request<'a> {
    text: String,
    scores: Option<Numbers<'a>>,
}

impl Ranked<'_> {
    pub(crate) fn request(&self) -> Result<Request<'_>> {
        let scores = self.1.as_ref().map(Array::numbers).transpose()?;
        Ok(Request { text: self.0.clone(), scores })
    }
}

impl Request<'_> {
    /// The policy, and its scores for layers of these numbers and this shape.
    pub(crate) fn resolve(
        &self,
        layers: &[usize],
        shape: LayerShape,
    ) -> Result<(Policy, Option<Vec<HeadScores>>)> {
        let Some(scores) = &self.scores else { return Ok((self.text.parse()?, None)) };
        let (name, options) = match self.text.split_once(':') {
            Some((name, options)) => (name, Some(options)),
            None => (self.text.as_str(), None),
        };
        let policy = Policy::of_given_scores(name, options)?;
        Ok((policy, Some(head_scores(scores, layers, shape).with_context(|| format!("scores of {name}"))?)))
    }
}

fn head_scores(scores: &Numbers<'_>, layers: &[usize], shape: LayerShape) -> Result<Vec<HeadScores>> {
    let candidates = shape.candidate_len();
    let expected = [layers.len(), shape.kv_heads, candidates];
    let view = scores.view::<3>("scores")?;
    if view.shape() != expected {
        return Err(anyhow!(
            "expected shape {expected:?} [layers, KV heads, n - w], found {:?}",
            view.shape()
        ));
    }
    let of_layer = |(place, &layer): (usize, &usize)| {
        let values = view.outer(place).to_f64();
        let of_head = |head: usize| values[head * candidates..(head + 1) * candidates].to_vec();
        Ok(HeadScores::new(LayerIndex(layer), (0..shape.kv_heads).map(of_head).collect())?)
    };
    layers.iter().enumerate().map(of_layer).collect()
}

/// `reference`, `fast` or `gpu`.
pub(crate) fn backend(path: &str) -> Result<Box<dyn Backend>> {
    let choice = PathChoice::from_str(path, false);
    let expected = |_| anyhow!("path '{path}': expected reference, fast or gpu");
    match choice.map_err(expected)? {
        PathChoice::Gpu => Ok(Box::new(gpu()?)),
        choice => laprox_experiments::backend::open(choice),
    }
}

/// The device, which is opened once per process.
pub(crate) fn gpu() -> Result<Gpu> {
    static GPU: Mutex<Option<Gpu>> = Mutex::new(None);
    let mut gpu = GPU.lock().unwrap_or_else(PoisonError::into_inner);
    if gpu.is_none() {
        *gpu = Some(laprox_experiments::backend::gpu()?);
    }
    gpu.clone().context("the device is open")
}

pub(crate) fn budgets(texts: &[String]) -> Result<Vec<Budget>> {
    texts.iter().map(|text| Ok(text.parse()?)).collect()
}

/// The sizes of sets of these layers.
pub(crate) fn sizes(sample: &str, layers: &[usize], shape: LayerShape) -> SetSizes {
    SetSizes {
        sample: sample.to_owned(),
        layers: layers.to_vec(),
        kv_heads: shape.kv_heads,
        context: shape.context_len,
        window: shape.window_len,
        head_dim: shape.head_dim,
        tokens_sha256: None,
    }
}

/// A set as it is stored: where each KV head's positions begin, and the positions.
#[derive(FromPyObject)]
pub(crate) struct Stored<'py>(PyReadonlyArray1<'py, u64>, PyReadonlyArray1<'py, u32>);

/// The same, apart from Python.
#[derive(Clone, Copy)]
pub(crate) struct Lent<'a>(&'a [u64], &'a [u32]);

impl Stored<'_> {
    pub(crate) fn lent(&self) -> Result<Lent<'_>> {
        Ok(Lent(self.0.as_slice()?, self.1.as_slice()?))
    }
}

impl Lent<'_> {
    /// The set, if it has these sizes.
    pub(crate) fn set(&self, sizes: &SetSizes) -> Result<RetainedSet> {
        Ok(sizes.set(self.0, self.1)?)
    }
}

/// A set on its way to Python.
#[derive(IntoPyObject)]
pub(crate) struct Kept<'py> {
    offsets: Bound<'py, PyArray1<u64>>,
    positions: Bound<'py, PyArray1<u32>>,
    policy: String,
    budget: String,
}

impl<'py> Kept<'py> {
    /// Takes a set without biases and values, for which a plan has no place.
    pub(crate) fn new(py: Python<'py>, set: &RetainedSet, policy: String, budget: String) -> Result<Self> {
        let found = if policy.is_empty() { "a set" } else { &policy };
        ensure!(
            set.reweighting().is_none(),
            "{found}: expected a set without biases and values, which plans do not hold, found a reweighted one"
        );
        let offsets = set.offsets().iter().map(|&offset| offset as u64);
        Ok(Self {
            offsets: PyArray1::from_iter(py, offsets),
            positions: PyArray1::from_slice(py, set.positions()),
            policy,
            budget,
        })
    }
}
