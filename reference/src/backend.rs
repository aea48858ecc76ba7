//! The one seam: everything behind it is a path (`reference`, `fast`, `gpu`) through the same stages.

use crate::allocate::{Allocation, allocate};
use crate::error::Error;
use crate::evaluate;
use crate::layer::Layer;
use crate::oracle::{Form, PairGram, Rows, StackedGram, renormalised, search};
use crate::output_error::OutputErrors;
use crate::policy::{Policy, Rule};
use crate::problem::LayerProblem;
use crate::retained::{LayerRetained, RetainedSet};
use crate::score;
use crate::scores::{HeadScores, ModelScores};
use crate::select::select;
use crate::shape::LayerShape;
use crate::spread::{AttentionSpread, attention_spread};

/// An implementation of the stages.
pub trait Backend: Send + Sync {
    /// The name that `--path` takes.
    fn name(&self) -> &'static str;

    /// Does what all later stages share: widens, attends, projects.
    ///
    /// # Errors
    /// Whatever the path cannot do with this problem.
    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error>;

    /// What a policy keeps of one sample, as [`evict`].
    ///
    /// # Errors
    /// As [`evict`].
    fn evict(
        &self,
        policy: &Policy,
        scores: &ModelScores,
        per_head: usize,
        window_len: usize,
    ) -> Result<RetainedSet, Error> {
        evict(policy, scores, per_head, window_len)
    }

    /// Joins several layers' quadratic forms into the one of a shared budget.
    fn stack<'a>(&self, layers: Vec<Box<dyn PairGram + 'a>>) -> Box<dyn PairGram + 'a> {
        Box::new(StackedGram::new(layers))
    }
}

/// One layer, ready to be scored and evaluated any number of times.
pub trait PreparedLayer: Send + Sync {
    /// Computes once what the scores of these policies have in common, where the path has a use for that. Scores do not
    /// depend on it.
    fn share(&mut self, _policies: &[&Policy]) {}

    /// The policy's scores after pooling, before normalising, `[Hkv, n - w]`.
    ///
    /// # Errors
    /// [`Error::Score`] names a slot whose score is NaN or infinite.
    fn score(&self, policy: &Policy) -> Result<HeadScores, Error>;

    /// The layer's sizes.
    fn shape(&self) -> LayerShape;

    /// The quadratic form of the layer's `drop` error, for the oracles.
    ///
    /// # Errors
    /// [`Error::Shape`] when the layer holds no such rows.
    fn gram(&self, form: Form, rows: Rows) -> Result<Box<dyn PairGram + '_>, Error>;

    /// The candidates that each KV head retains, ascending, once no promising swap lowers the layer's `renormalised`
    /// error any further.
    ///
    /// # Errors
    /// [`Error::Shape`] when the start was made for other sizes.
    fn improve(&self, form: Form, start: LayerRetained<'_>) -> Result<Vec<Vec<u32>>, Error>;

    /// `norm_F(O)` of the layer's window output.
    fn output_norm(&self) -> f64;

    /// The spread of the attention that the policy reads, for `allocation=cake`.
    ///
    /// # Errors
    /// [`Error::Policy`] when it reads more queries than there are.
    fn attention_spread(&self, policy: &Policy) -> Result<AttentionSpread, Error>;

    /// The three objectives for one retained set.
    ///
    /// # Errors
    /// [`Error::Shape`] when the set was made for other sizes.
    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error>;
}

/// What a policy keeps of one sample, `b - w = per_head` candidates a KV head on average.
///
/// Whole numbers from here on, so every path shares it.
///
/// # Errors
/// [`Error::Score`] when a normaliser makes a score infinite.
pub fn evict(
    policy: &Policy,
    scores: &ModelScores,
    per_head: usize,
    window_len: usize,
) -> Result<RetainedSet, Error> {
    match policy.rule() {
        Rule::Everything => {
            let context_len = scores.candidate_len() + window_len;
            RetainedSet::everything(scores.layers().len(), scores.kv_heads(), context_len)
        }
        Rule::Oracle(_) => Err(Error::Policy {
            policy: policy.to_string(),
            reason: "an oracle searches the layers themselves, scores do not say what it keeps".into(),
        }),
        Rule::Unavailable(missing) => {
            Err(Error::Policy { policy: policy.to_string(), reason: missing.into() })
        }
        Rule::Score(_) | Rule::TwoStage(_) => {
            let quotas = allocate(scores, policy.options(), per_head)?;
            select(scores, &quotas, policy.options().sinks, window_len)
        }
    }
}

/// What a policy retains of layers under one shared budget, at each of several: `[budget]`. `per_heads` are the candidates
/// kept per KV head on average.
///
/// # Errors
/// When a score is NaN or infinite, or an oracle refuses the layers.
///
/// # Panics
/// When there is no layer.
pub fn retain(
    backend: &dyn Backend,
    policy: &Policy,
    layers: &[&dyn PreparedLayer],
    per_heads: &[usize],
) -> Result<Vec<RetainedSet>, Error> {
    let LayerShape { kv_heads, context_len, window_len, .. } = layers[0].shape();
    if let Rule::Oracle(oracle) = policy.rule() {
        let options = policy.options();
        let part_len = if options.allocation == Allocation::Layer { 1 } else { layers.len() };
        let retained = |&per_head| {
            let parts = layers.chunks(part_len);
            let found = parts.map(|part| search(oracle, backend, part, options, per_head, &mut |_| true));
            let found = found.collect::<Result<Vec<_>, _>>()?;
            let heads: Vec<Vec<u32>> = found.into_iter().flat_map(|found| found.retained).collect();
            RetainedSet::from_candidates(kv_heads, context_len, window_len, &heads)
        };
        return per_heads.iter().map(retained).collect();
    }
    let scores = layers.iter().map(|layer| layer.score(policy)).collect::<Result<_, _>>()?;
    let output_norms = layers.iter().map(|layer| layer.output_norm()).collect();
    let mut scores = ModelScores::new(scores, output_norms, kv_heads)?;
    if policy.options().allocation == Allocation::Cake {
        let spreads = layers.iter().map(|layer| layer.attention_spread(policy)).collect::<Result<_, _>>()?;
        scores = scores.with_spreads(spreads)?;
    }
    per_heads.iter().map(|&per_head| evict(policy, &scores, per_head, window_len)).collect()
}

/// The definition, in f64.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error> {
        Ok(Box::new(Layer::new(problem)))
    }
}

impl PreparedLayer for Layer {
    fn score(&self, policy: &Policy) -> Result<HeadScores, Error> {
        score::score(self, policy)
    }

    fn shape(&self) -> LayerShape {
        self.shape
    }

    fn gram(&self, form: Form, rows: Rows) -> Result<Box<dyn PairGram + '_>, Error> {
        Ok(Box::new(self.layer_gram(form, rows)?))
    }

    fn improve(&self, form: Form, start: LayerRetained<'_>) -> Result<Vec<Vec<u32>>, Error> {
        start.check(self.index, self.shape)?;
        Ok(renormalised::improve(self, form, start))
    }

    fn output_norm(&self) -> f64 {
        evaluate::output_norm(self)
    }

    fn attention_spread(&self, policy: &Policy) -> Result<AttentionSpread, Error> {
        Ok(attention_spread(self, policy.queries_read(self.shape.window_len)?))
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
        evaluate::evaluate(self, retained)
    }
}
