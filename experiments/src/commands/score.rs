//! `laprox score`

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use laprox_reference::{HeadScores, ModelScores, pipeline};
use ndarray::ArrayView3;
use ndarray_npy::WriteNpyExt;
use serde::Serialize;

use super::open_dump;
use crate::backend;
use crate::cli::{Common, Score};
use crate::output::{self, Sink, create, fill};
use crate::progress::{Progress, note};
use crate::provenance::Provenance;
use crate::sample::Sample;

/// The document of `--json`.
#[derive(Serialize)]
struct Summary {
    provenance: Provenance,
    policy: String,
    /// A file per sample, in the order of the dump.
    files: Vec<PathBuf>,
}

/// Scores every sample of the dump.
pub(super) fn run(arguments: &Score, common: &Common) -> Result<()> {
    let dump = open_dump(&arguments.dump)?;
    let samples = dump.manifest().samples.len();
    let claim = if samples == 1 { output::file } else { output::folder };
    let out = claim(&arguments.out, common.force)?;
    let backend = backend::open(common.path)?;
    let progress = Progress::new("scoring", (samples * dump.manifest().layers.len()) as u64);
    let write = |index: usize, file: &mut dyn Write| {
        let sample = Sample { dump: &dump, index, backend: backend.as_ref(), given: &[] };
        let policy = arguments.policy.reseeded(sample.seed(common.seed));
        write_scores(file, &pipeline::scores(&sample.layers(&progress), &policy)?)
    };
    let place = |folder: &Path, name| folder.join(format!("{name}.npy"));
    if samples == 1 {
        output::write(out, |file| write(0, file))?;
    } else {
        fill(out, |folder| {
            let mut names = dump.sample_names().enumerate();
            names.try_for_each(|(index, name)| create(&place(folder, name), |file| write(index, file)))
        })?;
    }
    if common.times {
        note(progress.times());
    }
    if !common.json {
        return Ok(());
    }
    let file = |name| if samples == 1 { arguments.out.clone() } else { place(&arguments.out, name) };
    let summary = Summary {
        provenance: Provenance::new(common, backend.name(), &[&dump])?,
        policy: arguments.policy.to_string(),
        files: dump.sample_names().map(file).collect(),
    };
    Sink::Stdout.write(&format!("{}\n", serde_json::to_string_pretty(&summary)?))
}

/// `[layers, Hkv, n - w]`, f64.
fn write_scores(file: &mut dyn Write, scores: &ModelScores) -> Result<()> {
    let shape = [scores.layers().len(), scores.kv_heads(), scores.candidate_len()];
    let values: Vec<f64> = scores.layers().iter().flat_map(HeadScores::values).collect();
    Ok(ArrayView3::from_shape(shape, &values)?.write_npy(file)?)
}
