//! Scores, sets, errors, certificates and bounds. Every function takes the layers first and releases the interpreter's lock while
//! it computes.

use std::iter;
use std::ops::Add;
use std::time::Duration;

use anyhow::ensure;
use laprox_experiments::certificate::{self, Measured};
use laprox_experiments::cli::MOST_TRIALS;
use laprox_experiments::eviction::holds;
use laprox_experiments::progress::Progress;
use laprox_experiments::rows::{Objective, in_form};
use laprox_experiments::sample::{Sample, require_supplements};
use laprox_experiments::seed::seed_of;
use laprox_experiments::statements;
use laprox_fixtures::Dump;
use laprox_reference::bounds::{Bound as Evaluated, CHECKS, Draws};
use laprox_reference::layer::Layer;
use laprox_reference::project::projected_value_norms;
use laprox_reference::{
    Allocation, Backend, Budget, CandidatesPerHead, Form, HeadScores, LayerShape, Layers, OutputError,
    OutputErrors, Policy, Reference, RetainedSet, Searched, Searching, pipeline,
};
use numpy::PyArrayDyn;
use pyo3::prelude::*;

use crate::arrays::array;
use crate::failure::Result;
use crate::layers::{ContextLayers, Given, LayerArrays, Problems};
use crate::request::{self, Kept, Lent, Ranked, Request, Stored};

type Reals<'py> = Bound<'py, PyArrayDyn<f64>>;

/// The layers and the facts about them that requests are checked against.
struct Facing<'a> {
    context: ContextLayers<'a>,
    /// The layers' numbers.
    layers: Vec<usize>,
    shape: LayerShape,
    seed: u64,
    /// The sample that the layers are of, if they are of a dump.
    sample: Option<(&'a Dump, usize)>,
}

impl Facing<'_> {
    /// The policies of requests, seeded as the command seeds them. Their scores are put beside the layers.
    fn policies(&mut self, requests: &[Request<'_>]) -> anyhow::Result<Vec<Policy>> {
        let mut policies = Vec::new();
        for request in requests {
            let (policy, scores) = request.resolve(&self.layers, self.shape)?;
            if let Some(scores) = scores {
                self.context.with_scores(policy, scores);
            }
            if let Some((dump, sample)) = self.sample {
                require_supplements(dump, sample, &policy)?;
            }
            policies.push(policy.reseeded(self.seed));
        }
        Ok(policies)
    }

    fn per_head(&self, budget: &Budget) -> anyhow::Result<CandidatesPerHead> {
        Ok(budget.candidates_per_head(self.shape.context_len, self.shape.window_len)?)
    }

    fn sets(&self, stored: &[Lent<'_>]) -> anyhow::Result<Vec<RetainedSet>> {
        let sizes = request::sizes("", &self.layers, self.shape);
        stored.iter().map(|set| set.set(&sizes)).collect()
    }
}

/// Does `work` on the layers.
fn face<T: Send>(
    py: Python<'_>,
    layers: &Given<'_>,
    path: &str,
    seed: u64,
    work: impl FnOnce(Facing<'_>) -> anyhow::Result<T> + Send,
) -> Result<T> {
    let backend = request::backend(path)?;
    let backend: &dyn Backend = backend.as_ref();
    match layers {
        Given::Sample(sample) => {
            let (dump, index, shape) = (sample.dump(), sample.index(), sample.shape());
            Ok(py.detach(|| {
                let progress = Progress::new("working", 0);
                let sample = Sample { dump, index, backend, given: &[] };
                let (layers, seed) = (dump.manifest().layers.clone(), sample.seed(seed));
                let context = ContextLayers::of_sample(sample, &progress);
                work(Facing { context, layers, shape, seed, sample: Some((dump, index)) })
            })?)
        }
        Given::Arrays(arrays) => {
            let layers = arrays.iter().map(LayerArrays::number).collect();
            let face = |problems: Problems<'_>| {
                let context = ContextLayers::of_arrays(problems);
                let shape = context.shapes()[0];
                work(Facing { context, layers, shape, seed: seed_of("", seed), sample: None })
            };
            if arrays.first().is_some_and(LayerArrays::is_on_device) {
                let resident =
                    arrays.iter().map(LayerArrays::resident).collect::<anyhow::Result<Vec<_>>>()?;
                let gpu = request::gpu()?;
                return Ok(py.detach(|| face(Problems::resident(&gpu, &resident)?))?);
            }
            let numbers = arrays.iter().map(LayerArrays::numbers).collect::<anyhow::Result<Vec<_>>>()?;
            Ok(py.detach(|| face(Problems::host(backend, &numbers)?))?)
        }
    }
}

/// `[layers, Hkv, n - w]`.
#[pyfunction]
pub(crate) fn score<'py>(
    py: Python<'py>,
    layers: Given<'py>,
    policy: Ranked<'py>,
    path: &str,
    seed: u64,
) -> Result<Reals<'py>> {
    let request = policy.request()?;
    let (shape, values) = face(py, &layers, path, seed, |mut facing| {
        let policy = facing.policies(&[request])?.swap_remove(0);
        let scores = pipeline::scores(&facing.context, &policy)?;
        let shape = [scores.layers().len(), scores.kv_heads(), scores.candidate_len()];
        Ok((shape, scores.layers().iter().flat_map(HeadScores::values).collect()))
    })?;
    Ok(array(py, &shape, values)?)
}

/// `[policy][budget]`.
#[pyfunction]
pub(crate) fn evict<'py>(
    py: Python<'py>,
    layers: Given<'py>,
    policies: Vec<Ranked<'py>>,
    budgets: Vec<String>,
    path: &str,
    seed: u64,
    seconds: Option<u64>,
) -> Result<Vec<Vec<Kept<'py>>>> {
    let backend = request::backend(path)?;
    let budgets = request::budgets(&budgets)?;
    let requests: Vec<_> = policies.iter().map(Ranked::request).collect::<anyhow::Result<_>>()?;
    let (names, sets) = face(py, &layers, path, seed, |mut facing| {
        let policies = facing.policies(&requests)?;
        let per_heads: Vec<_> =
            budgets.iter().map(|budget| facing.per_head(budget)).collect::<anyhow::Result<_>>()?;
        let searching = Searching { limit: seconds.map(Duration::from_secs), ..Searching::FREE };
        let sets = pipeline::evict(backend.as_ref(), &facing.context, &policies, &per_heads, &searching)?;
        // As they were asked for: without the seed of the sample.
        let names: Vec<String> =
            policies.iter().map(|policy| policy.reseeded(facing.seed).to_string()).collect();
        Ok((names, sets))
    })?;
    let kept = |name: &String, budget: &Budget, set: &RetainedSet| -> Result<_> {
        Ok(Kept::new(py, set, name.clone(), budget.to_string())?)
    };
    let of_policy = |(name, sets): (&String, &Vec<RetainedSet>)| {
        budgets.iter().zip(sets).map(|(budget, set)| kept(name, budget, set)).collect()
    };
    names.iter().zip(&sets).map(of_policy).collect()
}

/// Errors of sets, `[set, layer, objective, form, (relative, squared error, squared norm)]`. The last layer is all of them
/// together, and NaN stands for later queries that are not there.
#[pyfunction]
pub(crate) fn errors<'py>(
    py: Python<'py>,
    layers: Given<'py>,
    sets: Vec<Stored<'py>>,
    path: &str,
) -> Result<Reals<'py>> {
    let sets: Vec<Lent<'_>> = sets.iter().map(Stored::lent).collect::<anyhow::Result<_>>()?;
    let errors =
        face(py, &layers, path, 0, |facing| pipeline::evaluate(&facing.context, &facing.sets(&sets)?))?;
    Ok(error_array(py, &errors)?)
}

fn error_array<'py>(py: Python<'py>, sets: &[Vec<OutputErrors>]) -> PyResult<Reals<'py>> {
    let layers = sets.first().map_or(1, |set| set.len() + 1);
    let forms = [Form::LayerWise, Form::HeadWise];
    let of_layer = |errors: OutputErrors| {
        Objective::ALL.into_iter().flat_map(move |objective| {
            let error = objective.of(&errors);
            forms.into_iter().flat_map(move |form| {
                let error = error.map(|error| in_form(error, form));
                error.map_or([f64::NAN; 3], |error| {
                    [error.relative(), error.squared_error, error.squared_norm]
                })
            })
        })
    };
    let of_set = |set: &Vec<OutputErrors>| {
        let all = OutputErrors::total(set.iter().copied());
        set.iter().copied().chain(all).flat_map(of_layer).collect::<Vec<_>>()
    };
    array(
        py,
        &[sets.len(), layers, Objective::ALL.len(), forms.len(), 3],
        sets.iter().flat_map(of_set).collect(),
    )
}

/// An oracle's set with its proof, and other sets held against it.
#[derive(IntoPyObject)]
pub(crate) struct Certificate<'py> {
    set: Kept<'py>,
    objective: String,
    /// The error that the oracle minimises, relative: `[set, layer]`, its own set first, all layers together last.
    error: Reals<'py>,
    /// The proven least of it, `[layer]`; NaN where nothing is proven.
    lower_bound: Reals<'py>,
    /// Error over bound, `[set, layer]`; NaN where nothing is proven.
    over_bound: Reals<'py>,
    nodes: Option<usize>,
    ended: bool,
}

/// What a search has found, apart from Python.
struct Proven {
    retained: RetainedSet,
    error: Vec<f64>,
    lower_bound: Vec<f64>,
    over_bound: Vec<f64>,
    nodes: Option<usize>,
    ended: bool,
}

/// Searches at one budget. A set of another size is not what the bound is about, so it has no ratio to it.
#[pyfunction]
pub(crate) fn certify<'py>(
    py: Python<'py>,
    layers: Given<'py>,
    oracle: &str,
    budget: &str,
    sets: Vec<Stored<'py>>,
    path: &str,
    seconds: Option<u64>,
) -> Result<Certificate<'py>> {
    let backend = request::backend(path)?;
    let oracle: Policy = oracle.parse().map_err(anyhow::Error::from)?;
    let objective = certificate::minimised(&oracle)?;
    let budget: Budget = budget.parse().map_err(anyhow::Error::from)?;
    let sets: Vec<Lent<'_>> = sets.iter().map(Stored::lent).collect::<anyhow::Result<_>>()?;
    let limit = seconds.map(Duration::from_secs);
    let searching = Searching { limit, ..Searching::FREE };
    let proven = face(py, &layers, path, 0, |facing| {
        let per_head = facing.per_head(&budget)?;
        let mut all = facing.sets(&sets)?;
        let by_layer = oracle.options().allocation == Allocation::LAYER;
        let entries = per_head.with_window(facing.shape.window_len);
        let comparable: Vec<bool> =
            iter::once(true).chain(all.iter().map(|set| holds(set, entries, by_layer))).collect();
        let searched = pipeline::search(backend.as_ref(), &facing.context, &oracle, per_head, &searching)?;
        all.insert(0, searched.retained.clone());
        let measured = certificate::measured(&facing.context, &all, objective)?;
        Ok(proven(searched, oracle.options().form, &measured, &comparable))
    })?;
    let (set_count, layer_count) = (sets.len() + 1, proven.lower_bound.len());
    Ok(Certificate {
        set: Kept::new(py, &proven.retained, oracle.to_string(), budget.to_string())?,
        objective: objective.to_string(),
        error: array(py, &[set_count, layer_count], proven.error)?,
        lower_bound: array(py, &[layer_count], proven.lower_bound)?,
        over_bound: array(py, &[set_count, layer_count], proven.over_bound)?,
        nodes: proven.nodes,
        ended: proven.ended,
    })
}

/// `comparable` says of each set whether the bound is about sets of its size.
fn proven(searched: Searched, form: Form, measured: &[Vec<Measured>], comparable: &[bool]) -> Proven {
    let proofs = certificate::proofs(&searched, form, &measured[0]);
    let with_all = |set: &Vec<Measured>| {
        let all = set.iter().copied().reduce(Add::add);
        set.iter().copied().chain(all).map(|layer| in_form(layer.minimised, form)).collect::<Vec<_>>()
    };
    let errors: Vec<Vec<OutputError>> = measured.iter().map(with_all).collect();
    let pairs = || {
        let sets = errors.iter().zip(comparable);
        sets.flat_map(|(set, comparable)| set.iter().zip(&proofs).map(move |pair| (pair, comparable)))
    };
    let or_nan = |number: Option<f64>| number.unwrap_or(f64::NAN);
    let whole = proofs.last().copied().unwrap_or_default();
    Proven {
        error: pairs().map(|((error, _), _)| error.relative()).collect(),
        over_bound: pairs()
            .map(|((error, proof), &comparable)| or_nan(proof.over_bound(*error).filter(|_| comparable)))
            .collect(),
        lower_bound: errors[0]
            .iter()
            .zip(&proofs)
            .map(|(error, proof)| or_nan(proof.relative_bound(*error)))
            .collect(),
        nodes: whole.nodes,
        ended: searched.ended.iter().all(|&ended| ended),
        retained: searched.retained,
    }
}

/// One statement about one layer under one set.
#[derive(IntoPyObject)]
pub(crate) struct Statement {
    set: usize,
    layer: usize,
    bound: &'static str,
    statement: &'static str,
    left: f64,
    right: f64,
    slack: f64,
    ratio: f64,
    holds: bool,
}

/// B1 to B10, layer by layer.
#[pyfunction]
pub(crate) fn bounds<'py>(
    py: Python<'py>,
    layers: Given<'py>,
    sets: Vec<Stored<'py>>,
    trials: u32,
    seed: u64,
) -> Result<Vec<Statement>> {
    let sets: Vec<Lent<'_>> = sets.iter().map(Stored::lent).collect::<anyhow::Result<_>>()?;
    face(py, &layers, Reference.name(), seed, |facing| {
        ensure!(
            (2..=MOST_TRIALS).contains(&trials.into()),
            "trials: expected 2 to {MOST_TRIALS}, found {trials}"
        );
        let sets = facing.sets(&sets)?;
        let sets: Vec<&RetainedSet> = sets.iter().collect();
        let draws = Draws { seed: facing.seed, trials: trials as usize };
        let by_layer = statements::evaluate(&facing.context, &sets, draws, &CHECKS)?;
        let of_layer = |(&layer, bounds): (&usize, &Vec<(usize, Evaluated)>)| {
            bounds.iter().map(move |(set, bound)| statement(*set, layer, bound)).collect::<Vec<_>>()
        };
        Ok(facing.layers.iter().zip(&by_layer).flat_map(of_layer).collect())
    })
}

fn statement(set: usize, layer: usize, bound: &Evaluated) -> Statement {
    let Evaluated { id, statement, left, right, .. } = *bound;
    let (slack, ratio, holds) = (bound.slack(), bound.ratio(), bound.holds());
    Statement { set, layer, bound: id, statement, left, right, slack, ratio, holds }
}

/// `A_h` of the window, `[H, w, n]`, by definition.
#[pyfunction]
pub(crate) fn attention<'py>(py: Python<'py>, layer: LayerArrays<'py>) -> Result<Reals<'py>> {
    let numbers = layer.numbers()?;
    let (shape, values) = py.detach(|| -> anyhow::Result<_> {
        let layer = Layer::new(&numbers.problem()?)?;
        let rows = layer.attention.weights.iter().flat_map(|weights| weights.transpose().as_slice().to_vec());
        Ok((layer.shape, rows.collect()))
    })?;
    Ok(array(py, &[shape.query_heads, shape.window_len, shape.context_len], values)?)
}

/// `norm2(v_i W_h)` of every candidate, `[H, n - w]`, by definition.
#[pyfunction]
pub(crate) fn projected_norms<'py>(py: Python<'py>, layer: LayerArrays<'py>) -> Result<Reals<'py>> {
    let numbers = layer.numbers()?;
    let (shape, values) = py.detach(|| -> anyhow::Result<_> {
        let layer = Layer::new(&numbers.problem()?)?;
        let norms = layer
            .shape
            .query_heads()
            .flat_map(|head| projected_value_norms(&layer, head).data.as_vec().clone());
        Ok((layer.shape, norms.collect()))
    })?;
    Ok(array(py, &[shape.query_heads, shape.candidate_len()], values)?)
}
