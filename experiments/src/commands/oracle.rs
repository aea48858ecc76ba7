//! `laprox oracle`

use std::iter::Sum;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use laprox_fixtures::Dump;
use laprox_reference::oracle::Certified;
use laprox_reference::{
    Allocation, Budget, EntriesPerHead, Oracle, OutputError, OutputErrors, Policy, Rule, Searched, pipeline,
};
use serde::Serialize;

use super::open_dump;
use crate::backend;
use crate::cli::{Common, OracleArguments};
use crate::data::{self, DataFolder};
use crate::group::{distinct, require_distinct};
use crate::progress::{Progress, Status};
use crate::provenance::Provenance;
use crate::rows::spelling::{self, list};
use crate::rows::{OracleRow, each_layer_and_all, in_form};
use crate::sample::Sample;
use crate::table::{Table, number};

/// The policies that an oracle is compared with by default.
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

#[derive(Serialize)]
struct Results {
    provenance: Provenance,
    #[serde(with = "spelling")]
    oracle: Policy,
    #[serde(with = "list")]
    budgets: Vec<Budget>,
    rows: Vec<OracleRow>,
}

/// Searches every sample at every budget.
pub(super) fn run(arguments: &OracleArguments, common: &Common) -> Result<()> {
    let (sink, format) = arguments.printed.open(common)?;
    require_distinct("--policy", &arguments.policies)?;
    require_distinct("--budget", &arguments.budgets)?;
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
    let budgets = arguments.budgets.clone();
    let results = Results { provenance, oracle: arguments.oracle, budgets, rows };
    sink.write_document(format, &results, &results.rows, || text(&dump, &results))
}

/// Set by Ctrl-C.
fn interrupted() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("waiting for Ctrl-C")?;
    Ok(interrupted)
}

/// The policies to compare with; within layers, if the oracle is.
fn policies(arguments: &OracleArguments) -> Result<Vec<Policy>> {
    let mut policies = arguments.policies.clone();
    if policies.is_empty() {
        policies = DEFAULT_POLICIES.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    }
    if arguments.oracle.options().allocation != Allocation::LAYER {
        return Ok(policies);
    }
    let within_layers = |policy: Policy| {
        let wider = !policy.options().allocation.entry().within_layers && policy.has_option("allocation");
        if wider { policy.with("allocation", "layer") } else { Ok(policy) }
    };
    let policies: Vec<Policy> = policies.into_iter().map(within_layers).collect::<Result<_, _>>()?;
    Ok(distinct(policies))
}

/// One sample at one budget.
struct Problem<'a> {
    sample: Sample<'a>,
    budget: Budget,
    oracle: Policy,
    seed: u64,
}

impl Problem<'_> {
    fn rows(&self, policies: &[Policy], go_on: &(dyn Fn() -> bool + Sync)) -> Result<Vec<OracleRow>> {
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
        // The oracle for the later queries proves nothing about `drop`.
        let proves_drop = !matches!(self.oracle.rule(), Rule::Oracle(Oracle::Future));
        let bound = |certified: &Certified| proves_drop.then_some(certified.squared_lower_bound);
        let bounds = each_and_all(&searched, errors[0].len(), bound);
        let nodes = each_and_all(&searched, errors[0].len(), |certified| Some(certified.nodes));
        let named = std::iter::once((&self.oracle, nodes.clone()));
        let named = named.chain(policies.iter().map(|policy| (policy, vec![None; nodes.len()])));
        let rows = named.zip(&errors).map(|((policy, nodes), errors)| {
            self.rows_of(policy, errors, &bounds, &nodes, per_head.with_window(window_len))
        });
        Ok(rows.collect::<Vec<_>>().concat())
    }

    fn rows_of(
        &self,
        policy: &Policy,
        errors: &[OutputErrors],
        bounds: &[Option<f64>],
        nodes: &[Option<usize>],
        EntriesPerHead(entries_per_head): EntriesPerHead,
    ) -> Vec<OracleRow> {
        let layers = each_layer_and_all(&self.sample.dump.manifest().layers, errors);
        let row = |(index, (layer, errors)): (usize, (Option<usize>, OutputErrors))| {
            let error = in_form(errors.drop, self.oracle.options().form);
            let bound = bounds[index];
            OracleRow {
                model: self.sample.dump.manifest().model.name.clone(),
                sample: self.sample.name().to_owned(),
                budget: self.budget,
                entries_per_head,
                policy: policy.into(),
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
        layers.enumerate().map(row).collect()
    }
}

/// A number of each layer's proof, if each layer has its own, then their sum.
fn each_and_all<T: Copy + Sum>(
    searched: &Searched,
    layers: usize,
    number: impl Fn(&Certified) -> Option<T>,
) -> Vec<Option<T>> {
    let parts: Vec<Option<T>> = searched.certified.iter().map(|part| number(part.as_ref()?)).collect();
    let all = parts.iter().copied().sum();
    let each = if parts.len() == layers { parts } else { vec![None; layers] };
    each.into_iter().chain([all]).collect()
}

/// For each sample and budget: the oracle and the policies over all layers, then the oracle layer by layer.
fn text(dump: &Dump, results: &Results) -> String {
    let same = |one: &OracleRow, next: &OracleRow| (&one.sample, one.budget) == (&next.sample, next.budget);
    let block = |rows: &[OracleRow]| {
        let (whole, layers): (Vec<&OracleRow>, Vec<&OracleRow>) =
            rows.iter().partition(|row| row.layer.is_none());
        let policies = table("policy", &whole, |row| row.policy.to_string());
        let mut text = format!(
            "{}, sample {} at {}: norm(O_hat - O) / norm(O) over all layers of the dump.\n\n{policies}\n",
            dump.manifest().model.name,
            rows[0].sample,
            rows[0].budget
        );
        let layers: Vec<&OracleRow> = layers.into_iter().filter(|row| row.nodes.is_some()).collect();
        if !layers.is_empty() {
            let layers = table("layer", &layers, |row| row.layer.unwrap_or_default().to_string());
            text += &format!("\n{layers}\n");
        }
        text
    };
    results.rows.chunk_by(same).map(block).collect::<Vec<_>>().join("\n")
}

fn table(label: &str, rows: &[&OracleRow], name: impl Fn(&OracleRow) -> String) -> Table {
    let columns = ["error", "bound", "error / bound", "nodes", "layer-wise", "renorm", "future"];
    let mut table = Table::of_labels([label].into_iter().chain(columns));
    for row in rows {
        let cells = [
            name(row),
            number(Some(row.relative_error), 4),
            number(row.relative_lower_bound, 4),
            number(row.over_bound, 4),
            row.nodes.map_or("-".into(), |nodes| nodes.to_string()),
            number(Some(row.layer_wise), 4),
            number(Some(row.renormalised), 4),
            number(row.future, 4),
        ];
        table.push(cells, vec![]);
    }
    table
}
