//! Stage *select*: exact cuts by radix selection, in place of sorting.
//!
//! The order is the reference's: sinks first, then the higher score, then the lower (layer, KV head, position). A cut is a
//! threshold and how many of the candidates that equal it stay; the threshold is found digit by digit, on keys whose
//! order as whole numbers is that of the scores. Counts are whole numbers, so neither blocks nor threads show.

use laprox_reference::allocate::Allocation;
use laprox_reference::policy::Rule;
use laprox_reference::scores::Normaliser;
use laprox_reference::{Error, HeadScores, ModelScores, Policy, RetainedSet};
use rayon::prelude::*;

/// Bits of a digit: its counters stay in the first-level cache.
const DIGIT: u32 = 12;

/// So few scores are sorted out rather than counted once more.
const FEW: usize = 1 << 14;

/// Scores of a task.
const CHUNK: usize = 1 << 16;

/// What a policy keeps; `None` for a rule that is not a cut over heads, layers or the model, which the reference divides.
///
/// # Errors
/// [`Error::Score`] when a normaliser makes a score infinite.
pub fn evict(
    policy: &Policy,
    scores: &ModelScores,
    per_head: usize,
    window_len: usize,
) -> Result<Option<RetainedSet>, Error> {
    let options = policy.options();
    let heads = |scores: &ModelScores, range: usize| -> Vec<usize> {
        let heads: Vec<&[f64]> = scores.layers().iter().flat_map(HeadScores::heads).collect();
        heads
            .chunks(range)
            .flat_map(|part| counts_in_top(part, options.sinks, part.len() * per_head))
            .collect()
    };
    let all = scores.layers().len() * scores.kv_heads();
    let quotas = match (policy.rule(), options.allocation) {
        (Rule::Score(_), Allocation::Head) => vec![per_head; all],
        (Rule::Score(_), Allocation::Layer) => heads(scores, scores.kv_heads()),
        (Rule::Score(_), Allocation::Model) if options.norm == Normaliser::None => heads(scores, all),
        (Rule::Score(_), Allocation::Model) => heads(&scores.normalised(options.norm)?, all),
        (Rule::Score(_), Allocation::ModelRaw) => heads(scores, all),
        _ => return Ok(None),
    };
    let heads: Vec<&[f64]> = scores.layers().iter().flat_map(HeadScores::heads).collect();
    let retained: Vec<Vec<u32>> =
        heads.into_par_iter().zip(quotas).map(|(head, quota)| top(head, options.sinks, quota)).collect();
    let context_len = scores.candidate_len() + window_len;
    RetainedSet::from_candidates(scores.kv_heads(), context_len, window_len, &retained).map(Some)
}

/// How many of the first `count` candidates of `heads` each of them holds.
#[must_use]
pub fn counts_in_top(heads: &[&[f64]], sinks: usize, count: usize) -> Vec<usize> {
    let sinks_of = |head: &[f64]| sinks.min(head.len());
    let all_sinks: usize = heads.iter().map(|head| sinks_of(head)).sum();
    if count < all_sinks {
        let heads: Vec<&[f64]> = heads.iter().map(|head| &head[..sinks_of(head)]).collect();
        return counts(&heads, count);
    }
    let rest: Vec<&[f64]> = heads.iter().map(|head| &head[sinks_of(head)..]).collect();
    heads.iter().zip(counts(&rest, count - all_sinks)).map(|(head, count)| sinks_of(head) + count).collect()
}

/// The first `count` positions of one head, ascending.
#[must_use]
pub fn top(head: &[f64], sinks: usize, count: usize) -> Vec<u32> {
    let sinks = sinks.min(head.len());
    let (part, first, mut kept) = match count.checked_sub(sinks) {
        Some(rest) => (&head[sinks..], sinks, (0..sinks as u32, rest)),
        None => (&head[..sinks], 0, (0..0, count)),
    };
    let mut positions: Vec<u32> = kept.0.collect();
    let Some(cut) = Cut::new(&[part], kept.1) else {
        return positions;
    };
    kept.1 = cut.ties;
    positions.reserve_exact(count - positions.len());
    for (position, &score) in part.iter().enumerate() {
        let tie = score == cut.threshold && kept.1 > 0;
        if tie {
            kept.1 -= 1;
        }
        if tie || score > cut.threshold {
            positions.push((first + position) as u32);
        }
    }
    positions
}

/// How many of the `count` highest scores each list holds; ties go to the lower list.
fn counts(lists: &[&[f64]], count: usize) -> Vec<usize> {
    let Some(cut) = Cut::new(lists, count) else { return vec![0; lists.len()] };
    let above_and_at = |list: &&[f64]| {
        let chunk = |(above, at): (usize, usize), &score: &f64| {
            (above + usize::from(score > cut.threshold), at + usize::from(score == cut.threshold))
        };
        list.iter().fold((0, 0), chunk)
    };
    let counted: Vec<(usize, usize)> = lists.par_iter().map(above_and_at).collect();
    let mut ties = cut.ties;
    let of_list = |(above, at): (usize, usize)| {
        let taken = at.min(ties);
        ties -= taken;
        above + taken
    };
    counted.into_iter().map(of_list).collect()
}

/// Where the highest scores end.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    /// The lowest score that stays.
    threshold: f64,
    /// How many of those that equal it stay.
    ties: usize,
}

impl Cut {
    /// The cut that leaves the `count` highest scores; `None` where nothing stays.
    ///
    /// # Panics
    /// When there are fewer scores.
    fn new(lists: &[&[f64]], count: usize) -> Option<Self> {
        if count == 0 {
            return None;
        }
        let chunks: Vec<&[f64]> = lists.iter().flat_map(|list| list.chunks(CHUNK)).collect();
        let mut search = Search { prefix: 0, decided: 0, wanted: count };
        let mut rest = chunks.iter().map(|chunk| chunk.len()).sum();
        while search.decided < u64::BITS && rest > FEW {
            rest = search.descend(&merge(chunks.par_iter().map(|chunk| search.histogram(chunk))));
        }
        let mut keys: Vec<u64> = chunks.par_iter().flat_map_iter(|chunk| search.sharing(chunk)).collect();
        let last = keys.len().checked_sub(search.wanted)?;
        let (_, &mut lowest, higher) = keys.select_nth_unstable(last);
        let ties = 1 + higher.iter().filter(|&&key| key == lowest).count();
        Some(Self { threshold: score(lowest), ties })
    }
}

/// The digits of the threshold's key that are known.
#[derive(Clone, Copy, Debug)]
struct Search {
    prefix: u64,
    /// Bits of it.
    decided: u32,
    /// How many of those that share it stay.
    wanted: usize,
}

impl Search {
    fn shift(&self) -> u32 {
        u64::BITS.saturating_sub(self.decided + DIGIT)
    }

    /// How many of the scores whose key shares the prefix have each next digit.
    ///
    /// Without a branch: the others are counted where nobody looks. Four sets of counters, so that equal digits in a row do
    /// not wait for each other.
    fn histogram(&self, scores: &[f64]) -> Vec<u32> {
        const SETS: usize = 4;
        let mut counters = vec![0_u32; SETS * ((1 << DIGIT) + 1)];
        let (shift, mask) = (self.shift(), (1 << DIGIT) - 1);
        for (i, &score) in scores.iter().enumerate() {
            let key = key(score);
            let digit = if self.shares(key) { key >> shift & mask } else { 1 << DIGIT };
            counters[digit as usize * SETS + i % SETS] += 1;
        }
        counters.chunks_exact(SETS).take(1 << DIGIT).map(|sets| sets.iter().sum()).collect()
    }

    /// Whether a key begins as the threshold's.
    fn shares(&self, key: u64) -> bool {
        (key ^ self.prefix).checked_shr(u64::BITS - self.decided).unwrap_or(0) == 0
    }

    /// Takes the digit in which the threshold lies; how many keys share it.
    fn descend(&mut self, counters: &[u32]) -> usize {
        let shift = self.shift();
        for (digit, &count) in counters.iter().enumerate().rev() {
            let count = count as usize;
            if count >= self.wanted {
                self.prefix = self.prefix >> shift | digit as u64;
                self.prefix <<= shift;
                self.decided = u64::BITS - shift;
                return count;
            }
            self.wanted -= count;
        }
        unreachable!("fewer scores than are to stay")
    }

    /// The keys that share the prefix.
    fn sharing(&self, scores: &[f64]) -> Vec<u64> {
        scores.iter().map(|&score| key(score)).filter(|&key| self.shares(key)).collect()
    }
}

fn merge(counters: impl IndexedParallelIterator<Item = Vec<u32>>) -> Vec<u32> {
    let add = |mut one: Vec<u32>, two: Vec<u32>| {
        one.iter_mut().zip(two).for_each(|(one, two)| *one += two);
        one
    };
    counters.reduce(|| vec![0; 1 << DIGIT], add)
}

/// A whole number that orders finite scores as themselves; both zeros have one.
fn key(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The score of a key.
fn score(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_order_scores_as_numbers(one in any::<f64>(), two in any::<f64>()) {
            prop_assume!(one.is_finite() && two.is_finite());
            prop_assert_eq!(key(one).cmp(&key(two)), one.partial_cmp(&two).unwrap());
            prop_assert_eq!(score(key(one)), one);
        }
    }

    #[test]
    fn both_zeros_have_one_key() {
        assert_eq!(key(-0.0), key(0.0));
        assert!(key(-f64::from_bits(1)) < key(0.0) && key(0.0) < key(f64::from_bits(1)));
    }
}
