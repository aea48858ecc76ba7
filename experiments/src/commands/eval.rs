//! `laprox eval`

use std::path::Path;

use anyhow::{Context, Result, ensure};
use laprox_reference::{Budget, Policy, Rule};
use serde::Serialize;

use super::load_model;
use crate::backend;
use crate::cli::{Common, Eval, When};
use crate::eval::unit::{Wanted, units};
use crate::eval::{
    EvalStatistic, EvalTask, Evaluation, Evictions, Text, Unit, correlations, summarise, text,
};
use crate::exit::require_files;
use crate::journal::{Journal, finish_in_folder};
use crate::model::{self, Model};
use crate::output::Sink;
use crate::policies::require_available;
use crate::progress::Progress;
use crate::provenance::Provenance;
use crate::rows::spelling::list;
use crate::rows::{Asked, CorrelationRow, EvalRow, csv, jsonl};
use crate::tasks::{Haystack, Request};

/// The policies that are compared by default.
const DEFAULT_POLICIES: [&str; 6] = ["laprox", "snapkv", "streaming", "adakv", "criticalkv", "random"];

/// The evaluation, resolved.
#[derive(Clone, Debug, Serialize)]
struct Config {
    #[serde(with = "list")]
    tasks: Vec<EvalTask>,
    #[serde(with = "list")]
    question: Vec<Asked>,
    #[serde(with = "list")]
    policies: Vec<Policy>,
    #[serde(with = "list")]
    budgets: Vec<Budget>,
    context: Vec<usize>,
    depth: Vec<String>,
    samples: Option<usize>,
    limit: Option<usize>,
    window: usize,
    future: usize,
    texts: Vec<TextSource>,
    /// The name of the folder of the benchmarks' files.
    data: Option<String>,
}

/// A text, by name and content.
#[derive(Clone, Debug, Serialize)]
struct TextSource {
    name: String,
    sha256: String,
}

/// Everything that an evaluation found.
#[derive(Serialize)]
struct Document<'a> {
    provenance: &'a Provenance,
    config: &'a Config,
    notes: Vec<String>,
    rows: Vec<EvalRow>,
    #[serde(skip)]
    statistics: Vec<EvalStatistic>,
    #[serde(skip)]
    correlations: Vec<CorrelationRow>,
}

/// Lets the model answer from the cache as each policy leaves it.
pub(super) fn run(arguments: &Eval, common: &Common) -> Result<()> {
    let (sink, format) = arguments.printed.open(common)?;
    let files = std::iter::once(&arguments.model).chain(&arguments.texts).chain(&arguments.data);
    require_files(files.chain(&arguments.haystack))?;
    let policies = policies(arguments)?;
    let backend = backend::open(common.path)?;
    let model = load_model(&arguments.model)?;
    let texts = texts(arguments, &model)?;
    let provenance = Provenance::of_model(common, backend.name(), &model);
    let config = config(arguments, &policies, &texts);
    let request = request(arguments, common)?;
    let units = all_units(arguments, &texts, &request, &model)?;
    if !model.chat().exists() && !arguments.tasks.iter().all(|task| task.reads("text")) {
        eprintln!("{}: has no chat template, so that prompts are plain text", arguments.model.display());
    }
    let evaluation = Evaluation {
        evictions: Evictions::new(&model, backend.as_ref(), &policies)?,
        budgets: &arguments.budgets,
        window_len: arguments.window,
        future_len: arguments.future,
        seed: common.seed,
    };
    let run = Run { evaluation: &evaluation, units: &units, provenance: &provenance, config: &config };
    if let Some(path) = &arguments.results {
        return run.in_folder(path, common.force);
    }
    let document = run.document(&Journal::in_memory())?;
    sink.write_document(format, &document, &document.rows, || document.text(model.name()))
}

/// The policies to compare; the full cache is always beside them.
fn policies(arguments: &Eval) -> Result<Vec<Policy>> {
    let mut policies = arguments.policies.clone();
    if policies.is_empty() {
        policies = DEFAULT_POLICIES.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    }
    for policy in &policies {
        require_available(policy)?;
        policy.queries_read(arguments.window)?;
    }
    policies.retain(|policy| !matches!(policy.rule(), Rule::Everything));
    ensure!(!policies.is_empty(), "--policy: expected one that evicts");
    Ok(policies)
}

/// The given texts; by default, for tasks that read texts, the one that comes with the source.
fn texts(arguments: &Eval, model: &Model) -> Result<Vec<Text>> {
    let reads_texts = arguments.tasks.iter().any(|task| task.reads("text"));
    if arguments.texts.is_empty() && reads_texts {
        return Ok(vec![Text::new("moby-dick", Haystack::MOBY_DICK, model)?]);
    }
    arguments.texts.iter().map(|path| Text::read(path, model)).collect()
}

fn config(arguments: &Eval, policies: &[Policy], texts: &[Text]) -> Config {
    let source = |text: &Text| TextSource { name: text.name.clone(), sha256: text.sha256.clone() };
    let folder = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Config {
        tasks: arguments.tasks.clone(),
        question: asked(arguments.question).to_vec(),
        policies: policies.to_vec(),
        budgets: arguments.budgets.clone(),
        context: arguments.context.clone(),
        depth: arguments.depth.iter().map(|depth| format!("{depth}%")).collect(),
        samples: arguments.samples,
        limit: arguments.limit,
        window: arguments.window,
        future: arguments.future,
        texts: texts.iter().map(source).collect(),
        data: arguments.data.as_deref().map(folder),
    }
}

fn asked(when: When) -> &'static [Asked] {
    match when {
        When::Aware => &[Asked::Aware],
        When::Agnostic => &[Asked::Agnostic],
        When::Both => &[Asked::Aware, Asked::Agnostic],
    }
}

fn request(arguments: &Eval, common: &Common) -> Result<Request> {
    let haystack = match &arguments.haystack {
        Some(path) => {
            let name = || path.display().to_string();
            Haystack::new(&std::fs::read_to_string(path).with_context(name)?).with_context(name)?
        }
        None => Haystack::moby_dick(),
    };
    Ok(Request {
        context_len: 0,
        depths: arguments.depth.clone(),
        samples: arguments.samples,
        seed: common.seed,
        haystack,
        data: arguments.data.clone(),
    })
}

fn all_units<'a>(
    arguments: &'a Eval,
    texts: &'a [Text],
    request: &'a Request,
    model: &Model,
) -> Result<Vec<Unit<'a>>> {
    let wanted = Wanted {
        context_lens: &arguments.context,
        asked: asked(arguments.question),
        texts,
        request,
        limit: arguments.limit.unwrap_or(usize::MAX),
    };
    let of_tasks = arguments.tasks.iter().map(|task| units(task, wanted, model));
    let units = of_tasks.collect::<Result<Vec<_>>>()?.concat();
    ensure!(!units.is_empty(), "nothing to evaluate: expected at least one prompt or text");
    Ok(units)
}

/// One call of the command.
struct Run<'a> {
    evaluation: &'a Evaluation<'a>,
    units: &'a [Unit<'a>],
    provenance: &'a Provenance,
    config: &'a Config,
}

impl Run<'_> {
    fn in_folder(&self, path: &Path, force: bool) -> Result<()> {
        let pivot = finish_in_folder(path, (self.provenance, self.config), force, |journal| {
            let document = self.document(journal)?;
            let files = vec![
                ("rows.csv", csv(&document.rows)?),
                ("rows.jsonl", jsonl(&document.rows)?),
                ("statistics.csv", csv(&document.statistics)?),
                ("correlations.csv", csv(&document.correlations)?),
            ];
            Ok((files, document.text(self.evaluation.evictions.model.name())))
        })?;
        Sink::Stdout.write(&pivot)
    }

    /// Computes every unit that the journal lacks.
    fn compute(&self, journal: &Journal<'_, EvalRow>) -> Result<()> {
        let mut missing = Vec::new();
        for (index, unit) in self.units.iter().enumerate() {
            if journal.read(&name(index))?.is_none() {
                missing.push((index, unit));
            }
        }
        let tokens: usize = missing.iter().map(|(_, unit)| unit.target).sum();
        let progress = Progress::new("evaluating tokens", tokens as u64);
        for (index, unit) in missing {
            let mut left = unit.target;
            let mut observer = model::Progress(|tokens: usize| {
                let tokens = tokens.min(left);
                left -= tokens;
                progress.advance(tokens as u64);
            });
            let rows = self.evaluation.rows(unit, &mut observer).with_context(|| unit.task.clone())?;
            progress.advance(left as u64);
            journal.write(&name(index), rows)?;
        }
        Ok(())
    }

    /// Computes the units that the journal lacks, and puts the results together.
    fn document(&self, journal: &Journal<'_, EvalRow>) -> Result<Document<'_>> {
        self.compute(journal)?;
        let unit = |index| {
            let rows = journal.read(&name(index))?;
            rows.with_context(|| format!("unit {index}: not computed"))
        };
        let rows: Vec<EvalRow> = (0..self.units.len()).map(unit).collect::<Result<Vec<_>>>()?.concat();
        Ok(Document {
            provenance: self.provenance,
            config: self.config,
            notes: self.left_out(&rows),
            statistics: summarise(&rows, self.provenance.seed),
            correlations: correlations(&rows, self.provenance.seed),
            rows,
        })
    }

    /// The budgets that do not exceed the window, one line per length that lacks some.
    fn left_out(&self, rows: &[EvalRow]) -> Vec<String> {
        let mut targets: Vec<(usize, usize)> = rows.iter().map(|row| (row.target, row.context)).collect();
        targets.sort_unstable();
        targets.dedup_by_key(|(target, _)| *target);
        let line = |(target, context_len): (usize, usize)| {
            let fits = self.evaluation.budgets_of(context_len);
            let lacking = self.evaluation.budgets.iter().filter(|budget| !fits.contains(budget));
            let lacking: Vec<String> = lacking.map(ToString::to_string).collect();
            (!lacking.is_empty()).then(|| {
                format!(
                    "{} of {target} tokens left out: not more than the window of {}",
                    lacking.join(", "),
                    self.config.window
                )
            })
        };
        targets.into_iter().filter_map(line).collect()
    }
}

/// A unit's name in the journal.
fn name(index: usize) -> String {
    format!("{index:05}")
}

impl Document<'_> {
    fn text(&self, model: &str) -> String {
        let notes: String = self.notes.iter().map(|note| format!("\n{note}\n")).collect();
        text(model, &self.config.budgets, &self.statistics, &self.correlations) + &notes
    }
}
