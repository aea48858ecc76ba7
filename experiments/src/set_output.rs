//! Retained sets, written.

use std::path::Path;

use anyhow::Result;
use laprox_reference::RetainedSet;
use ndarray::ArrayView1;
use ndarray_npy::{WritableElement, WriteNpyExt};

use crate::output::create;
use crate::sets::files;

/// Writes a sample's set into a folder, in the form that [`crate::sets::SetSizes::read`] and `--retained` read.
///
/// # Errors
/// When the file system fails.
pub fn write(folder: &Path, sample: &str, retained: &RetainedSet) -> Result<()> {
    let offsets: Vec<u64> = retained.offsets().iter().map(|&offset| offset as u64).collect();
    let [offsets_file, positions_file] = files(folder, sample);
    write_array(&offsets_file, &offsets)?;
    write_array(&positions_file, retained.positions())
}

fn write_array(path: &Path, values: &[impl WritableElement]) -> Result<()> {
    create(path, |file| Ok(ArrayView1::from(values).write_npy(file)?))
}
