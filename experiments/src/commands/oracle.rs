//! `laprox oracle`

use std::sync::atomic::Ordering;

use anyhow::{Result, bail, ensure};
use laprox_fixtures::Dump;
use laprox_reference::oracle::Certified;
use laprox_reference::{Allocation, Budget, EntriesPerHead, Policy, Searching, pipeline};
use serde::Serialize;

use super::open_dump;
use crate::backend;
use crate::certificate::{self, Measured, Proof};
use crate::cli::{Common, OracleArguments};
use crate::data::{self, DataFolder};
use crate::eviction::{evictions, holds};
use crate::given::{self, Given};
use crate::group::{distinct, require_distinct};
use crate::interrupt;
use crate::progress::{Progress, Status, note};
use crate::provenance::Provenance;
use crate::rows::spelling::{self, list};
use crate::rows::{Minimised, OracleRow, each_layer_and_all, in_form};
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

/// Why a reweighted set is not compared with a bound.
const NO_DROP_ERROR: &str =
    "a reweighted set has no drop error to hold against a bound, expected --oracle renormalised";

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
    let given: Vec<Given> = arguments.given.distinct()?;
    let policies = policies(arguments)?;
    let objective = certificate::minimised(&arguments.oracle)?;
    if let Some(policy) =
        policies.iter().find(|policy| policy.reweighs() && objective != Minimised::Renormalised)
    {
        bail!("policy '{policy}': {NO_DROP_ERROR}");
    }
    let backend = backend::open(common.path)?;
    let interrupted = interrupt::stop();
    let folder = DataFolder::open(arguments.dump.as_deref(), &data::DUMP, arguments.data_dir.as_deref())?;
    let dump = open_dump(&folder)?;

    let mut rows = Vec::new();
    let searching = Searching { interrupted: Some(interrupted), ..arguments.search.searching() };
    let sample = |index| Sample { dump: &dump, index, backend: backend.as_ref(), given: &given };
    let samples: Vec<Sample<'_>> = (0..dump.manifest().samples.len()).map(sample).collect();
    let sizes = samples.iter().map(Sample::known_sizes).collect::<Result<Vec<_>>>()?;
    given::check(&given, &sizes)?;
    require_at_budgets(arguments, objective, &samples)?;
    let problems =
        samples.iter().flat_map(|&sample| arguments.budgets.iter().map(move |&budget| (sample, budget)));
    for (sample, budget) in problems {
        if !rows.is_empty() && interrupted.load(Ordering::Relaxed) {
            note("interrupted: the samples and budgets after the last row are left out");
            break;
        }
        let problem = Problem { sample, budget, oracle: arguments.oracle, objective, seed: common.seed };
        rows.extend(problem.rows(&policies, &searching)?);
    }
    let provenance = Provenance::new(common, backend.name(), &[&dump])?.with(given::sources(&given, &sizes)?);
    let budgets = arguments.budgets.clone();
    let results = Results { provenance, oracle: arguments.oracle, budgets, rows };
    sink.write_document(format, &results, &results.rows, || text(&dump, &results))
}

/// Refuses a given set that holds none of the budgets: no bound is about it. A bound of a layer is about the layer's budget.
fn require_at_budgets(
    arguments: &OracleArguments,
    objective: Minimised,
    samples: &[Sample<'_>],
) -> Result<()> {
    let by_layer = arguments.oracle.options().allocation == Allocation::LAYER;
    for sample in samples {
        let per_heads =
            arguments.budgets.iter().map(|budget| budget.resolve(sample.context_len(), sample.window_len()));
        let per_heads = per_heads.collect::<Result<Vec<_>, _>>()?;
        for input in &arguments.given.retained {
            let retained = given::set(sample.given, &sample.set_sizes(), &input.policy())?;
            let is_compared = retained.reweighting().is_none() || objective == Minimised::Renormalised;
            ensure!(is_compared, "{}: {NO_DROP_ERROR}", input.path().display());
            if !per_heads.iter().any(|&per_head| holds(&retained, per_head, by_layer)) {
                let budgets: Vec<String> = arguments.budgets.iter().map(ToString::to_string).collect();
                bail!(
                    "{}: expected a set of {} entries per KV head{}, found {} in {} KV heads of sample {}",
                    input.path().display(),
                    budgets.join(" or "),
                    if by_layer { " in every layer" } else { "" },
                    retained.positions().len(),
                    retained.offsets().len() - 1,
                    sample.name()
                );
            }
        }
    }
    Ok(())
}

/// The policies to compare with; within layers, if the oracle is.
fn policies(arguments: &OracleArguments) -> Result<Vec<Policy>> {
    let mut policies = arguments.policies.clone();
    if policies.is_empty() {
        policies = DEFAULT_POLICIES.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    }
    policies.extend(arguments.given.inputs().map(Given::policy));
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
    objective: Minimised,
    seed: u64,
}

impl Problem<'_> {
    fn rows(&self, policies: &[Policy], searching: &Searching<'_>) -> Result<Vec<OracleRow>> {
        let (context_len, window_len) = (self.sample.context_len(), self.sample.window_len());
        let per_head = self.budget.candidates_per_head(context_len, window_len)?;
        let status = Status::new(&format!("{} {} at {}", self.oracle, self.sample.name(), self.budget));
        let layers = self.sample.dump.manifest().layers.len() as u64;
        let progress = Progress::new("comparing", 2 * layers);
        let (backend, layers) = (self.sample.backend, self.sample.layers(&progress));
        let watch = |part: usize, state: &Certified| {
            status.say(&format!("part {part}: gap {:.3} %, {} nodes", 100.0 * state.gap(), state.nodes));
            true
        };
        let watched = Searching { watch: &watch, ..*searching };
        let searched = pipeline::search(backend, &layers, &self.oracle, per_head, &watched)?;
        drop(status);

        let budget = [(self.budget, per_head)];
        let seed = self.sample.seed(self.seed);
        let evictions = evictions(backend, &layers, policies, &budget, seed, searching)?;
        // A given set is compared at the budget that it holds.
        let evictions: Vec<_> = evictions.into_iter().filter(|one| one.budget == self.budget).collect();
        let mut sets = vec![searched.retained.clone()];
        sets.extend(evictions.iter().map(|eviction| eviction.retained.clone()));
        let measured = certificate::measured(&layers, &sets, self.objective)?;
        let proofs = certificate::proofs(&searched, self.oracle.options().form, &measured[0]);
        let named = std::iter::once(&self.oracle).chain(evictions.iter().map(|eviction| &eviction.policy));
        let rows = named.zip(&measured).enumerate().map(|(place, (policy, measured))| {
            let is_oracle = place == 0;
            self.rows_of((policy, is_oracle), measured, &proofs, per_head.with_window(window_len))
        });
        Ok(rows.collect::<Vec<_>>().concat())
    }

    fn rows_of(
        &self,
        (policy, is_oracle): (&Policy, bool),
        measured: &[Measured],
        proofs: &[Proof],
        EntriesPerHead(entries_per_head): EntriesPerHead,
    ) -> Vec<OracleRow> {
        let layers = each_layer_and_all(&self.sample.dump.manifest().layers, measured);
        let row = |((layer, Measured { errors, minimised }), proof): ((Option<usize>, Measured), &Proof)| {
            let error = in_form(minimised, self.oracle.options().form);
            OracleRow {
                model: self.sample.dump.manifest().model.name.clone(),
                sample: self.sample.name().to_owned(),
                budget: self.budget,
                entries_per_head,
                policy: policy.into(),
                layer,
                objective: self.objective,
                relative_error: error.relative(),
                relative_lower_bound: proof.relative_bound(error),
                over_bound: proof.over_bound(error),
                nodes: proof.nodes.filter(|_| is_oracle),
                ended: proof.ended.filter(|_| is_oracle),
                layer_wise: errors.drop.map(|error| error.layer_wise.relative()),
                renormalised: errors.renormalised.layer_wise.relative(),
                future: errors.future.map(|error| error.layer_wise.relative()),
            }
        };
        layers.zip(proofs).map(row).collect()
    }
}

/// For each sample and budget: the oracle and the policies over all layers, then the oracle layer by layer.
fn text(dump: &Dump, results: &Results) -> String {
    let same = |one: &OracleRow, next: &OracleRow| (&one.sample, one.budget) == (&next.sample, next.budget);
    let block = |rows: &[OracleRow]| {
        let (whole, layers): (Vec<&OracleRow>, Vec<&OracleRow>) =
            rows.iter().partition(|row| row.layer.is_none());
        let policies = table("policy", &whole, |row| row.policy.to_string());
        let mut text = format!(
            "{}, sample {} at {}: norm(O_hat - O) / norm(O) over all layers of the dump; the error of the first column is the one that the \
             oracle minimises ({}).\n\n{policies}\n",
            dump.manifest().model.name,
            rows[0].sample,
            rows[0].budget,
            rows[0].objective
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
    let columns = ["error", "bound", "error / bound", "nodes", "ended", "layer-wise", "renorm", "future"];
    let mut table = Table::of_labels([label].into_iter().chain(columns));
    for row in rows {
        let cells = [
            name(row),
            number(Some(row.relative_error), 4),
            number(row.relative_lower_bound, 4),
            number(row.over_bound, 4),
            row.nodes.map_or("-".into(), |nodes| nodes.to_string()),
            row.ended.map_or("-", |ended| if ended { "yes" } else { "no" }).into(),
            number(row.layer_wise, 4),
            number(Some(row.renormalised), 4),
            number(row.future, 4),
        ];
        table.push(cells, vec![]);
    }
    table
}
