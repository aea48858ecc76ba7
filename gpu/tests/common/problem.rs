//! Alive layers of any shape, drawn by the synthetic generator of dumps and rounded to a format.

use half::{bf16, f16};
use laprox_fixtures::{Precision, SynthConfig, synthesize};
use laprox_gpu::Format;
use laprox_reference::{
    Activations, Elements, LayerIndex, LayerOrdinal, LayerProblem, LayerShape, TensorView,
};

/// The sizes that tests choose.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub kv_heads: usize,
    pub group_size: usize,
    pub head_dim: usize,
    pub hidden_dim: usize,
    pub context_len: usize,
    pub window_len: usize,
    pub future_len: usize,
}

impl Sizes {
    /// One KV head of a group of four, `d = 64`, `w = 32`; `D` is above 128, so that no factor lacks columns.
    #[must_use]
    pub fn with_context(context_len: usize) -> Self {
        Self {
            kv_heads: 1,
            group_size: 4,
            head_dim: 64,
            hidden_dim: 144,
            context_len,
            window_len: 32.min(context_len),
            future_len: 0,
        }
    }
}

/// One layer's tensors, every number one of a format.
#[derive(Clone, Debug)]
pub struct Problem {
    pub shape: LayerShape,
    pub scale: f64,
    pub query: Vec<f32>,
    pub future_query: Vec<f32>,
    pub key: Vec<f32>,
    pub value: Vec<f32>,
    pub projection: Vec<f32>,
}

fn rounded(format: Format, numbers: Vec<f64>) -> Vec<f32> {
    let round = |number: f64| match format {
        Format::Bf16 => bf16::from_f64(number).to_f32(),
        Format::F16 => f16::from_f64(number).to_f32(),
        Format::F32 => number as f32,
    };
    numbers.into_iter().map(round).collect()
}

impl Problem {
    /// Layer `seed % 3` of a synthetic dump, so that query heads are peaked, flat and sinking in turn.
    #[must_use]
    pub fn alive(sizes: Sizes, format: Format, seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = SynthConfig {
            layers: 1,
            heads: sizes.kv_heads * sizes.group_size,
            kv_heads: sizes.kv_heads,
            head_dim: sizes.head_dim,
            hidden_size: sizes.hidden_dim,
            context: sizes.context_len,
            window: sizes.window_len,
            future: sizes.future_len,
            seed,
            precision: Precision::F32,
        };
        let dump = synthesize(folder.path().join("dump"), &config, false, |_| ()).unwrap();
        let layer = dump.layer(0, LayerOrdinal(0)).unwrap();
        Self::of(&layer.problem().unwrap(), format)
    }

    /// A layer's tensors, rounded to a format.
    #[must_use]
    pub fn of(problem: &LayerProblem<'_>, format: Format) -> Self {
        let activations = problem.activations();
        let numbers = |elements: Elements<'_>| rounded(format, elements.to_f64());
        Self {
            shape: problem.shape(),
            scale: problem.attention_scale(),
            query: numbers(activations.query.elements()),
            future_query: activations.future_query.map(|query| numbers(query.elements())).unwrap_or_default(),
            key: numbers(activations.key.elements()),
            value: numbers(activations.value.elements()),
            projection: numbers(activations.output_projection.elements()),
        }
    }

    #[must_use]
    pub fn layer_problem(&self) -> LayerProblem<'_> {
        let LayerShape { query_heads, kv_heads, head_dim, hidden_dim, window_len, future_len, .. } =
            self.shape;
        let cached = [kv_heads, self.shape.cached_len(), head_dim];
        let future = [query_heads, future_len, head_dim];
        let activations = Activations {
            query: view([query_heads, window_len, head_dim], &self.query),
            key: view(cached, &self.key),
            value: view(cached, &self.value),
            output_projection: view([hidden_dim, query_heads * head_dim], &self.projection),
            future_query: (future_len > 0).then(|| view(future, &self.future_query)),
        };
        LayerProblem::new(LayerIndex(0), self.scale, activations).unwrap()
    }
}

/// Numbers as a tensor.
#[must_use]
pub fn view<const RANK: usize>(shape: [usize; RANK], numbers: &[f32]) -> TensorView<'_, RANK> {
    TensorView::new(shape, Elements::F32(numbers)).unwrap()
}
