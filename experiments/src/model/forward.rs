//! The forward pass of a decoder: embedding, attention and feed-forward layers, logits.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::Module;
use laprox_reference::LayerIndex;
use ndarray::Array2;

use super::architecture::{Architecture, RotaryLayout};
use super::attention::{Attended, attend};
use super::cache::{CacheDtype, KvCache};
use super::chat::ChatTemplate;
use super::config::Config;
use super::error::{Error, Quantity, Result};
use super::gate::gate;
use super::gguf::Gguf;
use super::linear::{forward_all, look_up, with_numbers};
use super::observe::{Observer, Pass};
use super::rope::{Rope, Rotation, split_heads};
use super::snapshot::{Snapshot, SnapshotFiles};
use super::source::{Contents, ModelFile};
use super::tokenizer::Tokenizer;
use super::weights::{LayerWeights, WeightForm, Weights};

/// The number of tokens per pass of a prefill through the layers.
pub const PREFILL_CHUNK: usize = 512;

/// A model ready to run: the contents of its files.
pub struct Model {
    name: String,
    sha256: String,
    source_dtype: String,
    config: Config,
    tokenizer: Tokenizer,
    chat: ChatTemplate,
    rope: Rope,
    weights: Weights,
    cache_dtype: CacheDtype,
}

/// Further tokens of one sequence, and the cache of the tokens before them.
pub struct Segment<'a> {
    /// The tokens.
    pub tokens: &'a [u32],
    /// The sequence's cache; the tokens' keys and values are appended to it.
    pub cache: &'a mut KvCache,
}

impl Segment<'_> {
    /// The tokens' positions.
    fn positions(&self) -> Range<usize> {
        let first = self.cache.next_position();
        first..first + self.tokens.len()
    }
}

impl Model {
    /// Builds the model from its file, whose bytes it shares if the weights stay as they are stored.
    ///
    /// # Errors
    /// [`Error::Gguf`], [`Error::Metadata`] and [`Error::Tensor`] when the file is damaged or asks for arithmetic that
    /// is not implemented.
    pub fn load(file: &ModelFile, weights: WeightForm) -> Result<Self> {
        match file.contents() {
            Contents::Gguf(bytes) => Self::from_gguf(file, bytes, weights),
            Contents::Snapshot(files) => Self::from_snapshot(file, files, weights),
        }
    }

    fn from_gguf(file: &ModelFile, bytes: &Arc<Vec<u8>>, form: WeightForm) -> Result<Self> {
        let gguf = Gguf::parse(file.path(), bytes)?;
        let architecture = Architecture::read(&gguf)?;
        gguf.check_tensors()?;
        let config = Config::read(&gguf, architecture)?;
        let tokenizer = Tokenizer::read(&gguf)?;
        let template = gguf.text("tokenizer.chat_template")?.map(Cow::into_owned);
        let weights = Weights::read(&gguf, architecture.rotary, &config, tokenizer.vocabulary_len(), form)?;
        Ok(Self {
            name: file.name().to_owned(),
            sha256: file.sha256().to_owned(),
            source_dtype: gguf.source_dtype(),
            chat: ChatTemplate::new(gguf.file(), template, &tokenizer),
            rope: Rope::new(&config, &weights.rope_divisors),
            weights,
            config,
            tokenizer,
            cache_dtype: CacheDtype::default(),
        })
    }

    fn from_snapshot(file: &ModelFile, files: &SnapshotFiles, form: WeightForm) -> Result<Self> {
        let Snapshot { config, divisors, tensors, tokenizer, chat } = Snapshot::read(files)?;
        Ok(Self {
            name: file.name().to_owned(),
            sha256: file.sha256().to_owned(),
            source_dtype: tensors.source_dtype(),
            chat,
            rope: Rope::new(&config, &divisors),
            weights: Weights::read(
                &tensors,
                RotaryLayout::Halves,
                &config,
                tokenizer.vocabulary_len(),
                form,
            )?,
            config,
            tokenizer,
            cache_dtype: CacheDtype::default(),
        })
    }

    /// The same model with caches of another element type.
    #[must_use]
    pub fn with_cache_dtype(self, cache_dtype: CacheDtype) -> Self {
        Self { cache_dtype, ..self }
    }

    /// The model's name, as [`ModelFile::name`] gives it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sha256 of the model, as [`ModelFile::sha256`] gives it.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The element type of most of the file's matrix elements, such as `q4_1`.
    #[must_use]
    pub fn source_dtype(&self) -> &str {
        &self.source_dtype
    }

    /// The sizes and constants.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template.
    #[must_use]
    pub fn chat(&self) -> &ChatTemplate {
        &self.chat
    }

    /// `o_proj.weight` of one layer, `[D, H*d]`, as PyTorch stores it.
    ///
    /// # Errors
    /// [`Error::Compute`] when the weights cannot be copied.
    ///
    /// # Panics
    /// When the model has no such layer.
    pub fn output_projection(&self, layer: LayerIndex) -> Result<Array2<f32>> {
        let weight = self.weights.layers[layer.0].output_projection.weight();
        Ok(Array2::from_shape_vec((weight.rows(), weight.columns()), weight.numbers())
            .expect("a matrix has as many numbers as its shape"))
    }

    /// An empty cache with room for `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Request`] when that is more than [`Config::max_len`].
    pub fn cache(&self, capacity: usize) -> Result<KvCache> {
        self.require_room(capacity)?;
        Ok(KvCache::new(&self.config, self.cache_dtype, capacity))
    }

    /// Refuses sequences that the model was not trained for.
    pub(super) fn require_room(&self, tokens: usize) -> Result<()> {
        let most = self.config.max_len();
        if tokens > most.tokens {
            let expected = format!("at most {most}");
            return Err(Error::Request { quantity: Quantity::Tokens, expected, found: tokens });
        }
        Ok(())
    }

    /// The mean over some positions of the matrix that rotates a query there, `[d, d]`, in a sequence with this room.
    pub(super) fn mean_rotation(&self, positions: Range<usize>, room: usize) -> Result<Vec<f32>> {
        self.rope.rotation(std::iter::once((positions, room)))?.mean(self.config.head_dim)
    }

    /// Runs a prompt, `chunk_len` tokens at a time, and returns the logits after its last token, `[vocabulary]`.
    ///
    /// # Errors
    /// [`Error::Request`] when there is no token or the chunk length is 0; otherwise those of [`Model::forward`].
    pub fn prefill(
        &self,
        tokens: &[u32],
        chunk_len: usize,
        cache: &mut KvCache,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>> {
        for (quantity, found) in [(Quantity::PromptTokens, tokens.len()), (Quantity::ChunkLen, chunk_len)] {
            if found == 0 {
                return Err(Error::Request { quantity, expected: "at least 1".to_owned(), found });
            }
        }
        on_a_worker(|| self.prefill_chunks(tokens, chunk_len, cache, observer))
    }

    fn prefill_chunks(
        &self,
        tokens: &[u32],
        chunk_len: usize,
        cache: &mut KvCache,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>> {
        let mut last = None;
        for (index, chunk) in tokens.chunks(chunk_len).enumerate() {
            let hidden = self.forward(chunk, cache, observer)?;
            last = Some(hidden.narrow(0, chunk.len() - 1, 1)?);
            observer.progress(index * chunk_len + chunk.len());
        }
        let last = last.expect("there is at least one token");
        Ok(self.logits(&last)?.flatten_all()?.to_vec1()?)
    }

    /// Runs `c` further tokens and returns their residual stream after the last layer, `[c, D]`.
    ///
    /// # Errors
    /// [`Error::Compute`] when a token is not in the vocabulary or the cache is full, [`Error::NotFinite`] when a layer's
    /// output is not finite, and the observer's own errors. The cache is unusable after an error.
    pub fn forward(
        &self,
        tokens: &[u32],
        cache: &mut KvCache,
        observer: &mut dyn Observer,
    ) -> Result<Tensor> {
        self.forward_segments(&mut [Segment { tokens, cache }], observer)
    }

    /// Runs further tokens of several sequences at once, so that the weights are read once for all of them. Returns their
    /// residual streams one after another, `[sum of c, D]`. The observer sees the sequences in turn.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn forward_segments(
        &self,
        segments: &mut [Segment<'_>],
        observer: &mut dyn Observer,
    ) -> Result<Tensor> {
        on_a_worker(|| self.layers(segments, observer))
    }

    fn layers(&self, segments: &mut [Segment<'_>], observer: &mut dyn Observer) -> Result<Tensor> {
        let ranges = segments.iter().map(|segment| (segment.positions(), segment.cache.room()));
        let rotation = self.rope.rotation(ranges)?;
        let tokens: Vec<u32> = segments.iter().flat_map(|segment| segment.tokens).copied().collect();
        let mut hidden = look_up(&self.weights.embedding, &tokens)?;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let input = layer.attention_norm.input(&hidden)?;
            let attended = self.attention(layer, LayerIndex(index), &input, &rotation, segments, observer)?;
            hidden = (hidden + layer.attention_norm.output(&attended)?)?;
            let fed = feed_forward(layer, &layer.feed_forward_norm.input(&hidden)?)?;
            hidden = (hidden + layer.feed_forward_norm.output(&fed)?)?;
            require_finite(&hidden, || {
                let positions = segments.first().map_or(0..0, Segment::positions);
                format!("layer {index}, tokens {positions:?}")
            })?;
        }
        segments.iter_mut().for_each(|segment| segment.cache.advance(segment.tokens.len()));
        Ok(hidden)
    }

    /// `logits = W_out rmsnorm(x)`: from the residual stream `[c, D]` to `[c, vocabulary]`.
    ///
    /// # Errors
    /// [`Error::Compute`] when the stream does not have the model's width, [`Error::NotFinite`] for such a logit.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = self.weights.logits.forward(&self.weights.final_norm.forward(hidden)?)?;
        require_finite(&logits, || "logits".to_owned())?;
        Ok(logits)
    }

    /// From the input `[c, D]` to the output of the layer's output projection `[c, D]`.
    fn attention(
        &self,
        weights: &LayerWeights,
        layer: LayerIndex,
        input: &Tensor,
        rotation: &Rotation,
        segments: &mut [Segment<'_>],
        observer: &mut dyn Observer,
    ) -> Result<Tensor> {
        let &Config { query_heads, kv_heads, head_dim, .. } = &self.config;
        let rows = input.dim(0)?;
        let projections = [&weights.query.projection, &weights.key.projection, &weights.value];
        let [queries, keys, values] = forward_all(projections, input)?;
        let unrotated = weights.query.normed(queries)?;
        let queries = rotation.apply(&unrotated, query_heads)?;
        let keys = rotation.apply(&weights.key.normed(keys)?, kv_heads)?;
        let values = split_heads(&values.reshape((rows, kv_heads, head_dim))?)?;
        let mut first = 0;
        for Segment { tokens, cache } in &mut *segments {
            let own = |heads: &Tensor| heads.narrow(1, first, tokens.len())?.contiguous();
            cache.append(layer, &own(&keys)?, &own(&values)?)?;
            observer.attention(&Pass {
                layer,
                first_position: cache.next_position(),
                input: &input.narrow(0, first, tokens.len())?,
                unrotated: &unrotated.narrow(0, first, tokens.len())?,
                queries: &own(&queries)?,
                heads: cache.heads(layer),
            })?;
            first += tokens.len();
        }
        let sequences = segments.iter();
        let sequences = sequences
            .map(|Segment { tokens, cache }| Attended { len: tokens.len(), heads: cache.heads(layer) });
        let rows = attend(&queries, &sequences.collect::<Vec<_>>(), self.config.attention_scale() as f32)?;
        weights.output_projection.forward(&rows)
    }
}

/// Runs on one of rayon's threads. What runs there shares its work without waiting for another thread to wake.
pub(super) fn on_a_worker<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| run())
}

/// Refuses NaN and infinity: either of them makes the sum one, too.
fn require_finite(tensor: &Tensor, place: impl FnOnce() -> String) -> Result<()> {
    if tensor.sum_all()?.to_scalar::<f32>()?.is_finite() {
        Ok(())
    } else {
        Err(Error::NotFinite { place: place() })
    }
}

/// `W_down (silu(W_gate x) * W_up x)`.
fn feed_forward(layer: &LayerWeights, input: &Tensor) -> Result<Tensor> {
    let [gated, up] = forward_all([&layer.gate, &layer.up], input)?;
    let shape = up.shape().clone();
    let mut gated = gated.flatten_all()?.to_vec1()?;
    with_numbers(&up, |up| gate(&mut gated, up))?;
    layer.down.forward(&Tensor::from_vec(gated, shape, up.device())?)
}
