//! `laprox capture`

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use laprox_fixtures::manifest::{FORMAT, VERSION};
use laprox_fixtures::{Converted, DumpWriter, Extra, Manifest, ModelInfo, Precision, SampleInfo};
use laprox_reference::{Elements, LayerIndex, TensorView};
use ndarray::{Array, Dimension};

use super::{inspect, load_model, require_model};
use crate::cli::{Answer, Capture, Common};
use crate::eval::Text;
use crate::group::require_distinct;
use crate::input::{self, require_files};
use crate::model::{self, CacheDtype, CaptureShape, CapturedSample, Model, Wanted};
use crate::progress::{Progress, note};
use crate::sample::plain_name;

/// Runs the model over each text and writes its activations.
pub(super) fn run(arguments: &Capture, common: &Common) -> Result<()> {
    let place = DumpWriter::claim(&arguments.out, common.force)?;
    require_model(&arguments.model)?;
    require_files(&arguments.texts)?;
    require_distinct_lists(arguments)?;
    let texts = arguments.texts.iter().map(|path| input::read_text(path)).collect::<Result<Vec<_>>>()?;
    let model = load_model(&arguments.model, arguments.runner)?;
    let texts = tokenised(arguments, &texts, &model)?;
    let manifest = manifest(arguments, &model, &texts)?;
    let wanted = wanted(arguments, &texts, &model)?;

    let precision = arguments.precision;
    let writer = DumpWriter::at(place, &manifest)?;
    writer.require_space(precision)?;
    for layer in manifest.layers() {
        let weight = model.output_projection(layer)?;
        let weight = Rounded::<2>::new(&format!("layer {layer} o_proj"), precision, &weight)?;
        writer.output_projection(layer, weight.view()?)?;
    }
    let sample_len = arguments.context + arguments.future;
    let progress = Progress::new("capturing tokens", (texts.len() * sample_len) as u64);
    for (index, text) in texts.iter().enumerate() {
        writer.tokens(index, &text.tokens[..sample_len])?;
        let mut observer = model::Progress(|tokens: usize| progress.advance(tokens as u64));
        let captured = model::capture(&model, &text.tokens, shape(arguments), wanted, &mut observer)
            .with_context(|| text.name.clone())?;
        for layer in manifest.layers() {
            write_layer(&writer, index, layer, &captured, precision)?;
        }
    }
    drop(progress);
    let dump = writer.finish()?;
    note(format_args!("{}: {} bytes", arguments.out.display(), dump.byte_len()));
    if common.json { inspect::print(&dump, false, true) } else { Ok(()) }
}

fn shape(arguments: &Capture) -> CaptureShape {
    CaptureShape {
        context_len: arguments.context,
        window_len: arguments.window,
        future_len: arguments.future,
    }
}

/// The supplements to write: those that every policy reads, unless the model was not trained for a repetition.
fn wanted(arguments: &Capture, texts: &[Text], model: &Model) -> Result<Wanted> {
    let most = model.config().max_len();
    let needed = |text: &Text| {
        let repeat_len = model.repeat_len(&text.tokens[..arguments.context])?;
        Ok(arguments.context + repeat_len)
    };
    let needed = texts.iter().map(needed).collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0);
    let fits = needed <= most.tokens;
    let repeat = arguments.repeat.map_or(fits, |answer| answer == Answer::Yes);
    ensure!(fits || !repeat, "--repeat: context and repetition are {needed} tokens, expected at most {most}");
    if arguments.repeat.is_none() && !fits {
        note(format_args!(
            "nothing for kvzip: context and its repetition are {needed} tokens, more than the model's {}",
            most.tokens
        ));
    }
    Ok(Wanted { query_statistics: true, repeat, lookahead: arguments.lookahead })
}

/// Samples of one text, or a layer that is written twice, would count twice.
fn require_distinct_lists(arguments: &Capture) -> Result<()> {
    let same = |path: &PathBuf| Ok(path.canonicalize()?.display().to_string());
    require_distinct("--text", &arguments.texts.iter().map(same).collect::<Result<Vec<_>>>()?)?;
    require_distinct("--layers", arguments.layers.as_deref().unwrap_or_default())
}

fn tokenised(arguments: &Capture, texts: &[String], model: &Model) -> Result<Vec<Text>> {
    let (needed, most) = (arguments.context.saturating_add(arguments.future), model.config().max_len());
    ensure!(needed <= most.tokens, "--context and --future: expected at most {most}, found {needed}");
    let text = |((path, text), name): ((&PathBuf, &String), String)| {
        let text = Text::new(&name, text, needed, model)?;
        let found = text.tokens.len();
        ensure!(
            found >= needed,
            "{}: expected at least {needed} tokens (context and future), found {found}",
            path.display()
        );
        Ok(text)
    };
    arguments.texts.iter().zip(texts).zip(sample_names(&arguments.texts)).map(text).collect()
}

/// The files' stems as names of samples, made unique by numbers.
///
/// A dump is a tree of folders on any system, so names are told apart without regard to case.
fn sample_names(paths: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for path in paths {
        let stem = plain_name(&path.file_stem().unwrap_or_default().to_string_lossy());
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let is_free = |name: &String| !names.iter().any(|taken| taken.eq_ignore_ascii_case(name));
        let name = std::iter::once(stem.clone()).chain(numbered).find(is_free);
        names.extend(name);
    }
    names
}

fn manifest(arguments: &Capture, model: &Model, texts: &[Text]) -> Result<Manifest> {
    let config = model.config();
    let sample = |text: &Text| SampleInfo {
        name: text.name.clone(),
        context: arguments.context,
        future: arguments.future,
        text_sha256: Some(text.sha256.clone()),
        bos: Some(text.added_start),
        extra: None,
    };
    let mut layers = arguments.layers.clone().unwrap_or_else(|| (0..config.layers).collect());
    layers.sort_unstable();
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
            attention_scale: config.attention_scale(),
            source_dtype: model.source_dtype().into(),
            source_sha256: Some(model.sha256().into()),
            sliding_window: None,
            logit_softcap: None,
            extra: None,
        },
        layers,
        window: arguments.window,
        samples: texts.iter().map(sample).collect(),
        extra: rounded(arguments.runner.cache_dtype),
    };
    manifest.validate().map_err(|violation| anyhow::anyhow!("capture: {violation}"))?;
    Ok(manifest)
}

/// Says that keys and values were rounded before they were captured.
fn rounded(cache: CacheDtype) -> Option<Extra> {
    let note = || Extra::from_iter([("cache_dtype".to_owned(), "f16".into())]);
    (cache == CacheDtype::F16).then(note)
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
    writer.sample_layer(sample, layer, query.view()?, key.view()?, value.view()?, future)?;
    // In f32 at any precision: they are small, and a variance can be beyond f16.
    for (supplement, numbers) in &activations.supplements {
        writer.supplement(sample, layer, *supplement, Elements::F32(numbers))?;
    }
    Ok(())
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
