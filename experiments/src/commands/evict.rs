//! `laprox evict`

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use laprox_fixtures::{Dump, npy};
use laprox_reference::oracle::Form;
use laprox_reference::{Budget, OutputErrors, Policy, RetainedSet};
use serde::Serialize;

use super::open_dump;
use crate::backend;
use crate::cli::{Common, Evict};
use crate::output::{Sink, pretty, refuse_existing, write_file, write_folder};
use crate::policies::caveats;
use crate::progress::Progress;
use crate::provenance::Provenance;
use crate::rows::{AblationRow, Objective, of_eviction, spelling};
use crate::sample::Sample;
use crate::table::{Table, number};

#[derive(Serialize)]
struct Summary {
    provenance: Provenance,
    #[serde(with = "spelling")]
    policy: Policy,
    #[serde(with = "spelling")]
    budget: Budget,
    /// Sentences to read with the rows.
    notes: Vec<&'static str>,
    rows: Vec<AblationRow>,
}

/// Evicts every sample of the dump.
pub(super) fn run(arguments: &Evict, common: &Common) -> Result<()> {
    if let Some(out) = &arguments.out {
        refuse_existing(out, common.force)?;
    }
    let backend = backend::open(common.path)?;
    let dump = open_dump(&arguments.dump)?;
    let steps = 2 * dump.manifest().samples.len() * dump.manifest().layers.len();
    let progress = Progress::new("evicting", steps as u64);
    let samples = (0..dump.manifest().samples.len()).map(|index| Sample {
        dump: &dump,
        index,
        backend: backend.as_ref(),
    });
    let mut sets = Vec::new();
    let mut rows = Vec::new();
    for sample in samples {
        let per_head = arguments.budget.candidates_per_head(sample.context_len(), sample.window_len())?;
        let (retained, errors) = evict_sample(&sample, arguments.policy, per_head, common, &progress)?;
        rows.extend(of_eviction(&sample, &arguments.policy, (arguments.budget, per_head), &errors));
        sets.push((sample.name().to_owned(), retained));
    }
    if common.times {
        eprintln!("{}", progress.times());
    }
    drop(progress);

    let summary = Summary {
        provenance: Provenance::new(common, backend.name(), &[&dump])?,
        policy: arguments.policy,
        budget: arguments.budget,
        notes: caveats([&arguments.policy]),
        rows,
    };
    let json = pretty(&summary)?;
    if let Some(out) = &arguments.out {
        write_folder(out, common.force, |folder| write_results(folder, &sets, &json))?;
    }
    Sink::Stdout.write(&if common.json { json } else { text(&dump, &summary) })
}

fn evict_sample(
    sample: &Sample<'_>,
    policy: Policy,
    per_head: usize,
    common: &Common,
    progress: &Progress,
) -> Result<(RetainedSet, Vec<OutputErrors>)> {
    let policy = policy.reseeded(sample.seed(common.seed));
    let retained = sample.evict(&[policy], &[per_head], progress)?.concat();
    let errors = sample.evaluate(&retained, progress)?.concat();
    let retained = retained.into_iter().next().context("one policy at one budget retains one set")?;
    Ok((retained, errors))
}

fn write_results(folder: &Path, sets: &[(String, RetainedSet)], json: &str) -> Result<()> {
    for (name, retained) in sets {
        let offsets: Vec<u64> = retained.offsets().iter().map(|&offset| offset as u64).collect();
        write_array(&folder.join(format!("{name}.offsets.npy")), &offsets)?;
        write_array(&folder.join(format!("{name}.positions.npy")), retained.positions())?;
    }
    write_file(&folder.join("summary.json"), false, |file| Ok(file.write_all(json.as_bytes())?))
}

fn write_array<T: npy::NpyElement>(path: &Path, values: &[T]) -> Result<()> {
    write_file(path, false, |file| Ok(npy::write_npy(file, &[values.len()], values)?))
}

/// The layer-wise relative errors: one table per sample, one line per layer and one for all of them.
fn text(dump: &Dump, summary: &Summary) -> String {
    let layers = dump.manifest().layers.iter().map(|&layer| Some(layer)).chain([None]);
    let mut text = format!("{} at {}\n", summary.policy, summary.budget);
    for sample in &dump.manifest().samples {
        let mut table = Table::of_labels([&sample.name[..], "drop", "renormalised", "future"]);
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
