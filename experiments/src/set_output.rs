//! Retained sets, written.

use std::path::Path;

use anyhow::Result;
use laprox_reference::RetainedSet;
use ndarray::{ArrayView, ArrayView1, Dimension};
use ndarray_npy::{WritableElement, WriteNpyExt};

use crate::output::create;
use crate::sets::{files, reweighting_files};

/// Writes a sample's set into a folder, in the form that [`crate::sets::SetSizes::read`] and `--retained` read.
///
/// # Errors
/// When the file system fails.
pub fn write(folder: &Path, sample: &str, retained: &RetainedSet) -> Result<()> {
    let offsets: Vec<u64> = retained.offsets().iter().map(|&offset| offset as u64).collect();
    let [offsets_file, positions_file] = files(folder, sample);
    write_array(&offsets_file, &ArrayView1::from(&offsets))?;
    write_array(&positions_file, &ArrayView1::from(retained.positions()))?;
    let Some(reweighting) = retained.reweighting() else { return Ok(()) };
    let [bias_file, values_file] = reweighting_files(folder, sample);
    let bias = ArrayView1::from(reweighting.bias());
    write_array(&bias_file, &bias)?;
    let Some((values, dim)) = reweighting.values().zip(reweighting.value_dim()) else { return Ok(()) };
    write_array(&values_file, &ArrayView::from_shape((bias.len(), dim), values)?)
}

fn write_array<D: Dimension>(path: &Path, array: &ArrayView<'_, impl WritableElement, D>) -> Result<()> {
    create(path, |file| Ok(array.write_npy(file)?))
}
