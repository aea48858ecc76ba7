//! Writes the logits after each of the T tokens that follow the first N of a text, f32 `[T, vocabulary]`, as `laprox eval --task
//! fidelity --retained` sees them: through a cache that a retained set left.
//!
//! ```sh
//! cargo run --release --example continuation -- MODEL TEXT N W T DIR OUT.npy
//! ```
//!
//! `python/examples/on_a_model.py` holds them against those of transformers and kvpress.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use laprox_experiments::backend;
use laprox_experiments::cli::PathChoice;
use laprox_experiments::digest;
use laprox_experiments::eval::{Evictions, Prefilled, Text, fidelity, set_sizes};
use laprox_experiments::given::{self, Given};
use laprox_experiments::model::{Model, ModelFile, Wanted, WeightForm};
use laprox_experiments::sets::SetSizes;
use ndarray::Array2;
use ndarray_npy::write_npy;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, text, context, window, later, retained, out] = &arguments[..] else {
        bail!("expected MODEL TEXT N W T DIR OUT.npy");
    };
    let [context, window, later] = [context, window, later].map(|number| number.parse::<usize>());
    let (context, window, later) = (context?, window?, later?);
    let model = Model::load(&ModelFile::open(model)?, WeightForm::F32)?;
    let name = Path::new(text).file_stem().context("a text has a name")?.to_string_lossy();
    let text = Text::new(&name, &fs::read_to_string(text)?, context + later, &model)?;
    let (seen, next) = text.split(context, later)?;

    let given = [Given::set(&format!("set={retained}"))?];
    let sizes = set_sizes(&model, &name, context, window);
    given::check(&given, &[SetSizes { tokens_sha256: Some(digest::of_tokens(seen)), ..sizes }])?;
    let (backend, policies) = (backend::open(PathChoice::Fast)?, [given[0].policy()]);
    let prefilled = Prefilled::new(&model, seen, window, Wanted::NOTHING, &mut ())?;
    let evictions = Evictions::new(&model, backend.as_ref(), &policies)?.with(&given);
    let evicted = evictions.of(&prefilled, &name, &[], &[], 0)?;
    ensure!(evicted.len() == 1, "one set");
    let rows = fidelity::predictions(&model, prefilled.evicted(&evicted[0], later)?, next)?;
    let shape = (rows.len(), rows.first().map_or(0, Vec::len));
    Ok(write_npy(out, &Array2::from_shape_vec(shape, rows.concat())?)?)
}
