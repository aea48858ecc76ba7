//! `laprox eval`

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use laprox_reference::{Budget, Policy, Rule};
use serde::Serialize;

use super::{load_model, require_model};
use crate::backend;
use crate::cli::{Common, Eval, When};
use crate::digest;
use crate::eval::unit::{Wanted, units};
use crate::eval::{
    self, EvalStatistic, EvalTask, Evaluation, Evictions, Text, Unit, correlations, summarise, text,
};
use crate::given::{self, Given};
use crate::group::{grouped, require_distinct};
use crate::input::{self, require_files};
use crate::journal::{Journal, finish_in_folder};
use crate::model::{self, CacheDtype, Model};
use crate::output::Sink;
use crate::progress::{Progress, note};
use crate::provenance::Provenance;
use crate::rows::spelling::list;
use crate::rows::{Asked, CorrelationRow, EvalRow, csv, jsonl};
use crate::sets::SetSizes;
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
    /// The element type of the KV cache, if it rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_dtype: Option<CacheDtype>,
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
    require_model(&arguments.model)?;
    require_files(arguments.texts.iter().chain(&arguments.data).chain(&arguments.haystack))?;
    require_distinct_lists(arguments)?;
    let given = given(arguments)?;
    let policies = policies(arguments)?;
    let backend = backend::open(common.path)?;
    let texts = texts(arguments)?;
    let request = request(arguments, common)?;
    let model = load_model(&arguments.model, arguments.runner)?;
    require_lengths(arguments, &model)?;
    let texts = tokenised(arguments, &texts, &model)?;
    let sizes: Vec<SetSizes> = texts.iter().map(|text| set_sizes(arguments, text, &model)).collect();
    given::check(&given, &sizes)?;
    let provenance =
        Provenance::of_model(common, backend.name(), &model).with(given::sources(&given, &sizes)?);
    let config = config(arguments, &policies, &texts);
    let units = all_units(arguments, &texts, &request, &model)?;
    if !model.chat().exists() && !arguments.tasks.iter().all(|task| task.reads("text")) {
        note(format_args!("{}: has no chat template, so that prompts are plain text", model.name()));
    }
    let evaluation = Evaluation {
        evictions: Evictions::new(&model, backend.as_ref(), &policies)?
            .with(&given)
            .searching(arguments.search.searching()),
        budgets: &arguments.budgets,
        window_len: arguments.window,
        future_len: arguments.future,
        seed: common.seed,
    };
    let run = Run { evaluation: &evaluation, units: &units, provenance: &provenance, config: &config };
    run.require_evictions()?;
    if let Some(path) = &arguments.results {
        return run.in_folder(path, common.force);
    }
    let document = run.document(&Journal::in_memory())?;
    sink.write_document(format, &document, &document.rows, || document.text(model.name()))
}

/// Rows of what is given twice would count twice.
fn require_distinct_lists(arguments: &Eval) -> Result<()> {
    let tasks: Vec<String> = arguments.tasks.iter().map(ToString::to_string).collect();
    require_distinct("--task", &tasks)?;
    require_distinct("--policy", &arguments.policies)?;
    require_distinct("--budget", &arguments.budgets)?;
    require_distinct("--context", &arguments.context)?;
    require_distinct("--depth", &arguments.depth)?;
    for (index, path) in arguments.texts.iter().enumerate() {
        if let Some(same) = arguments.texts[..index].iter().find(|other| stem(other) == stem(path)) {
            let [one, two] = [same, path].map(|path| path.display());
            bail!("{one} and {two}: texts of one name, expected names that tell their rows apart");
        }
    }
    Ok(())
}

/// The scores and sets that were made elsewhere. They belong to a text's first tokens at one length.
fn given(arguments: &Eval) -> Result<Vec<Given>> {
    let given = arguments.given.distinct()?;
    let Some(first) = given.first() else { return Ok(given) };
    let name = first.path().display();
    given::require_existing(&given)?;
    let other = arguments.tasks.iter().find(|task| !task.reads("retained"));
    ensure!(other.is_none(), "{name}: expected --task fidelity alone, found {}", list_of(&arguments.tasks));
    let lengths = &arguments.context;
    ensure!(lengths.len() == 1, "{name}: expected one --context, found {}", list_of(lengths));
    Ok(given)
}

/// The sizes of sets of a text, and the digest of the tokens that they are for.
fn set_sizes(arguments: &Eval, text: &Text, model: &Model) -> SetSizes {
    let context_len = arguments.context[0];
    let tokens = digest::of_tokens(&text.tokens[..context_len]);
    let sizes = eval::set_sizes(model, &text.name, context_len, arguments.window);
    SetSizes { tokens_sha256: Some(tokens), ..sizes }
}

fn list_of<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Refuses lengths that the model does not run.
fn require_lengths(arguments: &Eval, model: &Model) -> Result<()> {
    let most = model.config().max_len();
    let (later, later_name) =
        if reads_texts(arguments) { (arguments.future, " and --future") } else { (0, "") };
    for context_len in &arguments.context {
        let found = context_len.saturating_add(later);
        ensure!(found <= most.tokens, "--context{later_name}: expected at most {most}, found {found}");
    }
    Ok(())
}

/// The policies to compare; the full cache is always beside them.
fn policies(arguments: &Eval) -> Result<Vec<Policy>> {
    let mut policies = arguments.policies.clone();
    if policies.is_empty() {
        policies = DEFAULT_POLICIES.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    }
    for policy in &policies {
        policy.queries_read(arguments.window)?;
    }
    policies.extend(arguments.given.inputs().map(Given::policy));
    policies.retain(|policy| !matches!(policy.rule(), Rule::Everything));
    ensure!(!policies.is_empty(), "--policy: expected one that evicts");
    Ok(policies)
}

fn reads_texts(arguments: &Eval) -> bool {
    arguments.tasks.iter().any(|task| task.reads("text"))
}

/// The given texts with their names; by default, for tasks that read texts, the one that comes with the source.
fn texts(arguments: &Eval) -> Result<Vec<(String, String)>> {
    if arguments.texts.is_empty() && reads_texts(arguments) {
        return Ok(vec![("moby-dick".to_owned(), Haystack::MOBY_DICK.to_owned())]);
    }
    let wanted = arguments.texts.iter().take(arguments.limit.unwrap_or(usize::MAX));
    wanted.map(|path| Ok((stem(path), input::read_text(path)?))).collect()
}

/// The texts in the model's tokens, at least as many as the greatest length and the tokens after it.
fn tokenised(arguments: &Eval, texts: &[(String, String)], model: &Model) -> Result<Vec<Text>> {
    let predicts = arguments.tasks.iter().any(|task| matches!(task, EvalTask::Fidelity));
    let later_len = arguments.future + usize::from(predicts);
    let longest = arguments.context.iter().max().copied().unwrap_or(0);
    let text = |(name, text): &(String, String)| {
        let text = Text::new(name, text, longest + later_len, model)?;
        text.split(longest, later_len)?;
        Ok(text)
    };
    texts.iter().map(text).collect()
}

/// A text's name in rows.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
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
        cache_dtype: Some(arguments.runner.cache_dtype).filter(|dtype| *dtype != CacheDtype::F32),
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
        Some(path) => Haystack::new(&input::read_text(path)?).with_context(|| path.display().to_string())?,
        None => Haystack::moby_dick(),
    };
    Ok(Request {
        context_len: 0,
        depths: arguments.depth.clone(),
        samples: arguments.samples,
        limit: arguments.limit,
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
    let wanted =
        Wanted { context_lens: &arguments.context, asked: asked(arguments.question), texts, request };
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
    /// Refuses budgets that leave no prompt anything beside its window.
    fn require_evictions(&self) -> Result<()> {
        let context = |unit: &Unit<'_>| self.evaluation.context_len(unit).with_context(|| unit.task.clone());
        let contexts = self.units.iter().map(context).collect::<Result<Vec<_>>>()?;
        let evicts = contexts.iter().any(|&context_len| !self.evaluation.budgets_of(context_len).is_empty());
        let tasks = self.units.iter().map(|unit| &*unit.task);
        ensure!(evicts, "nothing to evict: {}", self.left_out(tasks.zip(contexts)).join("; "));
        Ok(())
    }

    fn in_folder(&self, path: &Path, force: bool) -> Result<()> {
        let units = self.units.iter().map(Unit::identity);
        let pivot = finish_in_folder(path, (self.provenance, self.config), units, force, |journal| {
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
            if journal.read(&name(index)).is_none() {
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
            let rows = journal.read(&name(index));
            rows.with_context(|| format!("unit {index}: not computed"))
        };
        let rows: Vec<EvalRow> = (0..self.units.len()).map(unit).collect::<Result<Vec<_>>>()?.concat();
        let notes = self.left_out(rows.iter().map(|row| (&*row.task, row.context)));
        notes.iter().for_each(note);
        Ok(Document {
            provenance: self.provenance,
            config: self.config,
            notes,
            statistics: summarise(&rows, self.provenance.seed),
            correlations: correlations(&rows, self.provenance.seed),
            rows,
        })
    }

    /// The budgets that leave a task's prompts nothing beside the window, one line for all lengths that lack the same ones.
    fn left_out<'t>(&self, contexts: impl IntoIterator<Item = (&'t str, usize)>) -> Vec<String> {
        let lacking = |&(task, context_len): &(&'t str, usize)| {
            let fits = self.evaluation.budgets_of(context_len);
            let lacking = self.config.budgets.iter().filter(|budget| !fits.contains(budget));
            (task, lacking.map(ToString::to_string).collect::<Vec<_>>().join(", "))
        };
        let line = |((task, budgets), contexts): ((&str, String), Vec<(&str, usize)>)| {
            let lens = || contexts.iter().map(|(_, len)| len);
            let (least, most) = (lens().min()?, lens().max()?);
            let tokens = if least == most { least.to_string() } else { format!("{least} to {most}") };
            let reason = format!("not more than the window of {}", self.config.window);
            (!budgets.is_empty()).then(|| format!("{task}: {budgets} of {tokens} tokens left out: {reason}"))
        };
        grouped(contexts, lacking).into_iter().filter_map(line).collect()
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
