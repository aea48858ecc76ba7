//! Stage *select*: which candidates each KV head keeps.
//!
//! One order everywhere: sinks first, then the higher score, then the lower (layer, KV head, position).

use std::cmp::Ordering;

use crate::error::Error;
use crate::retained::RetainedSet;
use crate::scores::{HeadScores, ModelScores};

/// The order of all candidates of one sample.
pub struct Ranking<'a> {
    heads: Vec<&'a [f64]>,
    kv_heads: usize,
    sinks: usize,
}

/// A candidate: the index of its KV head over all layers, and its position.
type Candidate = (usize, usize);

impl<'a> Ranking<'a> {
    /// Ranks by `scores`, the first `sinks` positions of each KV head before all others.
    #[must_use]
    pub fn new(scores: &'a ModelScores, sinks: usize) -> Self {
        let heads = scores.layers().iter().flat_map(HeadScores::heads).collect();
        Self { heads, kv_heads: scores.kv_heads(), sinks }
    }

    /// The scores of each KV head of each layer.
    #[must_use]
    pub fn heads(&self) -> &[&'a [f64]] {
        &self.heads
    }

    /// KV heads a layer.
    #[must_use]
    pub fn kv_heads(&self) -> usize {
        self.kv_heads
    }

    fn compare(&self, one: Candidate, two: Candidate) -> Ordering {
        let key = |(head, position): Candidate| (position < self.sinks, self.heads[head][position]);
        // Scores are finite, so they always compare; and -0.0 ties with 0.0.
        key(two).partial_cmp(&key(one)).unwrap_or(Ordering::Equal).then(one.cmp(&two))
    }

    /// The first `count` candidates of `heads`, in order.
    fn top(&self, heads: &[usize], count: usize) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> =
            heads.iter().flat_map(|&head| (0..self.heads[head].len()).map(move |i| (head, i))).collect();
        candidates.sort_unstable_by(|&one, &two| self.compare(one, two));
        candidates.truncate(count);
        candidates
    }

    /// The first `count` positions of one head, in order.
    fn top_of_head(&self, head: usize, count: usize) -> impl Iterator<Item = usize> {
        self.top(&[head], count).into_iter().map(|(_, position)| position)
    }

    /// How many of the first `count` candidates of `heads` each of these heads holds.
    #[must_use]
    pub fn counts_in_top(&self, heads: &[usize], count: usize) -> Vec<usize> {
        let mut counts = vec![0; self.heads.len()];
        for (head, _) in self.top(heads, count) {
            counts[head] += 1;
        }
        heads.iter().map(|&head| counts[head]).collect()
    }
}

/// The top `quotas[h]` candidates of each KV head `h` of each layer, and the window.
///
/// # Errors
/// [`Error::Shape`] when the quotas are not one a KV head.
pub fn select(
    scores: &ModelScores,
    quotas: &[usize],
    sinks: usize,
    window_len: usize,
) -> Result<RetainedSet, Error> {
    let expected = scores.layers().len() * scores.kv_heads();
    if quotas.len() != expected {
        return Err(Error::Shape {
            what: "quotas",
            expected: format!("{expected}, one a KV head"),
            found: quotas.len().to_string(),
        });
    }
    let ranking = Ranking::new(scores, sinks);
    let ascending = |(head, &quota): (usize, &usize)| {
        let mut positions: Vec<u32> =
            ranking.top_of_head(head, quota).map(|position| position as u32).collect();
        positions.sort_unstable();
        positions
    };
    let retained: Vec<_> = quotas.iter().enumerate().map(ascending).collect();
    let context_len = scores.candidate_len() + window_len;
    RetainedSet::from_candidates(scores.kv_heads(), context_len, window_len, &retained)
}
