//! `laprox ablate`

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use laprox_fixtures::Dump;
use laprox_reference::{Backend, Budget, Policy};
use serde::{Deserialize, Serialize};

use super::{DEFAULT_DUMP, open_dump};
use crate::backend;
use crate::cli::{Ablate, Common, Format};
use crate::output::Sink;
use crate::pivot::Pivot;
use crate::progress::Progress;
use crate::provenance::Provenance;
use crate::report::{Row, Subject, csv};
use crate::sample::Sample;

/// The comparison that runs where nothing else is asked for.
const DEFAULT_CONFIG: &str = include_str!("../../ablations/default.toml");

/// What is compared, as a TOML file says it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Config {
    policies: Vec<String>,
    #[serde(default)]
    allocations: Vec<String>,
    budgets: Vec<String>,
}

/// The comparison, resolved.
struct Comparison {
    policies: Vec<Policy>,
    budgets: Vec<Budget>,
}

#[derive(Serialize)]
struct Results<'a> {
    provenance: Provenance,
    config: Config,
    rows: &'a [Row],
}

/// Compares policies x allocations x budgets over dumps.
pub(super) fn run(arguments: &Ablate, common: &Common) -> Result<()> {
    let sink = Sink::new(arguments.out.as_deref(), common.force);
    sink.check()?;
    let format = Format::choose(arguments.format, arguments.out.as_deref(), common)?;
    let comparison = Comparison::resolve(&config(arguments)?)?;
    let backend = backend::open(common.path)?;
    let default = [PathBuf::from(DEFAULT_DUMP)];
    let paths = if arguments.dumps.is_empty() { &default } else { arguments.dumps.as_slice() };
    let dumps: Vec<Dump> = paths.iter().map(|path| open_dump(path)).collect::<Result<_>>()?;

    let rows = comparison.rows(&dumps, backend.as_ref(), common)?;
    let results = Results {
        provenance: Provenance::new(common, backend.name(), &dumps.iter().collect::<Vec<_>>())?,
        config: comparison.to_config(),
        rows: &rows,
    };
    sink.write(&match format {
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&results)?),
        Format::Csv => csv(&rows)?,
        Format::Markdown => text(&results),
    })
}

/// The configured comparison with what the arguments replace.
fn config(arguments: &Ablate) -> Result<Config> {
    let (name, text) = match &arguments.config {
        Some(path) => {
            let name = path.display().to_string();
            let text = fs::read_to_string(path).with_context(|| name.clone())?;
            (name, text)
        }
        None => ("the default comparison".into(), DEFAULT_CONFIG.into()),
    };
    let mut config: Config = toml::from_str(&text).with_context(|| name)?;
    if !arguments.policies.is_empty() {
        config.policies = arguments.policies.iter().map(Policy::to_string).collect();
    }
    if !arguments.allocations.is_empty() {
        config.allocations.clone_from(&arguments.allocations);
    }
    if !arguments.budgets.is_empty() {
        config.budgets = arguments.budgets.iter().map(Budget::to_string).collect();
    }
    Ok(config)
}

impl Comparison {
    /// Every policy under every allocation, once; a policy without allocations stands alone.
    fn resolve(config: &Config) -> Result<Self> {
        let mut policies: Vec<Policy> = Vec::new();
        for name in &config.policies {
            for policy in under_each(name.parse()?, &config.allocations)? {
                if !policies.contains(&policy) {
                    policies.push(policy);
                }
            }
        }
        let budgets: Vec<Budget> =
            config.budgets.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        if policies.is_empty() || budgets.is_empty() {
            bail!("nothing to compare: expected at least one policy and one budget");
        }
        Ok(Self { policies, budgets })
    }

    fn to_config(&self) -> Config {
        Config {
            policies: self.policies.iter().map(Policy::to_string).collect(),
            allocations: Vec::new(),
            budgets: self.budgets.iter().map(Budget::to_string).collect(),
        }
    }

    fn rows(&self, dumps: &[Dump], backend: &dyn Backend, common: &Common) -> Result<Vec<Row>> {
        let passes = |dump: &Dump| 2 * dump.manifest().samples.len() * dump.manifest().layers.len();
        let progress = Progress::new("comparing", dumps.iter().map(passes).sum::<usize>() as u64);
        let mut rows = Vec::new();
        for dump in dumps {
            for index in 0..dump.manifest().samples.len() {
                let sample = Sample { dump, index, backend };
                rows.extend(self.sample_rows(&sample, common.seed, &progress)?);
            }
        }
        Ok(rows)
    }

    fn sample_rows(&self, sample: &Sample<'_>, seed: u64, progress: &Progress) -> Result<Vec<Row>> {
        let (context_len, window_len) = (sample.context_len(), sample.window_len());
        let seeded: Vec<_> = self.policies.iter().map(|policy| policy.reseeded(sample.seed(seed))).collect();
        let resolve = |budget: &Budget| budget.candidates_per_head(context_len, window_len);
        let per_heads = self.budgets.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        let sets = sample.evict(&seeded, &per_heads, progress)?.concat();
        let subject = |&policy: &Policy, (&budget, per_head): (&Budget, &usize)| Subject {
            model: sample.dump.manifest().model.name.clone(),
            sample: sample.name().to_owned(),
            policy,
            budget,
            entries_per_head: per_head + window_len,
        };
        let budgets = || self.budgets.iter().zip(&per_heads);
        let subjects =
            self.policies.iter().flat_map(|policy| budgets().map(move |budget| subject(policy, budget)));
        let errors = sample.evaluate(&sets, progress)?;
        let layers = &sample.dump.manifest().layers;
        Ok(subjects.zip(&errors).flat_map(|(subject, errors)| subject.rows(layers, errors)).collect())
    }
}

fn under_each(policy: Policy, allocations: &[String]) -> Result<Vec<Policy>> {
    if allocations.is_empty() || !policy.has_option("allocation") {
        return Ok(vec![policy]);
    }
    allocations.iter().map(|allocation| Ok(policy.with("allocation", allocation)?)).collect()
}

/// A pivot a sample, under a line that says what it is.
fn text(results: &Results<'_>) -> String {
    let same_sample = |one: &Row, next: &Row| (&one.model, &one.sample) == (&next.model, &next.sample);
    let block = |rows: &[Row]| {
        let (model, sample) = (&rows[0].model, &rows[0].sample);
        format!(
            "{model}, sample {sample}: norm(O_hat - O) / norm(O), layer-wise, over all layers of the dump; \
             * is the least of its column.\n\n{}\n",
            Pivot::new(rows).table()
        )
    };
    results.rows.chunk_by(same_sample).map(block).collect::<Vec<_>>().join("\n")
}
