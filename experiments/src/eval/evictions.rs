//! What every policy retains of a prefilled context at every budget, and how far that moves the layers' outputs.

use std::time::Instant;

use anyhow::Result;
use laprox_reference::{
    Backend, Budget, Error, LayerIndex, OutputErrors, Policy, PreparedLayer, RetainedSet, retain,
};
use ndarray::Array2;
use rayon::prelude::*;

use super::prefilled::Prefilled;
use crate::model::{CapturedLayer, Model};

/// One policy at one budget.
#[derive(Clone, Debug)]
pub struct Evicted {
    /// The policy.
    pub policy: Policy,
    /// The budget as asked for.
    pub budget: Budget,
    /// Entries kept per KV head on average, window included.
    pub entries_per_head: usize,
    /// What is kept.
    pub retained: RetainedSet,
    /// The errors over all layers.
    pub errors: OutputErrors,
}

/// The comparison that every context goes through.
pub struct Evictions<'a> {
    /// The model.
    pub model: &'a Model,
    /// `o_proj.weight` of every layer.
    output_projections: Vec<Array2<f32>>,
    /// What computes.
    pub backend: &'a dyn Backend,
    /// Who evicts.
    pub policies: &'a [Policy],
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
        Ok(Self { model, output_projections, backend, policies })
    }

    /// What each policy retains of a context at each budget, policy by policy. `later` tokens give the `future` errors
    /// their queries; `seed` is for policies that draw.
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
        let evicted = self.with_layers(&self.captured(prefilled, later)?, &seeded, |layers| {
            let sets = seeded.par_iter().map(|policy| retain(self.backend, policy, layers, &per_heads));
            let sets = sets.collect::<Result<Vec<_>, _>>()?;
            let evict = |(policy, sets): (&Policy, Vec<RetainedSet>)| {
                let budgets = budgets.iter().zip(&per_heads).zip(sets);
                let evicted = budgets.map(|((&budget, per_head), retained)| {
                    let (policy, entries_per_head) = (*policy, per_head + window_len);
                    let errors = errors(layers, &retained)?;
                    Ok(Evicted { policy, budget, entries_per_head, retained, errors })
                });
                evicted.collect::<Result<Vec<_>>>()
            };
            self.policies.iter().zip(sets).map(evict).collect::<Result<Vec<_>>>()
        })?;
        Ok(evicted.concat())
    }

    /// The seconds that one policy takes to score all layers and evict at one budget, from queries, keys and values where
    /// they lie.
    ///
    /// # Errors
    /// As [`Evictions::of`].
    pub fn seconds(&self, prefilled: &Prefilled<'_>, policy: &Policy, budget: Budget) -> Result<f64> {
        let per_head = budget.candidates_per_head(prefilled.context_len(), prefilled.window_len())?;
        let captured = self.captured(prefilled, &[])?;
        let start = Instant::now();
        self.with_layers(&captured, std::slice::from_ref(policy), |layers| {
            Ok(retain(self.backend, policy, layers, &[per_head])?)
        })?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn captured(&self, prefilled: &Prefilled<'_>, later: &[u32]) -> Result<Vec<CapturedLayer>> {
        let sample = prefilled.captured(later)?;
        let layers = (0..self.output_projections.len()).map(LayerIndex);
        Ok(layers.map(|layer| sample.layer(layer)).collect::<Result<_, _>>()?)
    }

    /// All layers of a context, with what the policies' scores have in common.
    fn with_layers<T>(
        &self,
        captured: &[CapturedLayer],
        policies: &[Policy],
        visit: impl FnOnce(&[&dyn PreparedLayer]) -> Result<T>,
    ) -> Result<T> {
        let scale = f64::from(self.model.config().attention_scale());
        let problems = captured.iter().zip(&self.output_projections).enumerate();
        let problems = problems
            .map(|(layer, (captured, projection))| captured.problem(LayerIndex(layer), scale, projection))
            .collect::<Result<Vec<_>, _>>()?;
        let asked: Vec<&Policy> = policies.iter().filter(|policy| policy.rule().ranks()).collect();
        let prepare = |problem| {
            let mut prepared = self.backend.prepare(problem)?;
            prepared.share(&asked);
            Ok(prepared)
        };
        let prepared = problems.par_iter().map(prepare).collect::<Result<Vec<_>, Error>>()?;
        visit(&prepared.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }
}

fn errors(layers: &[&dyn PreparedLayer], retained: &RetainedSet) -> Result<OutputErrors> {
    let of_layer = |(slot, layer): (usize, &&dyn PreparedLayer)| layer.evaluate(retained.layer(slot));
    let errors = layers.par_iter().enumerate().map(of_layer).collect::<Result<Vec<_>, _>>()?;
    Ok(OutputErrors::total(errors).expect("a model has layers"))
}
