//! One sample of a dump through the stages, one layer in memory at a time.

use anyhow::{Context, Result};
use laprox_fixtures::Dump;
use laprox_reference::{
    Backend, HeadScores, LayerProblem, ModelScores, OutputErrors, Policy, PreparedLayer, RetainedSet,
};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::progress::Progress;

/// One sample of a dump, and the path that computes on it.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    /// Where the activations are.
    pub dump: &'a Dump,
    /// Which sample of the dump.
    pub index: usize,
    /// What computes.
    pub backend: &'a dyn Backend,
}

impl Sample<'_> {
    /// The sample's name in the dump.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.dump.manifest().samples[self.index].name
    }

    /// `n`.
    #[must_use]
    pub fn context_len(&self) -> usize {
        self.dump.manifest().samples[self.index].context
    }

    /// `w`.
    #[must_use]
    pub fn window_len(&self) -> usize {
        self.dump.manifest().window
    }

    /// The seed of this sample's draws: `seed` mixed with the sample's name, so that samples draw apart.
    #[must_use]
    pub fn seed(&self, seed: u64) -> u64 {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(self.name()).finalize();
        u64::from_le_bytes(std::array::from_fn(|byte| digest[byte]))
    }

    /// Every policy's scores over all layers of the dump; policies that score alike are computed once.
    ///
    /// # Errors
    /// When the dump or a score is refused.
    pub fn score(&self, policies: &[Policy], progress: &Progress) -> Result<Vec<ModelScores>> {
        let first_alike = |policy: &Policy| policies.iter().position(|other| other.scores_like(policy));
        let alike: Vec<usize> = policies.iter().filter_map(first_alike).collect();
        let mut distinct = alike.clone();
        distinct.sort_unstable();
        distinct.dedup();

        let mut scores: Vec<Vec<HeadScores>> = vec![Vec::new(); policies.len()];
        let mut output_norms = Vec::new();
        self.for_each_layer(progress, |layer| {
            let of = |&policy: &usize| Ok((policy, layer.score(&policies[policy])?));
            let layer_scores: Vec<_> = distinct.par_iter().map(of).collect::<Result<_>>()?;
            layer_scores.into_iter().for_each(|(policy, layer)| scores[policy].push(layer));
            output_norms.push(layer.output_norm());
            Ok(())
        })?;
        let kv_heads = self.dump.manifest().model.kv_heads;
        let join = |&policy: &usize| {
            ModelScores::new(scores[policy].clone(), output_norms.clone(), kv_heads)
                .context(self.name().to_owned())
        };
        alike.iter().map(join).collect()
    }

    /// The errors of every retained set, layer by layer: `[set][layer]`.
    ///
    /// # Errors
    /// When the dump or a set is refused.
    pub fn evaluate(&self, sets: &[RetainedSet], progress: &Progress) -> Result<Vec<Vec<OutputErrors>>> {
        let mut errors = vec![Vec::new(); sets.len()];
        let mut slot = 0;
        self.for_each_layer(progress, |layer| {
            let of = |set: &RetainedSet| Ok(layer.evaluate(set.layer(slot))?);
            let layer_errors: Vec<OutputErrors> = sets.par_iter().map(of).collect::<Result<_>>()?;
            errors.iter_mut().zip(layer_errors).for_each(|(errors, layer)| errors.push(layer));
            slot += 1;
            Ok(())
        })?;
        Ok(errors)
    }

    fn for_each_layer(
        &self,
        progress: &Progress,
        mut visit: impl FnMut(&dyn PreparedLayer) -> Result<()>,
    ) -> Result<()> {
        for slot in 0..self.dump.manifest().layers.len() {
            let layer = self.dump.layer(self.index, slot)?;
            let problem: LayerProblem<'_> = layer.problem()?;
            let name = || format!("sample {}, layer {}", self.name(), problem.layer());
            let prepared = self.backend.prepare(&problem).with_context(name)?;
            visit(prepared.as_ref()).with_context(name)?;
            progress.step();
        }
        Ok(())
    }
}
