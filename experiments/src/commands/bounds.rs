//! `laprox bounds`

use anyhow::Result;
use laprox_fixtures::Dump;
use laprox_reference::bounds::{Bound, CHECKS, Check, Draws, Evidence};
use laprox_reference::{Budget, Policy};
use serde::Serialize;

use super::open_dump;
use crate::backend;
use crate::cli::{Bounds, Common};
use crate::data::{self, DataFolder};
use crate::eviction::{Eviction, evictions};
use crate::exit::ClaimFails;
use crate::given::{self, Given};
use crate::group::{grouped, require_distinct};
use crate::progress::Progress;
use crate::provenance::Provenance;
use crate::rows::spelling::{self, list};
use crate::rows::{BoundRow, Slack};
use crate::sample::Sample;
use crate::statements;
use crate::table::{Cell, Table};

#[derive(Serialize)]
struct Results {
    provenance: Provenance,
    trials: u32,
    #[serde(with = "spelling")]
    policy: Policy,
    #[serde(with = "list")]
    budgets: Vec<Budget>,
    rows: Vec<BoundRow>,
    /// How near each row is to failing, among the rows of one statement.
    #[serde(skip)]
    strains: Vec<f64>,
}

/// Checks every bound on every sample; the bounds themselves are always evaluated in f64, by definition.
pub(super) fn run(arguments: &Bounds, common: &Common) -> Result<()> {
    check(arguments, common, &CHECKS)
}

/// Evaluates some checks on every sample and writes the rows.
///
/// # Errors
/// [`ClaimFails`] when a row does not hold; it is written none the less.
pub fn check(arguments: &Bounds, common: &Common, checks: &[Check]) -> Result<()> {
    let (sink, format) = arguments.printed.open(common)?;
    require_distinct("--budget", &arguments.budgets)?;
    let backend = backend::open(common.path)?;
    let folder = DataFolder::open(arguments.dump.as_deref(), &data::DUMP, arguments.data_dir.as_deref())?;
    let dump = open_dump(&folder)?;
    let passes = dump.manifest().samples.len() * dump.manifest().layers.len();
    let progress = Progress::new("checking", 2 * passes as u64);

    let given: Vec<Given> = arguments.given.inputs().cloned().collect();
    let sample = |index| Sample { dump: &dump, index, backend: backend.as_ref(), given: &given };
    let samples: Vec<Sample<'_>> = (0..dump.manifest().samples.len()).map(sample).collect();
    let sizes = samples.iter().map(Sample::known_sizes).collect::<Result<Vec<_>>>()?;
    given::check(&given, &sizes)?;
    let policy = given.first().map_or(arguments.policy, Given::policy);

    let mut checked = Vec::new();
    for &sample in &samples {
        let evictions = Evictions::new(sample, policy, arguments, common.seed, &progress)?;
        checked.extend(evictions.rows(checks, &progress)?);
    }
    drop(progress);
    let provenance = Provenance::new(common, backend.name(), &[&dump])?.with(given::sources(&given, &sizes)?);
    let (rows, strains) = checked.into_iter().unzip();
    let results = Results {
        provenance,
        trials: arguments.trials,
        policy,
        budgets: arguments.budgets.clone(),
        rows,
        strains,
    };
    sink.write_document(format, &results, &results.rows, || text(&dump, &results))?;
    verdict(&results.rows)
}

/// [`ClaimFails`] for a row that does not hold.
fn verdict(rows: &[BoundRow]) -> Result<()> {
    let Some(row) = rows.iter().find(|row| !row.holds) else { return Ok(()) };
    let violated = rows.iter().filter(|row| !row.holds).count();
    Err(ClaimFails(format!(
        "{}, {}, does not hold: left {:e}, right {:e}, sample {}, layer {}, {} at {} ({violated} of {} rows violated)",
        row.bound,
        row.statement,
        row.left,
        row.right,
        row.sample,
        row.layer,
        row.policy,
        row.budget,
        rows.len()
    ))
    .into())
}

/// The sets that a policy retains of one sample, one per budget.
struct Evictions<'a> {
    sample: Sample<'a>,
    draws: Draws,
    sets: Vec<Eviction>,
}

impl<'a> Evictions<'a> {
    fn new(
        sample: Sample<'a>,
        policy: Policy,
        arguments: &Bounds,
        seed: u64,
        progress: &Progress,
    ) -> Result<Self> {
        let resolve = |&budget: &Budget| -> Result<_> {
            Ok((budget, budget.candidates_per_head(sample.context_len(), sample.window_len())?))
        };
        let budgets = arguments.budgets.iter().map(resolve).collect::<Result<Vec<_>>>()?;
        let (layers, searching) = (sample.layers(progress), arguments.search.searching());
        let seed = sample.seed(seed);
        let sets = evictions(sample.backend, &layers, &[policy], &budgets, seed, &searching)?;
        let draws = Draws { seed, trials: arguments.trials as usize };
        Ok(Self { sample, draws, sets })
    }

    /// Budget by budget, layer by layer within it, each row with its strain.
    fn rows(&self, checks: &[Check], progress: &Progress) -> Result<Vec<(BoundRow, f64)>> {
        let layers = self.sample.layers(progress);
        let sets: Vec<_> = self.sets.iter().map(|eviction| &eviction.retained).collect();
        let by_layer = statements::evaluate(&layers, &sets, self.draws, checks)?;
        let mut rows = vec![Vec::new(); self.sets.len()];
        for (&number, bounds) in self.sample.dump.manifest().layers.iter().zip(by_layer) {
            for (set, bound) in bounds {
                rows[set].push((self.row(set, number, &bound), bound.strain()));
            }
        }
        Ok(rows.concat())
    }

    fn row(&self, set: usize, layer: usize, bound: &Bound) -> BoundRow {
        let Eviction { policy, budget, per_head, .. } = &self.sets[set];
        let (rounding, p_value, p_bound, resolution) = match bound.evidence {
            Evidence::AtMost { rounding } | Evidence::Equal { rounding, .. } => {
                (Some(rounding), None, None, None)
            }
            Evidence::Chance { p_value, p_bound, resolution } => {
                (None, Some(p_value), Some(p_bound), resolution)
            }
        };
        BoundRow {
            model: self.sample.dump.manifest().model.name.clone(),
            sample: self.sample.name().to_owned(),
            policy: policy.into(),
            budget: *budget,
            entries_per_head: per_head.with_window(self.sample.window_len()).0,
            layer,
            bound: bound.id.into(),
            statement: bound.statement.into(),
            left: bound.left,
            right: bound.right,
            slack: bound.slack(),
            ratio: bound.ratio(),
            rounding,
            p_value,
            p_bound,
            resolution,
            holds: bound.holds(),
        }
    }
}

/// For each sample and budget, one line per bound: the layer in which it is nearest to failing, and how loose it is
/// elsewhere.
fn text(dump: &Dump, results: &Results) -> String {
    let rows = results.rows.iter().zip(results.strains.iter().copied());
    let block = |((sample, budget), rows): ((&String, Budget), _)| {
        format!(
            "{}, sample {sample}, {} at {budget}: each bound in the layer where it is nearest to failing, with the p-value of what \
             is random and the least relative error of the right side that these draws would show, then the least, median and largest right / left over all layers of the dump.\n\n{}\n",
            dump.manifest().model.name,
            results.policy,
            summary(rows)
        )
    };
    let blocks = grouped(rows, |(row, _)| (&row.sample, row.budget)).into_iter().map(block);
    blocks.collect::<Vec<_>>().join("\n")
}

/// The table of rows with their strains.
fn summary(rows: Vec<(&BoundRow, f64)>) -> Table {
    let columns = ["layer", "left", "right", "slack", "p", "sees", "least", "median", "most", "holds"];
    let mut table = Table::new("", ["bound", "statement"], columns);
    let number = |number: f64| Cell::text(format!("{number:.4e}"));
    for (_, rows) in grouped(rows, |(row, _)| &row.bound) {
        let (rows, strains): (Vec<&BoundRow>, Vec<f64>) = rows.into_iter().unzip();
        let worst =
            (0..rows.len()).fold(0, |worst, row| if strains[row] > strains[worst] { row } else { worst });
        let (worst, Slack { ratios, holding, rows, .. }) = (rows[worst], Slack::of(&rows));
        let mut cells = vec![Cell::text(worst.layer.to_string())];
        cells.extend([worst.left, worst.right, worst.slack].map(number));
        cells.push(Cell::number(worst.p_value, 3));
        cells.push(Cell::number(worst.resolution, 3));
        cells.extend(ratios.map(|ratio| Cell::number(Some(ratio), 3)));
        cells.push(Cell::text(format!("{holding} of {rows}")));
        table.push([&*worst.bound, &*worst.statement], cells);
    }
    table
}
