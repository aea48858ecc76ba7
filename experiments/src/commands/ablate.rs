//! `laprox ablate`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use laprox_fixtures::Dump;
use laprox_reference::{Backend, Budget, Policy};
use serde::Serialize;

use super::open_dump;
use crate::ablation::config::{self, Config, Value};
use crate::ablation::{Comparison, Results};
use crate::backend;
use crate::cli::{Ablate, Common};
use crate::data::{self, DataFolder};
use crate::exit::require_files;
use crate::journal::{Folder, Journal, jsonl};
use crate::output::Sink;
use crate::pivot;
use crate::provenance::Provenance;
use crate::report::{Row, caveats, csv};
use crate::statistics::{Statistic, summarise};

/// Everything that a comparison found.
#[derive(Serialize)]
struct Document {
    provenance: Provenance,
    config: Config,
    /// What has to be read with the rows, a sentence each.
    notes: Vec<String>,
    rows: Vec<Row>,
    #[serde(skip)]
    statistics: Vec<Statistic>,
}

/// What a results folder is of.
#[derive(Serialize)]
struct Description<'a> {
    provenance: &'a Provenance,
    config: &'a Config,
}

/// Compares policies x options x budgets over the samples of dumps.
pub(super) fn run(arguments: &Ablate, common: &Common) -> Result<()> {
    let (sink, format) = arguments.printed.open(common)?;
    let comparison = Comparison::resolve(&config(arguments)?)?;
    let backend = backend::open(common.path)?;
    let default = arguments
        .dumps
        .is_empty()
        .then(|| DataFolder::open(None, &data::DUMP, arguments.data_dir.as_deref()));
    let default = default.transpose()?;
    let paths = arguments.dumps.iter().map(PathBuf::as_path).chain(default.as_deref());
    let dumps: Vec<Dump> = paths.map(open_dump).collect::<Result<_>>()?;
    require_names(&dumps)?;
    comparison.check(&dumps)?;

    let run = Run {
        comparison: &comparison,
        dumps: &dumps,
        backend: backend.as_ref(),
        common,
        jobs: arguments.jobs,
    };
    if let Some(path) = &arguments.results {
        return run.in_folder(path);
    }
    let document = run.in_memory()?;
    sink.write_document(format, &document, &document.rows, || document.text())
}

/// Rows tell dumps apart by the names of their folders.
fn require_names(dumps: &[Dump]) -> Result<()> {
    for (index, dump) in dumps.iter().enumerate() {
        let name = dump.path().file_name();
        if let Some(same) = dumps[..index].iter().find(|other| other.path().file_name() == name) {
            let [one, two] = [same, dump].map(|dump| dump.path().display().to_string());
            bail!("{one} and {two}: folders of one name, expected names that tell their rows apart");
        }
    }
    Ok(())
}

/// The configured comparison with what the arguments replace.
fn config(arguments: &Ablate) -> Result<Config> {
    require_files(&arguments.config)?;
    let (name, text) = match &arguments.config {
        Some(path) => {
            let name = path.display().to_string();
            let text = fs::read_to_string(path).with_context(|| name.clone())?;
            (name, text)
        }
        None => ("the default comparison".into(), config::DEFAULT.into()),
    };
    let mut config: Config = toml::from_str(&text).with_context(|| name)?;
    if !arguments.policies.is_empty() {
        config.policies = arguments.policies.iter().map(Policy::to_string).collect();
        config.also.clear();
        config.baseline = None;
    }
    if !arguments.allocations.is_empty() {
        let values = arguments.allocations.iter().cloned().map(Value::Text).collect();
        config.axes.insert("allocation".into(), values);
    }
    if !arguments.budgets.is_empty() {
        config.budgets = arguments.budgets.iter().map(Budget::to_string).collect();
    }
    Ok(config)
}

/// One call of the command.
struct Run<'a> {
    comparison: &'a Comparison,
    dumps: &'a [Dump],
    backend: &'a dyn Backend,
    common: &'a Common,
    jobs: u16,
}

impl Run<'_> {
    fn in_memory(&self) -> Result<Document> {
        let journal = Journal::in_memory();
        let results = self.results();
        results.compute(&journal, self.jobs.into())?;
        self.document(&results, &journal, self.provenance()?)
    }

    /// Goes on where a run into the same folder stopped.
    fn in_folder(&self, path: &Path) -> Result<()> {
        let provenance = self.provenance()?;
        let description = Description { provenance: &provenance, config: &self.comparison.to_config() };
        let description = format!("{}\n", serde_json::to_string_pretty(&description)?);
        let folder = Folder::open(path, &description, self.common.force)?;
        if !folder.is_complete() {
            let results = self.results();
            let journal = Journal::Folder(folder);
            results.compute(&journal, self.jobs.into())?;
            let document = self.document(&results, &journal, provenance)?;
            let Journal::Folder(folder) = journal else { bail!("a folder stays a folder") };
            let results = [
                ("rows.csv", csv(&document.rows)?),
                ("rows.jsonl", jsonl(&document.rows)?),
                ("statistics.csv", csv(&document.statistics)?),
            ];
            folder.complete(&results, &document.text())?;
            Sink::Stdout.write(&folder.pivot()?)?;
            return folder.close();
        }
        Sink::Stdout.write(&folder.pivot()?)?;
        folder.close()
    }

    fn results(&self) -> Results<'_> {
        Results::new(self.comparison, self.dumps, self.backend, self.common.seed)
    }

    fn provenance(&self) -> Result<Provenance> {
        Provenance::new(self.common, self.backend.name(), &self.dumps.iter().collect::<Vec<_>>())
    }

    fn document(
        &self,
        results: &Results<'_>,
        journal: &Journal<Row>,
        provenance: Provenance,
    ) -> Result<Document> {
        let rows = results.rows(journal)?;
        let baseline = self.comparison.baseline.to_string();
        let caveats = caveats(&self.comparison.policies).into_iter().map(str::to_owned);
        Ok(Document {
            provenance,
            config: self.comparison.to_config(),
            statistics: summarise(&rows, &baseline, self.common.seed),
            notes: results.left_out().into_iter().chain(caveats).collect(),
            rows,
        })
    }
}

impl Document {
    /// A table for the one sample, or a table an objective over all of them; and what has to be read with it.
    fn text(&self) -> String {
        let first = &self.rows[0];
        let same = |row: &Row| (&row.dump, &row.sample) == (&first.dump, &first.sample);
        let tables = if self.rows.iter().all(same) { self.one_sample(first) } else { self.over_samples() };
        let notes =
            if self.notes.is_empty() { String::new() } else { format!("\n{}\n", self.notes.join("\n")) };
        tables + &notes
    }

    fn one_sample(&self, first: &Row) -> String {
        format!(
            "{}, sample {}: norm(O_hat - O) / norm(O), layer-wise, over all layers of the dump; \
             * is the least of its column.\n\n{}\n",
            first.model,
            first.sample,
            pivot::of_sample(&self.rows)
        )
    }

    fn over_samples(&self) -> String {
        let mut text = format!(
            "norm(O_hat - O) / norm(O), layer-wise, over all layers: the mean over samples with its 95 % bootstrap interval; in \
             how many of them it is below the baseline {}, and Wilcoxon's two-sided signed rank p-value, not corrected for \
             the number of rows; * is the least of its column.\n",
            self.config.baseline.as_deref().unwrap_or_default()
        );
        for objective in ["drop", "renormalised", "future"] {
            if self.statistics.iter().any(|statistic| statistic.objective == objective) {
                text += &format!(
                    "\n{objective}\n\n{}\n",
                    pivot::over_samples(&self.statistics, objective, &self.config.budgets)
                );
            }
        }
        text
    }
}
