//! `laprox evict`

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use laprox_fixtures::{Dump, DumpDigest, DumpLayer};
use laprox_reference::{
    Backend, Budget, CandidatesPerHead, Form, OutputErrors, Policy, RetainedSet, Searching, pipeline,
};
use ndarray::ArrayView1;
use ndarray_npy::{WritableElement, WriteNpyExt};
use serde::Serialize;

use super::open_dump;
use crate::backend;
use crate::cli::{Common, Evict};
use crate::output::{self, Sink, create, create_text, fill, pretty};
use crate::policies::caveats;
use crate::progress::{Progress, note};
use crate::provenance::Provenance;
use crate::rows::{AblationRow, Objective, of_eviction, spelling};
use crate::sample::Sample;
use crate::streamed::Streamed;
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
    let out = arguments.out.as_deref().map(|out| output::folder(out, common.force)).transpose()?;
    let backend = backend::open(common.path)?;
    let dump = open_dump(&arguments.dump)?;
    let steps = 2 * dump.manifest().samples.len() * dump.manifest().layers.len();
    let progress = Progress::new("evicting", steps as u64);
    let samples = (0..dump.manifest().samples.len()).map(|index| Sample {
        dump: &dump,
        index,
        backend: backend.as_ref(),
    });
    let digest = Mutex::new(DumpDigest::new(&dump));
    let hash = |layer: &DumpLayer| Ok(digest.lock().expect("nothing panics here").update(layer)?);
    let mut seconds = [0.0; 2];
    let mut sets = Vec::new();
    let mut rows = Vec::new();
    for sample in samples {
        let per_head = arguments.budget.candidates_per_head(sample.context_len(), sample.window_len())?;
        let layers = sample.layers(&progress).read_by(&hash);
        let policy = arguments.policy.reseeded(sample.seed(common.seed));
        let searching = arguments.search.searching();
        let (retained, errors) =
            evict(backend.as_ref(), &layers, policy, per_head, &searching, &mut seconds)?;
        rows.extend(of_eviction(&sample, &arguments.policy, (arguments.budget, per_head), &errors));
        sets.push((sample.name().to_owned(), retained));
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
        ),
        policy: arguments.policy,
        budget: arguments.budget,
        notes: caveats([&arguments.policy]),
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
    backend: &dyn Backend,
    layers: &Streamed<'_>,
    policy: Policy,
    per_head: CandidatesPerHead,
    searching: &Searching<'_>,
    seconds: &mut [f64; 2],
) -> Result<(RetainedSet, Vec<OutputErrors>)> {
    let start = Instant::now();
    let retained = pipeline::evict(backend, layers, &[policy], &[per_head], searching)?.concat();
    let cut = Instant::now();
    let errors = pipeline::evaluate(layers, &retained)?.concat();
    seconds[0] += (cut - start).as_secs_f64();
    seconds[1] += cut.elapsed().as_secs_f64();
    let retained = retained.into_iter().next().context("one policy at one budget retains one set")?;
    Ok((retained, errors))
}

fn write_results(folder: &Path, sets: &[(String, RetainedSet)], json: &str) -> Result<()> {
    for (name, retained) in sets {
        let offsets: Vec<u64> = retained.offsets().iter().map(|&offset| offset as u64).collect();
        write_array(&folder.join(format!("{name}.offsets.npy")), &offsets)?;
        write_array(&folder.join(format!("{name}.positions.npy")), retained.positions())?;
    }
    create_text(&folder.join("summary.json"), json)
}

fn write_array(path: &Path, values: &[impl WritableElement]) -> Result<()> {
    create(path, |file| Ok(ArrayView1::from(values).write_npy(file)?))
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
