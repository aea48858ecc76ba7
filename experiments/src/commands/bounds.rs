//! `laprox bounds`

use anyhow::Result;
use comfy_table::CellAlignment;
use laprox_fixtures::Dump;
use laprox_reference::bounds::{Bound, CHECKS, Case, Check, Draws, Evidence, LayerPairs};
use laprox_reference::layer::Layer;
use laprox_reference::{
    Budget, CandidatesPerHead, EntriesPerHead, Error, LayerOrdinal, Layers, RetainedSet, pipeline,
};
use rayon::prelude::*;
use serde::Serialize;

use super::open_dump;
use crate::backend;
use crate::cli::{Bounds, Common};
use crate::data::{self, DataFolder};
use crate::exit::ClaimFails;
use crate::progress::Progress;
use crate::provenance::Provenance;
use crate::report::table;
use crate::sample::Sample;

/// One statement about one layer under one eviction.
#[derive(Clone, Debug, Serialize)]
struct Row {
    model: String,
    sample: String,
    policy: String,
    budget: String,
    entries_per_head: usize,
    layer: usize,
    bound: &'static str,
    statement: &'static str,
    left: f64,
    right: f64,
    /// `right - left`.
    slack: f64,
    /// `right / left`.
    ratio: f64,
    /// How far rounding may have moved the sides; empty for random statements.
    rounding: Option<f64>,
    /// Of the usual test of a random statement; empty for the others.
    p_value: Option<f64>,
    /// An upper bound on the same probability for any distribution, which decides.
    p_bound: Option<f64>,
    holds: bool,
    /// Orders the rows of one statement by how close they are to failing.
    #[serde(skip)]
    strain: f64,
}

#[derive(Serialize)]
struct Results {
    provenance: Provenance,
    trials: u32,
    policy: String,
    budgets: Vec<String>,
    rows: Vec<Row>,
}

/// Checks every bound on every sample; the bounds themselves are always evaluated in f64, by definition.
pub(super) fn run(arguments: &Bounds, common: &Common) -> Result<()> {
    check(arguments, common, &CHECKS)
}

fn check(arguments: &Bounds, common: &Common, checks: &[Check]) -> Result<()> {
    let (sink, format) = arguments.printed.open(common)?;
    let backend = backend::open(common.path)?;
    let folder = DataFolder::open(arguments.dump.as_deref(), &data::DUMP, arguments.data_dir.as_deref())?;
    let dump = open_dump(&folder)?;
    let passes = dump.manifest().samples.len() * dump.manifest().layers.len();
    let progress = Progress::new("checking", 2 * passes as u64);

    let mut rows = Vec::new();
    for index in 0..dump.manifest().samples.len() {
        let sample = Sample { dump: &dump, index, backend: backend.as_ref() };
        rows.extend(Evictions::new(sample, arguments, common.seed, &progress)?.rows(checks, &progress)?);
    }
    drop(progress);
    let provenance = Provenance::new(common, backend.name(), &[&dump])?;
    let results = Results {
        provenance,
        trials: arguments.trials,
        policy: arguments.policy.to_string(),
        budgets: arguments.budgets.iter().map(Budget::to_string).collect(),
        rows,
    };
    sink.write_document(format, &results, &results.rows, || text(&dump, &results))?;
    verdict(&results.rows)
}

/// [`ClaimFails`] where a row does not hold.
fn verdict(rows: &[Row]) -> Result<()> {
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

/// What one sample's policy retains at each budget.
struct Evictions<'a> {
    sample: Sample<'a>,
    policy: String,
    draws: Draws,
    sets: Vec<(Budget, EntriesPerHead, RetainedSet)>,
}

impl<'a> Evictions<'a> {
    fn new(sample: Sample<'a>, arguments: &Bounds, seed: u64, progress: &Progress) -> Result<Self> {
        let (context_len, window_len) = (sample.context_len(), sample.window_len());
        let seed = sample.seed(seed);
        let resolve = |budget: &Budget| budget.candidates_per_head(context_len, window_len);
        let per_heads = arguments.budgets.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        let policy = arguments.policy.reseeded(seed);
        let retained = pipeline::evict(sample.backend, &sample.layers(progress), &[policy], &per_heads)?;
        let budgets = arguments.budgets.iter().zip(per_heads);
        let set = |((&budget, per_head), retained): ((&Budget, CandidatesPerHead), RetainedSet)| {
            (budget, per_head.with_window(window_len), retained)
        };
        Ok(Self {
            sample,
            policy: arguments.policy.to_string(),
            draws: Draws { seed, trials: arguments.trials as usize },
            sets: budgets.zip(retained.concat()).map(set).collect(),
        })
    }

    /// Budget by budget, layer by layer within it; one layer is in memory at a time.
    fn rows(&self, checks: &[Check], progress: &Progress) -> Result<Vec<Row>> {
        let layers = self.sample.layers(progress);
        let by_layer = layers.each(&[], |ordinal, layer| self.bounds(ordinal, layer.reference(), checks))?;
        let mut rows = vec![Vec::new(); self.sets.len()];
        for (&number, bounds) in self.sample.dump.manifest().layers.iter().zip(by_layer) {
            for (set, bound) in bounds {
                rows[set].push(self.row(set, number, &bound));
            }
        }
        Ok(rows.concat())
    }

    /// Every bound on one layer, with the index of the set that it is about.
    fn bounds(
        &self,
        ordinal: LayerOrdinal,
        layer: &Layer,
        checks: &[Check],
    ) -> Result<Vec<(usize, Bound)>, Error> {
        let pairs = LayerPairs::new(layer)?;
        let case = |(_, _, set): &(Budget, EntriesPerHead, RetainedSet)| {
            Case::new(&pairs, set.layer(ordinal), self.draws)
        };
        let cases = self.sets.par_iter().map(case).collect::<Result<Vec<_>, _>>()?;
        let tasks: Vec<_> = cases
            .iter()
            .enumerate()
            .flat_map(|task| checks.iter().map(move |&check| (task, check)))
            .collect();
        let evaluate = |((set, case), check): ((usize, &Case<'_>), Check)| -> Vec<_> {
            check(case).into_iter().map(|bound| (set, bound)).collect()
        };
        Ok(tasks.into_par_iter().flat_map_iter(evaluate).collect())
    }

    fn row(&self, set: usize, layer: usize, bound: &Bound) -> Row {
        let (budget, entries_per_head, _) = &self.sets[set];
        let (rounding, p_value, p_bound) = match bound.evidence {
            Evidence::AtMost { rounding } | Evidence::Equal { rounding, .. } => (Some(rounding), None, None),
            Evidence::Chance { p_value, p_bound } => (None, Some(p_value), Some(p_bound)),
        };
        Row {
            model: self.sample.dump.manifest().model.name.clone(),
            sample: self.sample.name().to_owned(),
            policy: self.policy.clone(),
            budget: budget.to_string(),
            entries_per_head: entries_per_head.0,
            layer,
            bound: bound.id,
            statement: bound.statement,
            left: bound.left,
            right: bound.right,
            slack: bound.slack(),
            ratio: bound.ratio(),
            rounding,
            p_value,
            p_bound,
            holds: bound.holds(),
            strain: bound.strain(),
        }
    }
}

/// For each sample and budget, a line a bound: the layer where it is nearest to failing, and how loose it is elsewhere.
fn text(dump: &Dump, results: &Results) -> String {
    let same = |one: &Row, next: &Row| (&one.sample, &one.budget) == (&next.sample, &next.budget);
    let block = |rows: &[Row]| {
        let first = &rows[0];
        format!(
            "{}, sample {}, {} at {}: each bound in the layer where it is nearest to failing, with the p-value of what \
             is random, then the least, median and largest right / left over all layers of the dump.\n\n{}\n",
            dump.manifest().model.name,
            first.sample,
            first.policy,
            first.budget,
            summary(rows)
        )
    };
    results.rows.chunk_by(same).map(block).collect::<Vec<_>>().join("\n")
}

fn summary(rows: &[Row]) -> comfy_table::Table {
    let header =
        ["bound", "statement", "layer", "left", "right", "slack", "p", "least", "median", "most", "holds"];
    let mut table = table(header);
    let mut bounds: Vec<&str> = Vec::new();
    for row in rows {
        if !bounds.contains(&row.bound) {
            bounds.push(row.bound);
        }
    }
    for bound in bounds {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.bound == bound).collect();
        table.add_row(cells(&rows));
    }
    table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// One bound over all layers.
fn cells(rows: &[&Row]) -> [String; 11] {
    let worst = rows.iter().fold(rows[0], |worst, row| if row.strain > worst.strain { row } else { worst });
    let mut ratios: Vec<f64> = rows.iter().map(|row| row.ratio).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let holding = rows.iter().filter(|row| row.holds).count();
    let number = |number: f64| format!("{number:.4e}");
    let ratio = |ratio: f64| format!("{ratio:.3}");
    [
        worst.bound.to_owned(),
        worst.statement.to_owned(),
        worst.layer.to_string(),
        number(worst.left),
        number(worst.right),
        number(worst.slack),
        worst.p_value.map_or("-".into(), |p_value| format!("{p_value:.3}")),
        ratio(ratios[0]),
        ratio(ratios[ratios.len() / 2]),
        ratio(ratios[ratios.len() - 1]),
        format!("{holding} of {}", rows.len()),
    ]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::exit;

    fn outcome(checks: &[Check]) -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows = folder.path().join("rows.csv");
        let arguments = [
            "laprox",
            "bounds",
            "../fixtures/data/smollm2-135m",
            "--budget",
            "20%",
            "--trials",
            "2",
            "--out",
        ];
        let arguments = arguments.map(String::from).into_iter().chain([rows.display().to_string()]);
        let Cli { command: Command::Bounds(arguments), common } = Cli::parse_from(arguments) else {
            panic!("the arguments are those of bounds");
        };
        let outcome = check(&arguments, &common, checks);
        assert!(rows.exists(), "the rows are written whether or not they hold");
        outcome
    }

    /// B1 with the largest score in place of the sum.
    fn wrong(case: &Case<'_>) -> Vec<Bound> {
        let scores = case.pairs.heads.iter().map(|head| head.scores.max());
        let right = scores.fold(0.0, f64::max) / 100.0;
        let evidence = Evidence::AtMost { rounding: 2.0 * case.rounding() };
        vec![Bound { id: "B0", statement: "norm(Delta) <= max p / 100", left: case.error(), right, evidence }]
    }

    #[test]
    fn a_wrong_bound_is_reported_as_violated() {
        let error = outcome(&[wrong]).expect_err("the statement is wrong");
        assert_eq!(exit::code(&error), 1);
        let line = error.to_string();
        assert!(
            line.contains("B0") && line.contains("norm(Delta) <= max p / 100") && line.contains("layer"),
            "{line}"
        );
    }

    #[test]
    fn one_wrong_bound_among_true_ones_is_enough() {
        assert_eq!(exit::code(&outcome(&[CHECKS[0], wrong]).expect_err("one is wrong")), 1);
        outcome(&CHECKS[..1]).expect("all are true");
    }
}
