//! The sets that every policy retains of a prefilled context at every budget, with their errors.

use std::time::Instant;

use anyhow::Result;
use laprox_reference::{Backend, Budget, InMemory, LayerIndex, OutputErrors, Policy, Searching, pipeline};
use ndarray::Array2;

use super::evicted::Evicted;
use super::prefilled::Prefilled;
use crate::model::{CapturedLayer, Model, Wanted};
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
        Ok(Self { model, output_projections, backend, policies, searching: Searching::FREE })
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

    /// The sets that each policy retains of a context at each budget, policy by policy. The queries of `later` tokens give the
    /// `future` errors; `seed` is for policies that draw.
    ///
    /// # Errors
    /// When a budget does not hold the window, or a policy refuses the activations.
    pub fn of(
        &self,
        prefilled: &Prefilled<'_>,
        budgets: &[Budget],
        later: &[u32],
        seed: u64,
    ) -> Result<Vec<Evicted>> {
        let window_len = prefilled.window_len();
        let resolve = |budget: &Budget| budget.candidates_per_head(prefilled.context_len(), window_len);
        let per_heads = budgets.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        let seeded: Vec<Policy> = self.policies.iter().map(|policy| policy.reseeded(seed)).collect();
        let captured = prefilled.captured(later)?.layers()?;
        let layers = self.layers(&captured)?;
        let sets = pipeline::evict(self.backend, &layers, &seeded, &per_heads, &self.searching)?.concat();
        let errors = pipeline::evaluate(&layers, &sets)?;
        let packed = sets.iter().map(|set| pipeline::gather(&layers, set)).collect::<Result<Vec<_>, _>>()?;
        let asked = self.policies.iter().flat_map(|&policy| {
            budgets.iter().zip(&per_heads).map(move |(&budget, per_head)| (policy, budget, per_head))
        });
        let evicted = asked.zip(sets).zip(errors).zip(packed);
        let evicted = evicted.map(|((((policy, budget, per_head), retained), errors), packed)| Evicted {
            policy,
            budget,
            entries_per_head: per_head.with_window(window_len),
            retained,
            packed,
            errors: OutputErrors::total(errors).expect("a model has layers"),
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
