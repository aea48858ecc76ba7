//! What every policy retains of a prefilled context at every budget, and how far that moves the layers' outputs.

use anyhow::Result;
use laprox_reference::{
    Backend, Budget, LayerIndex, OutputErrors, Policy, PreparedLayer, RetainedSet, retain,
};
use ndarray::Array2;
use rayon::prelude::*;

use super::prefilled::Prefilled;
use crate::model::Model;

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
    pub output_projections: Vec<Array2<f32>>,
    /// What computes.
    pub backend: &'a dyn Backend,
    /// Who evicts.
    pub policies: &'a [Policy],
    /// How much is kept.
    pub budgets: &'a [Budget],
}

impl<'a> Evictions<'a> {
    /// Takes the model's output projections out.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn new(
        model: &'a Model,
        backend: &'a dyn Backend,
        policies: &'a [Policy],
        budgets: &'a [Budget],
    ) -> Result<Self> {
        let layers = (0..model.config().layers).map(LayerIndex);
        let output_projections =
            layers.map(|layer| model.output_projection(layer)).collect::<Result<_, _>>()?;
        Ok(Self { model, output_projections, backend, policies, budgets })
    }

    /// What each policy retains of a context at each budget, policy by policy. `later` tokens give the `future` errors
    /// their queries; `seed` is for policies that draw.
    ///
    /// # Errors
    /// When a budget does not hold the window, or a policy refuses the activations.
    pub fn of(
        &self,
        prefilled: &Prefilled<'_>,
        window_len: usize,
        later: &[u32],
        seed: u64,
    ) -> Result<Vec<Evicted>> {
        let context_len = prefilled.context_len();
        let resolve = |budget: &Budget| budget.candidates_per_head(context_len, window_len);
        let per_heads = self.budgets.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        let sample = prefilled.captured(later)?;
        let layers = (0..self.output_projections.len()).map(LayerIndex);
        let captured = layers.map(|layer| sample.layer(layer)).collect::<Result<Vec<_>, _>>()?;
        let scale = f64::from(self.model.config().attention_scale());
        let problems = captured.iter().zip(&self.output_projections).enumerate();
        let problems = problems
            .map(|(layer, (captured, projection))| captured.problem(LayerIndex(layer), scale, projection))
            .collect::<Result<Vec<_>, _>>()?;
        let prepared = problems.par_iter().map(|problem| self.backend.prepare(problem));
        let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
        let layers: Vec<&dyn PreparedLayer> = prepared.iter().map(AsRef::as_ref).collect();

        let evict = |policy: &Policy| {
            let sets = retain(self.backend, &policy.reseeded(seed), &layers, &per_heads)?;
            let budgets = self.budgets.iter().zip(&per_heads).zip(sets);
            let evicted = budgets.map(|((&budget, per_head), retained)| {
                let errors = errors(&layers, &retained)?;
                Ok(Evicted {
                    policy: *policy,
                    budget,
                    entries_per_head: per_head + window_len,
                    retained,
                    errors,
                })
            });
            evicted.collect::<Result<Vec<_>>>()
        };
        let evicted = self.policies.iter().map(evict).collect::<Result<Vec<_>>>()?;
        Ok(evicted.concat())
    }
}

fn errors(layers: &[&dyn PreparedLayer], retained: &RetainedSet) -> Result<OutputErrors> {
    let of_layer = |(slot, layer): (usize, &&dyn PreparedLayer)| layer.evaluate(retained.layer(slot));
    let errors = layers.par_iter().enumerate().map(of_layer).collect::<Result<Vec<_>, _>>()?;
    Ok(OutputErrors::total(errors).expect("a model has layers"))
}
