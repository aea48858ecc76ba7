//! Stage *select*: which candidates each KV head keeps.
//!
//! One order everywhere: protected candidates first, then the higher score, then the lower (layer, KV head, position).

use std::cmp::Ordering;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::protected::Protected;
use crate::retained::RetainedSet;
use crate::scores::{HeadScores, ModelScores, SecondStage};

/// The order of all candidates of one sample.
pub struct Ranking<'a> {
    heads: Vec<&'a [f64]>,
    protected: Protected,
}

/// A candidate: the index of its KV head over all layers, and its position.
type Candidate = (usize, usize);

impl<'a> Ranking<'a> {
    /// Ranks by `scores`, the `protected` candidates of each KV head before all others.
    #[must_use]
    pub fn new(scores: &'a ModelScores, protected: Protected) -> Self {
        let heads = scores.layers().iter().flat_map(HeadScores::heads).collect();
        Self { heads, protected }
    }

    /// All candidates of `heads`, in order.
    fn sorted(&self, heads: Range<usize>) -> Vec<Candidate> {
        let of_head = |head: usize| (0..self.heads[head].len()).map(move |position| (head, position));
        let mut candidates: Vec<Candidate> = heads.flat_map(of_head).collect();
        candidates.sort_unstable_by(|&one, &two| {
            let score = |(head, position): Candidate| self.heads[head][position];
            before(self.protected, (score(one), one), (score(two), two))
        });
        candidates
    }

    /// How many candidates each of `heads` has among `count`: its own first `least`, then the first of all others.
    ///
    /// # Panics
    /// When `count` is less than `least` times the heads.
    #[must_use]
    pub fn counts_in_top(&self, heads: Range<usize>, count: usize, least: usize) -> Vec<usize> {
        let mut seen = vec![0; self.heads.len()];
        let beyond_its_least = |&(head, _): &Candidate| {
            seen[head] += 1;
            seen[head] > least
        };
        let left = count.checked_sub(least * heads.len()).expect("every head has its least");
        let rest = self.sorted(heads.clone()).into_iter().filter(beyond_its_least).take(left);
        let mut counts = vec![least; self.heads.len()];
        rest.for_each(|(head, _)| counts[head] += 1);
        counts[heads].to_vec()
    }
}

/// The order of two scored candidates. Scores are finite, so they always compare; -0.0 ties with 0.0.
fn before(protected: Protected, one: (f64, Candidate), two: (f64, Candidate)) -> Ordering {
    let key = |(score, (_, position)): (f64, Candidate)| (protected.holds(position), score);
    key(two).partial_cmp(&key(one)).unwrap_or(Ordering::Equal).then(one.1.cmp(&two.1))
}

/// The positions of one KV head, in order.
fn order(scores: &[f64], protected: Protected) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..scores.len()).collect();
    positions.sort_unstable_by(|&i, &j| before(protected, (scores[i], (0, i)), (scores[j], (0, j))));
    positions
}

/// The first `quota` positions of a KV head: all by its score, or a first part by its score and the rest by the second.
fn kept(
    scores: &[f64],
    second: Option<(&SecondStage, &[f64])>,
    protected: Protected,
    quota: usize,
) -> Vec<usize> {
    let mut kept = order(scores, protected);
    let Some((stage, others)) = second else {
        kept.truncate(quota);
        return kept;
    };
    kept.truncate(stage.first_part(quota));
    let mut taken = vec![false; scores.len()];
    kept.iter().for_each(|&position| taken[position] = true);
    let rest = order(others, protected).into_iter().filter(|&position| !taken[position]);
    kept.extend(rest.take(quota - kept.len()).collect::<Vec<_>>());
    kept
}

/// The top `quotas[h]` candidates of each KV head `h` of each layer, and the window.
///
/// # Errors
/// [`Error::Shape`] when there is not one quota per KV head.
pub fn select(
    scores: &ModelScores,
    quotas: &[usize],
    protected: Protected,
    window_len: usize,
) -> Result<RetainedSet> {
    let expected = scores.head_count();
    if quotas.len() != expected {
        return Err(Error::shape("quotas", format_args!("{expected}, one per KV head"), quotas.len()));
    }
    let layers = scores.layers().iter().zip(scores.layer_heads());
    let retained: Vec<Vec<u32>> =
        layers.flat_map(|(layer, heads)| retained_of_layer(layer, &quotas[heads], protected)).collect();
    let context_len = scores.candidate_len() + window_len;
    RetainedSet::from_candidates(scores.kv_heads(), context_len, window_len, &retained)
}

/// The ascending positions that each KV head of a layer keeps.
fn retained_of_layer(layer: &HeadScores, quotas: &[usize], protected: Protected) -> Vec<Vec<u32>> {
    let ascending = |(head, (scores, &quota)): (usize, (&[f64], &usize))| {
        let second = layer.second().map(|stage| (stage, stage.head(head)));
        let mut positions: Vec<u32> =
            kept(scores, second, protected, quota).into_iter().map(|position| position as u32).collect();
        positions.sort_unstable();
        positions
    };
    layer.heads().zip(quotas).enumerate().map(ascending).collect()
}
