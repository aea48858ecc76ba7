//! Writes the logits after each of the first N tokens of a text, f32 `[N, vocabulary]`:
//!
//! ```sh
//! cargo run --release --example logits -- MODEL TEXT N OUT.npy
//! ```
//!
//! `compare_transformers.py` holds them against those of transformers.

use std::fs;

use anyhow::{Context, Result};
use laprox_experiments::model::{Model, ModelFile, WeightForm};
use ndarray::Array2;
use ndarray_npy::write_npy;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, text, len, out] = &arguments[..] else {
        anyhow::bail!("expected MODEL TEXT N OUT.npy");
    };
    let model = Model::load(&ModelFile::open(model)?, WeightForm::default())?;
    let tokens = model.tokenizer().encode(&fs::read_to_string(text)?)?;
    let tokens = tokens.get(..len.parse()?).context("the text has fewer tokens")?;
    let hidden = model.forward(tokens, &mut model.cache(tokens.len())?, &mut ())?;
    let logits = model.logits(&hidden)?;
    let elements = logits.flatten_all()?.to_vec1::<f32>()?;
    Ok(write_npy(out, &Array2::from_shape_vec(logits.dims2()?, elements)?)?)
}
