//! One sample of a dump through the stages, one layer in memory at a time.

use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};
use laprox_fixtures::{Dump, DumpLayer};
use laprox_reference::oracle::{self, Certified, Found, Oracle};
use laprox_reference::{
    Allocation, AttentionSpread, Backend, HeadScores, LayerOrdinal, ModelScores, Normaliser, OutputErrors,
    Policy, PreparedLayer, RetainedSet, Rule,
};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::progress::Progress;

/// What an oracle retains, with a proof for each layer, or one for the model; none where it proves nothing.
#[derive(Clone, Debug)]
pub struct Searched {
    /// The retained set.
    pub retained: RetainedSet,
    /// The proofs.
    pub certified: Vec<Option<Certified>>,
}

/// Hears of the state of each independent part of a search: a layer, or the model.
pub type Watch<'a> = &'a (dyn Fn(usize, &Certified) -> bool + Sync);

/// The oracle that a policy is, if it is one.
#[must_use]
pub fn oracle_of(policy: &Policy) -> Option<Oracle> {
    match policy.rule() {
        Rule::Oracle(oracle) => Some(oracle),
        Rule::Score(_) | Rule::TwoStage(_) | Rule::Everything | Rule::Unavailable(_) => None,
    }
}

/// The first of all policies that score alike, by index.
fn distinct(policies: &[Policy]) -> Vec<usize> {
    let is_first =
        |&index: &usize| !policies[..index].iter().any(|earlier| earlier.scores_like(&policies[index]));
    (0..policies.len()).filter(is_first).collect()
}

/// `seed` mixed with a name, so that what is named apart draws apart.
#[must_use]
pub fn seed_of(name: &str, seed: u64) -> u64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
    u64::from_le_bytes(std::array::from_fn(|byte| digest[byte]))
}

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
        seed_of(self.name(), seed)
    }

    /// What each policy retains at each budget, `b - w = per_head` candidates a KV head: `[policy][budget]`.
    ///
    /// # Errors
    /// When the dump, a score or an oracle's problem is refused.
    pub fn evict(
        &self,
        policies: &[Policy],
        per_heads: &[usize],
        progress: &Progress,
    ) -> Result<Vec<Vec<RetainedSet>>> {
        let scoring: Vec<Policy> =
            policies.iter().filter(|policy| oracle_of(policy).is_none()).copied().collect();
        let distinct = distinct(&scoring);
        let scores = self.score(&scoring, &distinct, progress)?;
        let retain = |policy: &Policy| match oracle_of(policy) {
            Some(_) => per_heads
                .iter()
                .map(|&per_head| Ok(self.search(policy, per_head, &|_, _| true)?.retained))
                .collect(),
            None => {
                let alike = distinct.iter().position(|&first| scoring[first].scores_like(policy));
                let scores = alike.and_then(|alike| scores.get(alike)).context("a policy has scores")?;
                let retain =
                    |&per_head| Ok(self.backend.evict(policy, scores, per_head, self.window_len())?);
                per_heads.iter().map(retain).collect()
            }
        };
        policies.iter().map(retain).collect()
    }

    /// One policy's scores over all layers of the dump.
    ///
    /// # Errors
    /// When the dump or a score is refused.
    pub fn score_one(&self, policy: Policy, progress: &Progress) -> Result<ModelScores> {
        let scores = self.score(&[policy], &[0], progress)?.pop();
        scores.context("one policy has one list of scores")
    }

    /// Lets an oracle search: layer by layer, or the model as one, as its allocation says. `watch` hears of the new
    /// bounds of each part, and ends its search by returning false.
    ///
    /// # Errors
    /// When the policy is no oracle, or the dump or the problem is refused.
    pub fn search(&self, policy: &Policy, per_head: usize, watch: Watch<'_>) -> Result<Searched> {
        let oracle = oracle_of(policy).with_context(|| format!("{policy} is no oracle"))?;
        let options = policy.options();
        let shape = self.dump.manifest().layer_shape(self.index);
        let found = self.with_layers(|layers| {
            let of = |(index, part): (usize, &[&dyn PreparedLayer])| {
                let mut watch = |state: &Certified| watch(index, state);
                oracle::search(oracle, self.backend, part, options, per_head, &mut watch)
            };
            let part_len = if options.allocation == Allocation::Layer { 1 } else { layers.len() };
            Ok(layers.par_chunks(part_len).enumerate().map(of).collect::<Result<Vec<Found>, _>>()?)
        })?;
        let heads: Vec<Vec<u32>> = found.iter().flat_map(|found| found.retained.iter().cloned()).collect();
        let retained =
            RetainedSet::from_candidates(shape.kv_heads, shape.context_len, shape.window_len, &heads)?;
        Ok(Searched { retained, certified: found.into_iter().map(|found| found.certified).collect() })
    }

    /// All layers of the sample, prepared and in memory together.
    fn with_layers<T>(&self, visit: impl FnOnce(&[&dyn PreparedLayer]) -> Result<T>) -> Result<T> {
        let layers = self.dump.manifest().ordinals().map(|ordinal| self.dump.layer(self.index, ordinal));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let problems = layers.iter().map(DumpLayer::problem).collect::<Result<Vec<_>, _>>()?;
        let prepared = problems.par_iter().map(|problem| self.backend.prepare(problem));
        let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
        visit(&prepared.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// The scores over all layers of the dump of `policies[i]` for each `i` of `distinct`, with what their allocations ask
    /// for beside them.
    fn score(
        &self,
        policies: &[Policy],
        distinct: &[usize],
        progress: &Progress,
    ) -> Result<Vec<ModelScores>> {
        let asks_for_spread = |&first: &usize| {
            let alike = policies.iter().filter(|policy| policy.scores_like(&policies[first]));
            alike.map(|policy| policy.options().allocation).any(|allocation| allocation == Allocation::Cake)
        };
        let mut scores: Vec<Vec<HeadScores>> = vec![Vec::new(); distinct.len()];
        let mut spreads: Vec<Vec<AttentionSpread>> = vec![Vec::new(); distinct.len()];
        let mut output_norms = Vec::new();
        let asked: Vec<&Policy> = distinct.iter().map(|&policy| &policies[policy]).collect();
        let divides_by_output = |policy: &Policy| policy.options().norm == Normaliser::Output;
        let norms_are_asked = policies.iter().any(divides_by_output);
        self.for_each_layer(progress, |layer| {
            layer.share(&asked);
            let layer: &dyn PreparedLayer = layer;
            let of = |first: &usize| {
                let policy = &policies[*first];
                let spread = asks_for_spread(first).then(|| layer.attention_spread(policy)).transpose()?;
                Ok((layer.score(policy)?, spread))
            };
            let of_layer: Vec<_> = distinct.par_iter().map(of).collect::<Result<_>>()?;
            for (place, (layer_scores, spread)) in of_layer.into_iter().enumerate() {
                scores[place].push(layer_scores);
                spreads[place].extend(spread);
            }
            // Where no policy divides by it the norm is left open: dividing by it would be refused.
            output_norms.push(if norms_are_asked { layer.output_norm() } else { f64::NAN });
            Ok(())
        })?;
        let kv_heads = self.dump.manifest().model.kv_heads;
        let join = |(scores, spreads): (Vec<HeadScores>, Vec<AttentionSpread>)| {
            let scores = ModelScores::new(scores, output_norms.clone(), kv_heads)?;
            if spreads.is_empty() { Ok(scores) } else { scores.with_spreads(spreads) }
        };
        let joined = scores.into_iter().zip(spreads).map(join).collect::<Result<_, _>>();
        joined.context(self.name().to_owned())
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

    /// Visits the layers in order. While one is computed the next is read: two are mapped at a time.
    fn for_each_layer(
        &self,
        progress: &Progress,
        mut visit: impl FnMut(&mut dyn PreparedLayer) -> Result<()>,
    ) -> Result<()> {
        let ordinals = self.dump.manifest().ordinals();
        thread::scope(|scope| {
            let (send, receive) = mpsc::sync_channel(0);
            let read = ordinals.clone().map(|ordinal| progress.read(|| self.read(ordinal)));
            // Whoever hangs up has failed, and says so itself.
            scope.spawn(move || read.map_while(|layer| send.send(layer).ok()).for_each(drop));
            for _ in ordinals {
                let layer = progress.wait(|| receive.recv()).context("the reader has stopped")??;
                let problem = layer.problem()?;
                let name = || format!("sample {}, layer {}", self.name(), problem.layer());
                let mut prepared = self.backend.prepare(&problem).with_context(name)?;
                visit(prepared.as_mut()).with_context(name)?;
                progress.step();
            }
            Ok(())
        })
    }

    /// Maps a layer and reads every value of it.
    fn read(&self, ordinal: LayerOrdinal) -> Result<DumpLayer> {
        let layer = self.dump.layer(self.index, ordinal)?;
        layer.problem()?;
        Ok(layer)
    }
}
