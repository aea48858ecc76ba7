//! `laprox evict`

use std::path::Path;
use std::slice;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use laprox_fixtures::{Dump, DumpDigest, DumpLayer};
use laprox_reference::{
    Budget, CandidatesPerHead, Form, OutputErrors, Policy, RetainedSet, Searching, pipeline,
};
use serde::Serialize;

use super::open_dump;
use crate::backend;
use crate::cli::{Common, Evict};
use crate::eviction::{Eviction, evictions};
use crate::given::{self, Given};
use crate::output::{self, Sink, create_text, fill, pretty};
use crate::policies::caveats;
use crate::progress::{Progress, note};
use crate::provenance::Provenance;
use crate::rows::spelling::{self, or_empty};
use crate::rows::{AblationRow, Objective, of_eviction};
use crate::sample::Sample;
use crate::set_output;
use crate::sets::{self, SetSizes};
use crate::streamed::Streamed;
use crate::table::{Table, number};

#[derive(Serialize)]
struct Summary {
    provenance: Provenance,
    #[serde(with = "spelling")]
    policy: Policy,
    /// Empty for a given set, which has its own.
    #[serde(serialize_with = "or_empty::serialize")]
    budget: Option<Budget>,
    /// The sizes of each sample's set, and the tokens that it was made for.
    sets: Vec<SetSizes>,
    /// Sentences to read with the rows.
    notes: Vec<&'static str>,
    rows: Vec<AblationRow>,
}

/// Evicts every sample of the dump.
pub(super) fn run(arguments: &Evict, common: &Common) -> Result<()> {
    let out = arguments.out.as_deref().map(|out| output::folder(out, common.force)).transpose()?;
    let backend = backend::open(common.path)?;
    let dump = open_dump(&arguments.dump)?;
    let steps = 2 * dump.manifest().samples.len() * dump.manifest().layers.len();
    let progress = Progress::new("evicting", steps as u64);
    let given: Vec<Given> = arguments.given.inputs().cloned().collect();
    let sample = |index| Sample { dump: &dump, index, backend: backend.as_ref(), given: &given };
    let samples: Vec<Sample<'_>> = (0..dump.manifest().samples.len()).map(sample).collect();
    let sizes = samples.iter().map(Sample::known_sizes).collect::<Result<Vec<_>>>()?;
    given::check(&given, &sizes)?;
    let policy = given.first().map_or(arguments.policy, Given::policy);
    let digest = Mutex::new(DumpDigest::new(&dump));
    let hash = |layer: &DumpLayer| Ok(digest.lock().expect("nothing panics here").update(layer)?);
    let mut seconds = [0.0; 2];
    let mut sets = Vec::new();
    let mut rows = Vec::new();
    for sample in &samples {
        let resolve = |budget: Budget| -> Result<_> {
            Ok((budget, budget.candidates_per_head(sample.context_len(), sample.window_len())?))
        };
        let budget = arguments.budget.map(resolve).transpose()?;
        let layers = sample.layers(&progress).read_by(&hash);
        let request = (policy, budget.as_slice(), common.seed);
        let (eviction, errors) =
            evict(sample, &layers, request, &arguments.search.searching(), &mut seconds)?;
        rows.extend(of_eviction(sample, &policy, (eviction.budget, eviction.per_head), &errors));
        sets.push((sample.name().to_owned(), eviction.retained));
    }
    if common.times {
        let [cut, errors] = seconds;
        note(format_args!("{}; scores and cut {cut:.2} s, errors {errors:.2} s", progress.times()));
    }
    drop(progress);

    let summary = Summary {
        provenance: Provenance::of_dump(
            common,
            backend.name(),
            &dump,
            digest.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?,
        )
        .with(given::sources(&given, &sizes)?),
        policy,
        budget: arguments.budget,
        sets: sizes,
        notes: caveats([&policy]),
        rows,
    };
    let json = pretty(&summary)?;
    if let Some(out) = out {
        fill(out, |folder| write_results(folder, &sets, &json))?;
    }
    Sink::Stdout.write(&if common.json { json } else { text(&dump, &summary) })
}

/// One sample's set and its errors; adds the seconds of either pass over the layers.
fn evict(
    sample: &Sample<'_>,
    layers: &Streamed<'_>,
    (policy, budget, seed): (Policy, &[(Budget, CandidatesPerHead)], u64),
    searching: &Searching<'_>,
    seconds: &mut [f64; 2],
) -> Result<(Eviction, Vec<OutputErrors>)> {
    let start = Instant::now();
    let evicted = evictions(sample.backend, layers, &[policy], budget, sample.seed(seed), searching)?;
    let eviction = evicted.into_iter().next().context("one policy at one budget retains one set")?;
    let cut = Instant::now();
    let errors = pipeline::evaluate(layers, slice::from_ref(&eviction.retained))?.concat();
    seconds[0] += (cut - start).as_secs_f64();
    seconds[1] += cut.elapsed().as_secs_f64();
    Ok((eviction, errors))
}

fn write_results(folder: &Path, sets: &[(String, RetainedSet)], json: &str) -> Result<()> {
    sets.iter().try_for_each(|(name, retained)| set_output::write(folder, name, retained))?;
    create_text(&folder.join(sets::SUMMARY), json)
}

/// The layer-wise relative errors: one table per sample, one line per layer and one for all of them.
fn text(dump: &Dump, summary: &Summary) -> String {
    let layers = dump.manifest().layers.iter().map(|&layer| Some(layer)).chain([None]);
    let budget = summary.budget.map_or_else(String::new, |budget| format!(" at {budget}"));
    let mut text = format!("{}{budget}\n", summary.policy);
    for sample in &dump.manifest().samples {
        // A given set has the budget that it holds.
        let own = summary.rows.iter().find(|row| summary.budget.is_none() && row.sample == sample.name);
        let own = own.map_or_else(String::new, |row| format!(" ({} per KV head)", row.entries_per_head));
        let label = format!("{}{own}", sample.name);
        let mut table = Table::of_labels([&label[..], "drop", "renormalised", "future"]);
        for layer in layers.clone() {
            let name = layer.map_or("all layers".into(), |layer| format!("layer {layer}"));
            let is_shown = |row: &&AblationRow| {
                row.sample == sample.name && row.layer == layer && row.form == Form::LayerWise
            };
            let errors = Objective::ALL.map(|objective| {
                let mut rows = summary.rows.iter().filter(is_shown);
                number(rows.find(|row| row.objective == objective).map(|row| row.relative_error), 4)
            });
            table.push([name].into_iter().chain(errors), vec![]);
        }
        text += &format!("\n{table}\n");
    }
    text + &summary.notes.iter().map(|note| format!("\n{note}\n")).collect::<String>()
}
