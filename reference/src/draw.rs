//! Stage *draw*: candidates stay by chance, with known probabilities, in place of [`select`](mod@crate::select).
//!
//! The allocation says how many candidates `m` a KV head keeps. Each is kept with probability `pi_i`, and
//! its logit gets the bias `ln(1 / pi_i)`, so that the softmax over the retained keys is Hajek's estimator of the full one:
//!
//! ```text
//! o_hat = sum over S of (A_i / pi_i) v_i / sum over S of A_i / pi_i,    pi_i = min(1, c s_i),    sum of pi_i = m
//! ```
//!
//! Independent draws (Poisson sampling) keep `m` on average only. Every policy here keeps exactly the budget, so the draws are those of
//! the pivotal method in random order (Deville and Tille 1998): exactly `m` candidates, each with exactly its `pi_i`,
//! in one pass. So numerator and denominator are unbiased, each by itself. Their ratio is not: its bias
//! is of the order of its variance, which shows where a head keeps few drawn candidates.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::budget::CandidatesPerHead;
use crate::cut::quotas;
use crate::error::Result;
use crate::options::PolicyOptions;
use crate::protected::Protected;
use crate::retained::RetainedSet;
use crate::reweighting::Reweighting;
use crate::scores::{HeadScores, ModelScores};

/// Draws the retained set of one sample, with its biases. Each KV head has its own stream of the policy's seed.
///
/// # Errors
/// As [`quotas`].
pub fn draw(
    scores: &ModelScores,
    options: &PolicyOptions,
    per_head: CandidatesPerHead,
    window_len: usize,
) -> Result<RetainedSet> {
    let candidate_len = scores.candidate_len();
    let quotas = quotas(scores, options, per_head)?;
    let protected = options.protected(per_head.0, candidate_len);
    let (mut heads, mut bias) = (Vec::new(), Vec::new());
    for (head, scores) in scores.layers().iter().flat_map(HeadScores::heads).enumerate() {
        let probabilities = inclusion_probabilities(scores, protected, quotas[head]);
        let mut generator = ChaCha8Rng::seed_from_u64(options.seed);
        generator.set_stream(head as u64);
        let drawn = pivotal(&probabilities, &mut generator);
        bias.extend(drawn.iter().map(|&position| -probabilities[position].ln() as f32));
        bias.extend(vec![0.0; window_len]);
        heads.push(drawn.into_iter().map(|position| position as u32).collect::<Vec<_>>());
    }
    let context_len = candidate_len + window_len;
    RetainedSet::from_candidates(scores.kv_heads(), context_len, window_len, &heads)?
        .reweighted(Reweighting::new(bias, None)?)
}

/// `pi_i = min(1, c s_i)` with `sum of pi_i = quota`: water-filling.
///
/// Protected candidates count as the highest scores. Where fewer candidates than `quota` have a score above 0, these are
/// certain, and the others share the rest alike.
///
/// # Panics
/// When a score is negative or there are fewer than `quota`.
#[must_use]
pub fn inclusion_probabilities(scores: &[f64], protected: Protected, quota: usize) -> Vec<f64> {
    assert!(quota <= scores.len() && scores.iter().all(|&score| score >= 0.0), "scores of enough candidates");
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let key = |i: usize| (protected.holds(i), scores[i]);
    order.sort_by(|&i, &j| key(j).partial_cmp(&key(i)).expect("scores are finite").then(i.cmp(&j)));
    let mut probabilities = vec![0.0; scores.len()];
    // `rests[k]`: the sum of the scores from the k-th on, added up from the least.
    let mut rests = vec![0.0; scores.len() + 1];
    for (place, &i) in order.iter().enumerate().rev() {
        rests[place] = rests[place + 1] + scores[i];
    }
    for (place, &i) in order.iter().enumerate() {
        let left = quota.saturating_sub(place) as f64;
        if left > 0.0 && (protected.holds(i) || left * scores[i] >= rests[place] && scores[i] > 0.0) {
            probabilities[i] = 1.0;
            continue;
        }
        let (rest, others) = (rests[place], &order[place..]);
        let share = |i: usize| if rest > 0.0 { scores[i] / rest } else { 1.0 / others.len() as f64 };
        others.iter().for_each(|&i| probabilities[i] = (left * share(i)).min(1.0));
        break;
    }
    probabilities
}

/// Draws ascending indices, `i` with probability `probabilities[i]`, as many as the probabilities add up to: the pivotal method of Deville
/// and Tille (1998) in random order.
///
/// Two undecided candidates meet at a time. If their probabilities add up to less than 1, one goes and the other takes the sum;
/// otherwise one stays and the other keeps the excess over 1. The chances leave each one's expectation as it was.
#[must_use]
pub fn pivotal(probabilities: &[f64], generator: &mut ChaCha8Rng) -> Vec<usize> {
    let mut stays: Vec<bool> = probabilities.iter().map(|&probability| probability >= 1.0).collect();
    let undecided = |&i: &usize| probabilities[i] > 0.0 && probabilities[i] < 1.0;
    let mut order: Vec<usize> = (0..probabilities.len()).filter(undecided).collect();
    shuffle(&mut order, generator);
    let mut pivot: Option<(usize, f64)> = None;
    for next in order {
        let Some((own, p)) = pivot else {
            pivot = Some((next, probabilities[next]));
            continue;
        };
        let (q, chance) = (probabilities[next], generator.random::<f64>());
        let sum = p + q;
        pivot = Some(if sum < 1.0 {
            (if chance < q / sum { next } else { own }, sum)
        } else {
            let (kept, left) = if chance < (1.0 - q) / (2.0 - sum) { (own, next) } else { (next, own) };
            stays[kept] = true;
            (left, sum - 1.0)
        });
    }
    // The last one is certain but for rounding: the sum is a whole number.
    if let Some((last, p)) = pivot {
        stays[last] = p > 0.5;
    }
    (0..stays.len()).filter(|&i| stays[i]).collect()
}

fn shuffle(order: &mut [usize], generator: &mut ChaCha8Rng) {
    for last in (1..order.len()).rev() {
        order.swap(last, generator.random_range(0..=last));
    }
}
