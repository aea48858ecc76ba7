//! `laprox capture`

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use laprox_fixtures::manifest::{FORMAT, VERSION};
use laprox_fixtures::{Converted, DumpWriter, Manifest, ModelInfo, Precision, SampleInfo};
use laprox_reference::{LayerIndex, TensorView};
use ndarray::{Array, Dimension};
use sha2::{Digest, Sha256};

use crate::cli::{Capture, Common};
use crate::exit::Missing;
use crate::model::{self, CaptureShape, CapturedSample, Model, ModelFile};
use crate::output::refuse_existing;
use crate::progress::Progress;

/// One text, named and tokenised.
struct Text {
    name: String,
    tokens: Vec<u32>,
    sha256: String,
}

/// Runs the model over each text and writes what its attention saw.
pub(super) fn run(arguments: &Capture, common: &Common) -> Result<()> {
    refuse_existing(&arguments.out, common.force)?;
    require_files(arguments)?;
    let model = Model::load(&ModelFile::open(&arguments.model)?)?;
    let texts = read_texts(arguments, &model)?;
    let manifest = manifest(arguments, &model, &texts)?;

    let writer = DumpWriter::create(&arguments.out, &manifest, common.force)?;
    let precision = Precision::from(arguments.precision);
    for layer in manifest.layers() {
        let weight = model.output_projection(layer)?;
        let weight = Rounded::<2>::new(&format!("layer {layer} o_proj"), precision, &weight)?;
        writer.output_projection(layer, weight.view()?)?;
    }
    let sample_len = arguments.context + arguments.future;
    let progress = Progress::new("capturing tokens", (texts.len() * sample_len) as u64);
    for (index, text) in texts.iter().enumerate() {
        let mut observer = model::Progress(|tokens: usize| progress.advance(tokens as u64));
        let captured = model::capture(&model, &text.tokens, shape(arguments), &mut observer)
            .with_context(|| text.name.clone())?;
        for layer in manifest.layers() {
            write_layer(&writer, index, layer, &captured, precision)?;
        }
    }
    drop(progress);
    let dump = writer.finish()?;
    eprintln!("{}: {} bytes", arguments.out.display(), dump.byte_len());
    Ok(())
}

fn require_files(arguments: &Capture) -> Result<()> {
    match std::iter::once(&arguments.model).chain(&arguments.texts).find(|path| !path.exists()) {
        Some(path) => Err(Missing(format!("{}: no such file", path.display())).into()),
        None => Ok(()),
    }
}

fn shape(arguments: &Capture) -> CaptureShape {
    CaptureShape {
        context_len: arguments.context,
        window_len: arguments.window,
        future_len: arguments.future,
    }
}

fn read_texts(arguments: &Capture, model: &Model) -> Result<Vec<Text>> {
    let needed = arguments.context.saturating_add(arguments.future);
    let mut texts: Vec<Text> = Vec::new();
    for path in &arguments.texts {
        let file = || path.display().to_string();
        let text = fs::read_to_string(path).with_context(file)?;
        let tokens = model.tokenizer().encode(&text).with_context(file)?;
        if tokens.len() < needed {
            bail!(
                "{}: expected at least {needed} tokens (context and future), found {}",
                file(),
                tokens.len()
            );
        }
        let name = sample_name(path, &texts);
        let sha256 = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        texts.push(Text { name, tokens, sha256 });
    }
    Ok(texts)
}

/// The file's stem in the letters that a sample's name may have, made unique by a number.
fn sample_name(path: &Path, earlier: &[Text]) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain =
        |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' };
    let stem: String = stem.trim_start_matches('.').chars().map(plain).collect();
    let stem = if stem.is_empty() || stem == "weights" { format!("text_{stem}") } else { stem };
    let taken = |name: &str| earlier.iter().any(|text| text.name == name);
    let numbered = (2..).map(|number| format!("{stem}-{number}"));
    std::iter::once(stem.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(stem)
}

fn manifest(arguments: &Capture, model: &Model, texts: &[Text]) -> Result<Manifest> {
    let config = model.config();
    let sample = |text: &Text| SampleInfo {
        name: text.name.clone(),
        context: arguments.context,
        future: arguments.future,
        text_sha256: Some(text.sha256.clone()),
        extra: None,
    };
    let mut layers = arguments.layers.clone().unwrap_or_else(|| (0..config.layers).collect());
    layers.sort_unstable();
    layers.dedup();
    let manifest = Manifest {
        format: FORMAT.into(),
        version: VERSION,
        model: ModelInfo {
            name: model.name().into(),
            layers: config.layers,
            heads: config.query_heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            hidden_size: config.hidden_dim,
            attention_scale: config.attention_scale().into(),
            source_dtype: model.source_dtype().into(),
            source_sha256: Some(model.sha256().into()),
            sliding_window: None,
            logit_softcap: None,
            extra: None,
        },
        layers,
        window: arguments.window,
        samples: texts.iter().map(sample).collect(),
        extra: None,
    };
    manifest.validate().map_err(|violation| anyhow::anyhow!("what was asked for: {violation}"))?;
    Ok(manifest)
}

fn write_layer(
    writer: &DumpWriter,
    sample: usize,
    layer: LayerIndex,
    captured: &CapturedSample,
    precision: Precision,
) -> Result<()> {
    let activations = captured.layer(layer)?;
    let round = |name, tensor| Rounded::<3>::new(&format!("layer {layer} {name}"), precision, tensor);
    let query = round("queries", &activations.queries)?;
    let key = round("keys", &activations.keys)?;
    let value = round("values", &activations.values)?;
    let future = round("future queries", &activations.future_queries)?;
    let future = if activations.future_queries.is_empty() { None } else { Some(future.view()?) };
    Ok(writer.sample_layer(sample, layer, query.view()?, key.view()?, value.view()?, future)?)
}

/// A tensor in the precision of the dump.
struct Rounded<'a, const RANK: usize> {
    shape: [usize; RANK],
    values: Converted<'a>,
}

impl<'a, const RANK: usize> Rounded<'a, RANK> {
    fn new<D: Dimension>(name: &str, precision: Precision, tensor: &'a Array<f32, D>) -> Result<Self> {
        let shape = tensor.shape().try_into().with_context(|| name.to_owned())?;
        let values = tensor.as_slice().with_context(|| format!("{name}: not in C order"))?;
        Ok(Self { shape, values: precision.convert(name, values)? })
    }

    fn view(&self) -> Result<TensorView<'_, RANK>> {
        Ok(TensorView::new(self.shape, self.values.elements())?)
    }
}
