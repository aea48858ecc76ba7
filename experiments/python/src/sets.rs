//! Sets in files, in the form that `laprox evict --out` writes.

use std::path::PathBuf;

use laprox_experiments::output::{self, create_text, fill, pretty};
use laprox_experiments::set_output;
use laprox_experiments::sets::{self, SUMMARY, SetSizes};
use pyo3::prelude::*;
use serde::Serialize;

use crate::failure::Result;
use crate::request::{Kept, Stored};

/// The sizes of a set: sample, layers, KV heads, context, window, and the SHA-256 of the tokens that it is for.
#[derive(FromPyObject, IntoPyObject)]
pub(crate) struct Sizes(String, Vec<usize>, usize, usize, usize, Option<String>);

impl From<Sizes> for SetSizes {
    fn from(Sizes(sample, layers, kv_heads, context, window, tokens_sha256): Sizes) -> Self {
        Self { sample, layers, kv_heads, context, window, head_dim: 0, tokens_sha256 }
    }
}

impl From<SetSizes> for Sizes {
    fn from(sizes: SetSizes) -> Self {
        let SetSizes { sample, layers, kv_heads, context, window, tokens_sha256, .. } = sizes;
        Self(sample, layers, kv_heads, context, window, tokens_sha256)
    }
}

#[derive(Serialize)]
struct Summary {
    policy: String,
    budget: String,
    sets: [SetSizes; 1],
}

/// Refuses a set that does not have these sizes.
#[pyfunction]
pub(crate) fn check_set(sizes: Sizes, set: Stored<'_>) -> Result<()> {
    set.lent()?.set(&sizes.into())?;
    Ok(())
}

/// Writes a folder with one set.
#[pyfunction]
pub(crate) fn save_set(
    path: PathBuf,
    sizes: Sizes,
    set: Stored<'_>,
    policy: String,
    budget: String,
    force: bool,
) -> Result<()> {
    let sizes = SetSizes::from(sizes);
    let retained = set.lent()?.set(&sizes)?;
    let place = output::folder(&path, force)?;
    Ok(fill(place, |folder| {
        set_output::write(folder, &sizes.sample, &retained)?;
        let summary = Summary { policy, budget, sets: [sizes] };
        create_text(&folder.join(SUMMARY), &pretty(&summary)?)
    })?)
}

/// Reads the sets of a folder: those of `sizes`, if they were made for its tokens, or all that its summary tells.
#[pyfunction]
pub(crate) fn load_sets<'py>(
    py: Python<'py>,
    path: PathBuf,
    sizes: Option<Sizes>,
) -> Result<Vec<(Sizes, Kept<'py>)>> {
    let sizes = match sizes {
        Some(sizes) => {
            let mut sizes = SetSizes::from(sizes);
            sets::check_tokens(&path, std::slice::from_ref(&sizes))?;
            sizes.tokens_sha256 = sizes.tokens_sha256.or(sets::tokens_in(&path)?.remove(&sizes.sample));
            vec![sizes]
        }
        None => SetSizes::all_in(&path)?,
    };
    let load = |sizes: SetSizes| -> Result<_> {
        let set = sizes.read(&path)?;
        Ok((sizes.into(), Kept::new(py, &set, String::new(), String::new())?))
    };
    sizes.into_iter().map(load).collect()
}
