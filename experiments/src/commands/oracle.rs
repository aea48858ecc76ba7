//! `laprox oracle`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use laprox_fixtures::Dump;
use laprox_reference::oracle::Certified;
use laprox_reference::{
    Allocation, Budget, EntriesPerHead, Form, OutputError, OutputErrors, Policy, Searched, pipeline,
};
use serde::Serialize;

use super::open_dump;
use crate::backend;
use crate::cli::{Common, OracleArguments};
use crate::data::{self, DataFolder};
use crate::progress::{Progress, Status};
use crate::provenance::Provenance;
use crate::report::table;
use crate::sample::Sample;

/// The policies that an oracle is compared with where none is named.
const DEFAULT_POLICIES: [&str; 8] = [
    "laprox",
    "laprox:pool=none",
    "laprox:allocation=model-raw,pool=none",
    "laprox:allocation=head,pool=none",
    "centred",
    "snapkv",
    "snapkv:allocation=model-raw,pool=none",
    "streaming",
];

/// One policy, or the oracle itself, against the proven bound: for a layer, or all of them.
#[derive(Clone, Debug, Serialize)]
struct Row {
    model: String,
    sample: String,
    budget: String,
    entries_per_head: usize,
    policy: String,
    /// The layer's number; empty for all layers together.
    layer: Option<usize>,
    /// `norm(O_hat - O) / norm(O)`, `drop`, in the oracle's form.
    relative_error: f64,
    /// The proven least of it; empty where the oracle proves nothing.
    relative_lower_bound: Option<f64>,
    /// Error over bound.
    over_bound: Option<f64>,
    /// Relaxations that the proof took; only beside the oracle.
    nodes: Option<usize>,
    /// The `drop` error of the layer's output, layer-wise, whatever the oracle's form.
    layer_wise: f64,
    /// The `renormalised` error, layer-wise.
    renormalised: f64,
    /// The `future` error, layer-wise, where the dump holds later queries.
    future: Option<f64>,
}

#[derive(Serialize)]
struct Results {
    provenance: Provenance,
    oracle: String,
    budgets: Vec<String>,
    rows: Vec<Row>,
}

/// Searches every sample at every budget.
pub(super) fn run(arguments: &OracleArguments, common: &Common) -> Result<()> {
    let (sink, format) = arguments.printed.open(common)?;
    let policies = policies(arguments)?;
    let backend = backend::open(common.path)?;
    let interrupted = interrupted()?;
    let folder = DataFolder::open(arguments.dump.as_deref(), &data::DUMP, arguments.data_dir.as_deref())?;
    let dump = open_dump(&folder)?;

    let mut rows = Vec::new();
    for index in 0..dump.manifest().samples.len() {
        let sample = Sample { dump: &dump, index, backend: backend.as_ref() };
        for &budget in &arguments.budgets {
            let problem = Problem { sample, budget, oracle: arguments.oracle, seed: common.seed };
            let deadline = arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
            let go_on = || {
                !interrupted.load(Ordering::Relaxed)
                    && deadline.is_none_or(|deadline| Instant::now() < deadline)
            };
            rows.extend(problem.rows(&policies, &go_on)?);
        }
    }
    let provenance = Provenance::new(common, backend.name(), &[&dump])?;
    let budgets = arguments.budgets.iter().map(Budget::to_string).collect();
    let results = Results { provenance, oracle: arguments.oracle.to_string(), budgets, rows };
    sink.write_document(format, &results, &results.rows, || text(&dump, &results))
}

/// Set by Ctrl-C.
fn interrupted() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("waiting for Ctrl-C")?;
    Ok(interrupted)
}

/// The policies to compare with, each under one budget a layer where the oracle is.
fn policies(arguments: &OracleArguments) -> Result<Vec<Policy>> {
    let mut policies = arguments.policies.clone();
    if policies.is_empty() {
        policies = DEFAULT_POLICIES.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    }
    if arguments.oracle.options().allocation != Allocation::LAYER {
        return Ok(policies);
    }
    let mut within_layers: Vec<Policy> = Vec::new();
    for policy in policies {
        let wider = !policy.options().allocation.entry().within_layers;
        let policy = if wider && policy.has_option("allocation") {
            policy.with("allocation", "layer")?
        } else {
            policy
        };
        if !within_layers.contains(&policy) {
            within_layers.push(policy);
        }
    }
    Ok(within_layers)
}

/// One sample at one budget.
struct Problem<'a> {
    sample: Sample<'a>,
    budget: Budget,
    oracle: Policy,
    seed: u64,
}

impl Problem<'_> {
    fn rows(&self, policies: &[Policy], go_on: &(dyn Fn() -> bool + Sync)) -> Result<Vec<Row>> {
        let (context_len, window_len) = (self.sample.context_len(), self.sample.window_len());
        let per_head = self.budget.candidates_per_head(context_len, window_len)?;
        let status = Status::new(&format!("{} {} at {}", self.oracle, self.sample.name(), self.budget));
        let layers = self.sample.dump.manifest().layers.len() as u64;
        let progress = Progress::new("comparing", 2 * layers);
        let (backend, layers) = (self.sample.backend, self.sample.layers(&progress));
        let searched = pipeline::search(backend, &layers, &self.oracle, per_head, &|part, state| {
            status.say(&format!("part {part}: gap {:.3} %, {} nodes", 100.0 * state.gap(), state.nodes));
            go_on()
        })?;
        drop(status);

        let seeded: Vec<Policy> =
            policies.iter().map(|policy| policy.reseeded(self.sample.seed(self.seed))).collect();
        let mut sets = vec![searched.retained.clone()];
        sets.extend(pipeline::evict(backend, &layers, &seeded, &[per_head])?.concat());
        let errors = pipeline::evaluate(&layers, &sets)?;
        let bounds = self.bounds(&searched, &errors[0]);
        let named = std::iter::once(&self.oracle).chain(policies).zip(&errors).enumerate();
        let rows = named.map(|(index, (policy, errors))| {
            let nodes =
                if index == 0 { nodes(&searched, errors.len()) } else { vec![None; errors.len() + 1] };
            self.rows_of(policy, errors, &bounds, &nodes, per_head.with_window(window_len))
        });
        Ok(rows.collect::<Vec<_>>().concat())
    }

    /// The `drop` error in the oracle's form.
    fn objective(&self, errors: &OutputErrors) -> OutputError {
        match self.oracle.options().form {
            Form::LayerWise => errors.drop.layer_wise,
            Form::HeadWise => errors.drop.head_wise,
        }
    }

    /// The squared bound of each layer, and of all of them; `None` where nothing is proven of `drop`.
    fn bounds(&self, searched: &Searched, errors: &[OutputErrors]) -> Vec<Option<f64>> {
        let proves_drop = self.oracle.name() != "oracle:future";
        let proven = |certified: &Option<Certified>| {
            certified.as_ref().filter(|_| proves_drop).map(|certified| certified.squared_lower_bound)
        };
        let parts: Vec<Option<f64>> = searched.certified.iter().map(proven).collect();
        let total: Option<f64> = parts.iter().copied().sum();
        let by_layer = if parts.len() == errors.len() { parts } else { vec![None; errors.len()] };
        by_layer.into_iter().chain([total]).collect()
    }

    fn rows_of(
        &self,
        policy: &Policy,
        errors: &[OutputErrors],
        bounds: &[Option<f64>],
        nodes: &[Option<usize>],
        EntriesPerHead(entries_per_head): EntriesPerHead,
    ) -> Vec<Row> {
        let layers = self.sample.dump.manifest().layers.iter().map(|&layer| Some(layer)).chain([None]);
        let errors = errors.iter().copied().chain(OutputErrors::total(errors.iter().copied()));
        let row = |(index, (layer, errors)): (usize, (Option<usize>, OutputErrors))| {
            let error = self.objective(&errors);
            let bound = bounds[index];
            Row {
                model: self.sample.dump.manifest().model.name.clone(),
                sample: self.sample.name().to_owned(),
                budget: self.budget.to_string(),
                entries_per_head,
                policy: policy.to_string(),
                layer,
                relative_error: error.relative(),
                relative_lower_bound: bound
                    .map(|bound| OutputError { squared_error: bound, ..error }.relative()),
                over_bound: bound.map(|bound| OutputError { squared_norm: bound, ..error }.relative()),
                nodes: nodes[index],
                layer_wise: errors.drop.layer_wise.relative(),
                renormalised: errors.renormalised.layer_wise.relative(),
                future: errors.future.map(|error| error.layer_wise.relative()),
            }
        };
        layers.zip(errors).enumerate().map(row).collect()
    }
}

/// The relaxations that each layer's proof took, and all together.
fn nodes(searched: &Searched, layers: usize) -> Vec<Option<usize>> {
    let parts: Vec<Option<usize>> =
        searched.certified.iter().map(|part| part.as_ref().map(|part| part.nodes)).collect();
    let total = parts.iter().copied().sum();
    let by_layer = if parts.len() == layers { parts } else { vec![None; layers] };
    by_layer.into_iter().chain([total]).collect()
}

/// For each sample and budget: the oracle and the policies over all layers, then the oracle layer by layer.
fn text(dump: &Dump, results: &Results) -> String {
    let same = |one: &Row, next: &Row| (&one.sample, &one.budget) == (&next.sample, &next.budget);
    let block = |rows: &[Row]| {
        let mut summary =
            table(["policy", "error", "bound", "error / bound", "nodes", "layer-wise", "renorm", "future"]);
        rows.iter().filter(|row| row.layer.is_none()).for_each(|row| {
            summary.add_row(cells(&row.policy, row));
        });
        let mut text = format!(
            "{}, sample {} at {}: norm(O_hat - O) / norm(O) over all layers of the dump.\n\n{summary}\n",
            dump.manifest().model.name,
            rows[0].sample,
            rows[0].budget
        );
        let by_layer: Vec<&Row> =
            rows.iter().filter(|row| row.nodes.is_some() && row.layer.is_some()).collect();
        if !by_layer.is_empty() {
            let mut layers = table([
                "layer",
                "error",
                "bound",
                "error / bound",
                "nodes",
                "layer-wise",
                "renorm",
                "future",
            ]);
            for row in by_layer {
                layers.add_row(cells(&row.layer.unwrap_or_default().to_string(), row));
            }
            text += &format!("\n{layers}\n");
        }
        text
    };
    results.rows.chunk_by(same).map(block).collect::<Vec<_>>().join("\n")
}

fn cells(name: &str, row: &Row) -> [String; 8] {
    let number =
        |number: Option<f64>, digits: usize| number.map_or("-".into(), |number| format!("{number:.digits$}"));
    [
        name.to_owned(),
        number(Some(row.relative_error), 4),
        number(row.relative_lower_bound, 4),
        number(row.over_bound, 4),
        row.nodes.map_or("-".into(), |nodes| nodes.to_string()),
        number(Some(row.layer_wise), 4),
        number(Some(row.renormalised), 4),
        number(row.future, 4),
    ]
}
