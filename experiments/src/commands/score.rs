//! `laprox score`

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use laprox_reference::{HeadScores, ModelScores, pipeline};
use ndarray::ArrayView3;
use ndarray_npy::WriteNpyExt;

use super::open_dump;
use crate::backend;
use crate::cli::{Common, Score};
use crate::output::{refuse_existing, write_file, write_folder};
use crate::progress::Progress;
use crate::sample::Sample;

/// Scores every sample of the dump.
pub(super) fn run(arguments: &Score, common: &Common) -> Result<()> {
    refuse_existing(&arguments.out, common.force)?;
    let backend = backend::open(common.path)?;
    let dump = open_dump(&arguments.dump)?;
    let samples = dump.manifest().samples.len();
    let progress = Progress::new("scoring", (samples * dump.manifest().layers.len()) as u64);
    let write = |index: usize, path: &Path, force: bool| {
        let sample = Sample { dump: &dump, index, backend: backend.as_ref() };
        let policy = arguments.policy.reseeded(sample.seed(common.seed));
        let scores = pipeline::scores(&sample.layers(&progress), &policy)?;
        write_file(path, force, |file| write_scores(file, &scores))
    };
    if samples == 1 {
        write(0, &arguments.out, common.force)?;
        return say_times(common, &progress);
    }
    write_folder(&arguments.out, common.force, |folder| {
        let name = |index: usize| format!("{}.npy", dump.manifest().samples[index].name);
        (0..samples).try_for_each(|index| write(index, &folder.join(name(index)), false))
    })?;
    say_times(common, &progress)
}

fn say_times(common: &Common, progress: &Progress) -> Result<()> {
    if common.times {
        eprintln!("{}", progress.times());
    }
    Ok(())
}

/// `[layers, Hkv, n - w]`, f64.
fn write_scores(file: &mut impl Write, scores: &ModelScores) -> Result<()> {
    let shape = [scores.layers().len(), scores.kv_heads(), scores.candidate_len()];
    let values: Vec<f64> = scores.layers().iter().flat_map(HeadScores::values).collect();
    Ok(ArrayView3::from_shape(shape, &values)?.write_npy(file)?)
}
