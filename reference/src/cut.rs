//! Stages *allocate* and *select* together: from scores to a retained set.
//!
//! The policy's allocation says how many candidates each KV head keeps, and [`select`](mod@crate::select) says which.

use std::ops::Range;

use crate::allocations::{Division, Request, Supply};
use crate::budget::CandidatesPerHead;
use crate::draw::draw;
use crate::error::Result;
use crate::options::PolicyOptions;
use crate::policy::{Policy, Rule};
use crate::retained::RetainedSet;
use crate::scores::{ModelScores, Reach};
use crate::select::{Ranking, select};

/// The retained set of one sample under a policy, `b - w = per_head` candidates per KV head on average.
///
/// # Errors
/// [`crate::Error::Score`] when a normaliser makes a score infinite; [`crate::Error::Policy`] when the policy does not
/// rank by scores.
pub fn cut(
    policy: &Policy,
    scores: &ModelScores,
    per_head: CandidatesPerHead,
    window_len: usize,
) -> Result<RetainedSet> {
    let reason = match policy.rule() {
        Rule::Score(_) | Rule::GivenScores => {
            let quotas = quotas(scores, policy.options(), per_head)?;
            let CandidatesPerHead(per_head) = per_head;
            let protected = policy.options().protected(per_head, scores.candidate_len());
            return select(scores, &quotas, protected, window_len);
        }
        Rule::Draw(_) => return draw(scores, policy.options(), per_head, window_len),
        Rule::Everything => {
            let context_len = scores.candidate_len() + window_len;
            return RetainedSet::everything(scores.layers().len(), scores.kv_heads(), context_len);
        }
        Rule::Shrunk => "it searches the layers, its set does not follow from scores",
        Rule::Oracle(_) => "an oracle searches the layers, its set does not follow from scores",
        Rule::GivenSet => "it keeps a given set, which does not follow from scores",
    };
    Err(policy.refused(reason))
}

/// The candidates that each KV head keeps, `[layers * Hkv]`, `per_head` on average.
///
/// # Errors
/// [`crate::Error::Shape`] when a statistic that the allocation wants is missing; [`crate::Error::Score`] when a
/// normaliser makes a score infinite.
///
/// # Panics
/// When `per_head` exceeds the candidates.
pub fn quotas(
    scores: &ModelScores,
    options: &PolicyOptions,
    CandidatesPerHead(per_head): CandidatesPerHead,
) -> Result<Vec<usize>> {
    let candidate_len = scores.candidate_len();
    assert!(per_head <= candidate_len, "a KV head has fewer than {per_head} candidates");
    let least = options.min_per_head.min(per_head);
    let protected = options.protected(per_head, candidate_len);
    let top = |scores: &ModelScores, over: Reach| {
        let ranking = Ranking::new(scores, protected);
        let cut = |heads: Range<usize>| ranking.counts_in_top(heads.clone(), heads.len() * per_head, least);
        scores.heads_of(over).into_iter().flat_map(cut).collect()
    };
    match options.allocation.entry().division {
        Division::Cut { over: Reach::Head, normalised: false } => Ok(vec![per_head; scores.head_count()]),
        Division::Cut { over, normalised: false } => Ok(top(scores, over)),
        Division::Cut { over, normalised: true } => Ok(top(&scores.normalised(options.norm)?, over)),
        Division::Quotas(quotas) => quotas(&Request {
            scores,
            protected,
            supply: Supply { per_head, least, candidate_len },
            parameters: &options.parameters,
        }),
    }
}
