//! `laprox capture`

use std::path::Path;

use anyhow::{Context, Result, ensure};
use laprox_fixtures::manifest::{FORMAT, VERSION};
use laprox_fixtures::{Converted, DumpWriter, Manifest, ModelInfo, Precision, SampleInfo};
use laprox_reference::{LayerIndex, TensorView};
use ndarray::{Array, Dimension};

use super::{inspect, load_model};
use crate::cli::{Capture, Common};
use crate::eval::Text;
use crate::exit::require_files;
use crate::model::{self, CaptureShape, CapturedSample, Model};
use crate::output::refuse_existing;
use crate::progress::Progress;

/// Runs the model over each text and writes its activations.
pub(super) fn run(arguments: &Capture, common: &Common) -> Result<()> {
    refuse_existing(&arguments.out, common.force)?;
    require_files(std::iter::once(&arguments.model).chain(&arguments.texts))?;
    let model = load_model(&arguments.model)?;
    let texts = read_texts(arguments, &model)?;
    let manifest = manifest(arguments, &model, &texts)?;

    let writer = DumpWriter::create(&arguments.out, &manifest, common.force)?;
    let precision = arguments.precision;
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
    if common.json { inspect::print(&dump, false, true) } else { Ok(()) }
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
        let text = Text::read(path, model)?;
        let found = text.tokens.len();
        ensure!(
            found >= needed,
            "{}: expected at least {needed} tokens (context and future), found {found}",
            path.display()
        );
        texts.push(Text { name: sample_name(path, &texts), ..text });
    }
    Ok(texts)
}

/// The file's stem, restricted to the characters of sample names and made unique by a number.
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
    manifest.validate().map_err(|violation| anyhow::anyhow!("capture: {violation}"))?;
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
