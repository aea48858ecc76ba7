//! A prompt's layers in memory, with the scores and sets that were made for it elsewhere.

use anyhow::Result;
use laprox_reference::{
    Error, HeadScores, InMemory, LayerOrdinal, LayerShape, Layers, Policy, PreparedLayer, RetainedSet, Score,
    Tasks,
};

use crate::given::{self, Given};
use crate::model::Model;
use crate::sample::plain_name;
use crate::sets::SetSizes;
use crate::threads::Threads;

/// The layers of a prompt.
pub struct PromptLayers<'a> {
    /// Their activations.
    pub layers: InMemory<'a, Threads>,
    /// Scores and sets, by name.
    pub given: &'a [Given],
    /// The sizes of the prompt's sets.
    pub sizes: SetSizes,
}

/// The sizes of sets of all of a model's layers. The sample has the name that `laprox capture` gives a text of this name.
#[must_use]
pub fn set_sizes(model: &Model, name: &str, context_len: usize, window_len: usize) -> SetSizes {
    SetSizes {
        sample: plain_name(name),
        layers: (0..model.config().layers).collect(),
        kv_heads: model.config().kv_heads,
        head_dim: model.config().head_dim,
        context: context_len,
        window: window_len,
        tokens_sha256: None,
    }
}

impl Layers for PromptLayers<'_> {
    type Error = anyhow::Error;

    fn shapes(&self) -> &[LayerShape] {
        self.layers.shapes()
    }

    fn each<T: Send>(
        &self,
        scores: &[Score],
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync,
    ) -> Result<Vec<T>> {
        Ok(self.layers.each(scores, visit)?)
    }

    fn at_once<T: Send>(
        &self,
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync,
    ) -> Result<Vec<T>> {
        Ok(self.layers.at_once(visit)?)
    }

    fn given_scores(&self, policy: &Policy) -> Result<Vec<HeadScores>> {
        given::scores(self.given, &self.sizes, policy)
    }

    fn given_set(&self, policy: &Policy) -> Result<RetainedSet> {
        given::set(self.given, &self.sizes, policy)
    }
}

impl Tasks for PromptLayers<'_> {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        self.layers.run(count, task);
    }
}
