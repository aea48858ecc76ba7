//! The sets that every policy retains of a prefilled context at every budget, with their errors.

use std::time::Instant;

use anyhow::Result;
use laprox_reference::{
    Backend, Budget, CandidatesPerHead, InMemory, LayerIndex, OutputErrors, Policy, RetainedSet, Searching,
    pipeline,
};
use ndarray::Array2;

use super::evicted::Evicted;
use super::prefilled::Prefilled;
use super::prompt_layers::{PromptLayers, set_sizes};
use crate::eviction::{Eviction, evictions};
use crate::given::Given;
use crate::model::{CapturedLayer, Model, Wanted};
use crate::seed::seed_of;
use crate::threads::Threads;

/// The comparison that every context goes through.
pub struct Evictions<'a> {
    /// The model.
    pub model: &'a Model,
    /// `o_proj.weight` of every layer.
    output_projections: Vec<Array2<f32>>,
    /// The path.
    pub backend: &'a dyn Backend,
    /// The policies.
    pub policies: &'a [Policy],
    /// Scores and sets of the prompts that were made elsewhere.
    given: &'a [Given],
    /// How long oracles search.
    searching: Searching<'static>,
}

impl<'a> Evictions<'a> {
    /// Takes the model's output projections out.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn new(model: &'a Model, backend: &'a dyn Backend, policies: &'a [Policy]) -> Result<Self> {
        let layers = (0..model.config().layers).map(LayerIndex);
        let output_projections =
            layers.map(|layer| model.output_projection(layer)).collect::<Result<_, _>>()?;
        Ok(Self { model, output_projections, backend, policies, given: &[], searching: Searching::FREE })
    }

    /// The same with limits to the oracles' searches.
    #[must_use]
    pub fn searching(self, searching: Searching<'static>) -> Self {
        Self { searching, ..self }
    }

    /// What the policies read beside queries, keys and values.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted::by(self.policies)
    }

    /// The same with scores and sets that were made elsewhere, for the policies that stand for them.
    #[must_use]
    pub fn with(self, given: &'a [Given]) -> Self {
        Self { given, ..self }
    }

    /// The sets that each policy retains of the context of a name: policy by policy at each budget, a given set once. The queries
    /// of `later` tokens give the `future` errors; `seed` mixed with the name is for policies that draw.
    ///
    /// # Errors
    /// When a budget does not hold the window, a policy refuses the activations, or what was given does not fit them.
    pub fn of(
        &self,
        prefilled: &Prefilled<'_>,
        name: &str,
        budgets: &[Budget],
        later: &[u32],
        seed: u64,
    ) -> Result<Vec<Evicted>> {
        let (context_len, window_len) = (prefilled.context_len(), prefilled.window_len());
        let resolve = |&budget: &Budget| -> Result<(Budget, CandidatesPerHead)> {
            Ok((budget, budget.candidates_per_head(context_len, window_len)?))
        };
        let budgets = budgets.iter().map(resolve).collect::<Result<Vec<_>>>()?;
        let captured = prefilled.captured(later)?.layers()?;
        let layers = PromptLayers {
            layers: self.layers(&captured)?,
            given: self.given,
            sizes: set_sizes(self.model, name, context_len, window_len),
        };
        let seed = seed_of(name, seed);
        let evictions = evictions(self.backend, &layers, self.policies, &budgets, seed, &self.searching)?;
        let sets: Vec<RetainedSet> = evictions.iter().map(|eviction| eviction.retained.clone()).collect();
        let errors = pipeline::evaluate(&layers, &sets)?;
        let packed = sets.iter().map(|set| pipeline::gather(&layers, set)).collect::<Result<Vec<_>, _>>()?;
        let evicted = evictions.into_iter().zip(errors).zip(packed);
        let evicted = evicted.map(|((eviction, errors), packed)| {
            let Eviction { policy, budget, per_head, retained } = eviction;
            let (entries_per_head, errors) = (per_head.with_window(window_len), OutputErrors::total(errors));
            let errors = errors.expect("a model has layers");
            Evicted { policy, budget, entries_per_head, retained, packed, errors }
        });
        Ok(evicted.collect())
    }

    /// The seconds that one policy takes to score all layers and evict at one budget, from queries, keys and values where
    /// they lie.
    ///
    /// # Errors
    /// As [`Evictions::of`].
    pub fn seconds(&self, prefilled: &Prefilled<'_>, policy: &Policy, budget: Budget) -> Result<f64> {
        let per_head = budget.candidates_per_head(prefilled.context_len(), prefilled.window_len())?;
        let captured = prefilled.captured(&[])?.layers()?;
        let layers = self.layers(&captured)?;
        let start = Instant::now();
        pipeline::evict(self.backend, &layers, std::slice::from_ref(policy), &[per_head], &self.searching)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn layers<'c>(&'c self, captured: &'c [CapturedLayer]) -> Result<InMemory<'c, Threads>> {
        let scale = self.model.config().attention_scale();
        let layers = captured.iter().zip(&self.output_projections).enumerate();
        let problems = layers
            .map(|(layer, (captured, projection))| captured.problem(LayerIndex(layer), scale, projection));
        Ok(InMemory::new(self.backend, problems.collect::<Result<_, _>>()?, Threads)?)
    }
}
