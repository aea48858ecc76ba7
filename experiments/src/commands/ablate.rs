//! `laprox ablate`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use laprox_fixtures::Dump;
use laprox_reference::{Backend, Searching};
use serde::Serialize;
use toml::Value;

use super::open_dump;
use crate::ablation::config::{self, Config};
use crate::ablation::{Comparison, Results, Statistic, summarise, text};
use crate::backend;
use crate::cli::{Ablate, Common};
use crate::data::{self, DataFolder};
use crate::given::{self, Given};
use crate::input::{self, require_files};
use crate::journal::{Journal, finish_in_folder};
use crate::output::Sink;
use crate::policies::caveats;
use crate::progress::note;
use crate::provenance::Provenance;
use crate::rows::{AblationRow, Objective, csv, jsonl};
use crate::sample::{Sample, supplied_policies};
use crate::sets::SetSizes;

/// Everything that a comparison found.
#[derive(Serialize)]
struct Document {
    provenance: Provenance,
    config: Comparison,
    /// Sentences to read with the rows.
    notes: Vec<String>,
    rows: Vec<AblationRow>,
    #[serde(skip)]
    statistics: Vec<Statistic>,
}

/// Compares policies x options x budgets over the samples of dumps.
pub(super) fn run(arguments: &Ablate, common: &Common) -> Result<()> {
    let (sink, format) = arguments.printed.open(common)?;
    let given = arguments.given.distinct()?;
    let mut comparison = Comparison::resolve(&config(arguments)?)?;
    let backend = backend::open(common.path)?;
    let default = arguments
        .dumps
        .is_empty()
        .then(|| DataFolder::open(None, &data::DUMP, arguments.data_dir.as_deref()));
    let default = default.transpose()?;
    let paths = arguments.dumps.iter().map(PathBuf::as_path).chain(default.as_deref());
    let dumps: Vec<Dump> = paths.map(open_dump).collect::<Result<_>>()?;
    require_names(&dumps)?;
    if arguments.config.is_none() && arguments.policies.is_empty() {
        comparison.policies.extend(supplied_policies(&dumps));
    }
    comparison.check(&dumps)?;

    let run = Run {
        comparison: &comparison,
        dumps: &dumps,
        backend: backend.as_ref(),
        common,
        jobs: arguments.jobs,
        given: &given,
        searching: arguments.search.searching(),
    };
    given::check(run.given, &run.sizes()?)?;
    if let Some(path) = &arguments.results {
        return run.in_folder(path);
    }
    let document = run.document(&Journal::in_memory(), run.provenance()?)?;
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

/// The configured comparison, parts of it replaced by arguments.
fn config(arguments: &Ablate) -> Result<Config> {
    require_files(&arguments.config)?;
    let path = arguments.config.as_deref();
    let name = path.map_or("the default comparison".into(), |path| path.display().to_string());
    let text = path.map_or_else(|| Ok(config::DEFAULT.into()), input::read_text)?;
    let mut config = Config::read(&text).with_context(|| name)?;
    if !arguments.policies.is_empty() {
        config.policies.clone_from(&arguments.policies);
        config.also.clear();
        config.baseline = None;
    }
    // Scores are crossed with the axes as a policy's are. A set has no options.
    config.policies.extend(arguments.given.scores.iter().map(Given::policy));
    config.also.extend(arguments.given.retained.iter().map(Given::policy));
    if !arguments.allocations.is_empty() {
        let values = arguments.allocations.iter().cloned().map(Value::String).collect();
        config.axes.insert("allocation".into(), values);
    }
    if !arguments.budgets.is_empty() {
        config.budgets.clone_from(&arguments.budgets);
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
    given: &'a [Given],
    searching: Searching<'static>,
}

impl Run<'_> {
    fn in_folder(&self, path: &Path) -> Result<()> {
        let provenance = self.provenance()?;
        let run = (&provenance, self.comparison);
        let units = self.results().identities().collect::<Vec<_>>();
        let pivot = finish_in_folder(path, run, units, self.common.force, |journal| {
            let document = self.document(journal, provenance.clone())?;
            let files = vec![
                ("rows.csv", csv(&document.rows)?),
                ("rows.jsonl", jsonl(&document.rows)?),
                ("statistics.csv", csv(&document.statistics)?),
            ];
            Ok((files, document.text()))
        })?;
        Sink::Stdout.write(&pivot)
    }

    fn results(&self) -> Results<'_> {
        Results::new(self.comparison, self.dumps, self.backend, self.given, self.common.seed)
            .searching(self.searching)
    }

    fn sizes(&self) -> Result<Vec<SetSizes>> {
        self.results().samples().iter().map(Sample::known_sizes).collect()
    }

    fn provenance(&self) -> Result<Provenance> {
        let dumps: Vec<&Dump> = self.dumps.iter().collect();
        let provenance = Provenance::new(self.common, self.backend.name(), &dumps)?;
        Ok(provenance.with(given::sources(self.given, &self.sizes()?)?))
    }

    /// Computes the units that the journal lacks, and puts the results together.
    fn document(&self, journal: &Journal<'_, AblationRow>, provenance: Provenance) -> Result<Document> {
        let results = self.results();
        results.compute(journal, self.jobs.into())?;
        let rows = results.rows(journal)?;
        let left_out = results.left_out();
        left_out.iter().for_each(note);
        let caveats = caveats(&self.comparison.policies).into_iter().map(str::to_owned);
        Ok(Document {
            provenance,
            config: self.comparison.clone(),
            statistics: summarise(&rows, &(&self.comparison.baseline).into(), self.common.seed),
            notes: left_out.into_iter().chain(caveats).collect(),
            rows,
        })
    }
}

impl Document {
    /// One table for a single sample, or one per objective for several; and the notes.
    fn text(&self) -> String {
        let first = &self.rows[0];
        let same = |row: &AblationRow| (&row.dump, &row.sample) == (&first.dump, &first.sample);
        let tables = if self.rows.iter().all(same) { self.one_sample(first) } else { self.over_samples() };
        let notes =
            if self.notes.is_empty() { String::new() } else { format!("\n{}\n", self.notes.join("\n")) };
        tables + &notes
    }

    fn one_sample(&self, first: &AblationRow) -> String {
        format!(
            "{}, sample {}: norm(O_hat - O) / norm(O), layer-wise, over all layers of the dump; \
             * is the least of its column.\n\n{}\n",
            first.model,
            first.sample,
            text::of_sample(&self.rows)
        )
    }

    fn over_samples(&self) -> String {
        let mut text = format!(
            "norm(O_hat - O) / norm(O), layer-wise, over all layers: the mean over samples with its 95 % bootstrap interval; in \
             how many of them it is below the baseline {}, and Wilcoxon's two-sided signed rank p-value, not corrected for \
             the number of rows; * is the least of its column.\n",
            self.config.baseline
        );
        for objective in Objective::ALL {
            if self.statistics.iter().any(|statistic| statistic.objective == objective) {
                let table = text::over_samples(&self.statistics, objective, &self.config.budgets);
                text += &format!("\n{objective}\n\n{table}\n");
            }
        }
        text
    }
}
