//! Dumps and their samples.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use laprox_experiments::commands::open_dump;
use laprox_experiments::data::{self, DataFolder};
use laprox_experiments::digest;
use laprox_fixtures::{DumpWriter, Manifest};
use laprox_reference::{LayerShape, Tensor};
use pyo3::prelude::*;

use crate::failure::Result;
use crate::layers::{LayerArrays, LayerNumbers};

/// An opened dump, and its folder if that is a temporary copy of the one in the package.
struct Opened {
    dump: laprox_fixtures::Dump,
    _folder: DataFolder,
}

/// A dump whose manifest, headers and lengths agree.
#[pyclass(frozen, module = "laprox._laprox")]
pub(crate) struct Dump(Arc<Opened>);

#[pymethods]
impl Dump {
    /// Opens a folder; without one, the dump that comes with the package.
    #[new]
    #[pyo3(signature = (path=None))]
    fn new(path: Option<PathBuf>) -> Result<Self> {
        let folder = DataFolder::open(path.as_deref(), &data::DUMP, None)?;
        Ok(Self(Arc::new(Opened { dump: open_dump(&folder)?, _folder: folder })))
    }

    #[getter]
    fn path(&self) -> PathBuf {
        self.0.dump.path().to_owned()
    }

    /// The manifest as JSON.
    #[getter]
    fn manifest(&self) -> Result<String> {
        Ok(serde_json::to_string(self.0.dump.manifest())?)
    }

    /// Reads every value.
    fn check(&self, py: Python<'_>) -> Result<()> {
        Ok(py.detach(|| self.0.dump.check(|_| ()))?)
    }

    /// The sample of an index below the number of samples.
    fn sample(&self, index: usize) -> Result<Sample> {
        let samples = self.0.dump.manifest().samples.len();
        (index < samples)
            .then_some(())
            .with_context(|| format!("sample {index}: expected one below {samples}"))?;
        Ok(Sample { opened: Arc::clone(&self.0), index })
    }
}

/// One sample of a dump.
#[pyclass(frozen, module = "laprox._laprox")]
pub(crate) struct Sample {
    opened: Arc<Opened>,
    index: usize,
}

impl Sample {
    pub(crate) fn dump(&self) -> &laprox_fixtures::Dump {
        &self.opened.dump
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn shape(&self) -> LayerShape {
        self.dump().manifest().layer_shape(self.index)
    }
}

#[pymethods]
impl Sample {
    /// The digest of the context's tokens, if the dump holds them.
    #[getter]
    fn tokens_sha256(&self) -> Result<Option<String>> {
        let tokens = self.dump().tokens(self.index)?;
        Ok(tokens.map(|tokens| digest::of_tokens(&tokens[..self.shape().context_len])))
    }

    /// The files of each layer, by the key of the array that they hold.
    fn files(&self) -> Result<Vec<BTreeMap<&'static str, PathBuf>>> {
        let manifest = self.dump().manifest();
        let keys = [
            ("o_proj", Tensor::OutputProjection),
            ("q", Tensor::Query),
            ("k", Tensor::Key),
            ("v", Tensor::Value),
            ("q_future", Tensor::FutureQuery),
        ];
        let keys =
            keys.iter().filter(|(_, tensor)| *tensor != Tensor::FutureQuery || self.shape().future_len > 0);
        let of_layer = |layer| -> Result<_> {
            let file = |&(key, tensor): &(&'static str, Tensor)| -> Result<_> {
                Ok((key, self.dump().path().join(manifest.file(self.index, layer, tensor)?.path)))
            };
            keys.clone().map(file).collect()
        };
        manifest.layers().map(of_layer).collect()
    }
}

/// Writes a dump of one sample with its tokens. It appears whole or not at all.
#[pyfunction]
pub(crate) fn write_dump(
    py: Python<'_>,
    path: PathBuf,
    manifest: &str,
    tokens: Vec<u32>,
    layers: Vec<LayerArrays<'_>>,
    force: bool,
) -> Result<()> {
    let numbers: Vec<LayerNumbers<'_>> =
        layers.iter().map(LayerArrays::numbers).collect::<anyhow::Result<_>>()?;
    Ok(py.detach(|| write(path, manifest, &tokens, &numbers, force))?)
}

fn write(
    path: PathBuf,
    manifest: &str,
    tokens: &[u32],
    layers: &[LayerNumbers<'_>],
    force: bool,
) -> anyhow::Result<()> {
    let manifest: Manifest = serde_json::from_str(manifest)?;
    let writer = DumpWriter::create(path, &manifest, force)?;
    writer.tokens(0, tokens)?;
    for layer in layers {
        let problem = layer.problem()?;
        let tensors = problem.activations();
        writer.output_projection(problem.layer(), tensors.output_projection)?;
        let (query, key, value) = (tensors.query, tensors.key, tensors.value);
        writer.sample_layer(0, problem.layer(), query, key, value, tensors.future_query)?;
    }
    writer.finish()?;
    Ok(())
}
