//! Stage *select*: exact cuts by radix selection, in place of sorting.
//!
//! The order is the reference's: sinks first, then the higher score, then the lower (layer, KV head, position). A cut is a
//! threshold and how many of the candidates that equal it stay; the threshold is found digit by digit, on keys whose
//! order as whole numbers is that of the scores, among the few that a sample does not rule out. Counts are whole numbers, so neither blocks nor threads show.

use laprox_reference::allocations::Division;
use laprox_reference::protected::ENDS;
use laprox_reference::scores::{Normaliser, Reach};
use laprox_reference::{CandidatesPerHead, Error, HeadScores, ModelScores, Policy, RetainedSet};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::simd::Level;

/// Bits of a digit: its counters stay in the first-level cache.
const DIGIT: u32 = 12;

/// So few scores are sorted out rather than counted once more.
const FEW: usize = 1 << 14;

/// Scores in a sample, about.
const SAMPLE: usize = 1 << 14;

/// Scores that are counted before those inside a bracket are kept: they stay in the first-level cache.
const BLOCK: usize = 512;

/// Scores of a task.
const CHUNK: usize = 1 << 16;

/// The set that a policy keeps. The reference cuts unless the rule is one cut over heads, layers or the model, without
/// protected ends.
///
/// # Errors
/// As [`laprox_reference::cut`].
pub(crate) fn cut(
    policy: &Policy,
    scores: &ModelScores,
    per_head: CandidatesPerHead,
    window_len: usize,
) -> Result<RetainedSet, Error> {
    let options = policy.options();
    let ranks_once = policy.source().is_some_and(|source| !source.ranks_twice());
    let Division::Cut { over, normalised } = options.allocation.entry().division else {
        return laprox_reference::cut(policy, scores, per_head, window_len);
    };
    let protects_ends = options.parameters.get(&ENDS) > 0.0;
    if !ranks_once || options.min_per_head > 0 || protects_ends {
        return laprox_reference::cut(policy, scores, per_head, window_len);
    }
    let quotas = if normalised && options.norm != Normaliser::None {
        quotas(&scores.normalised(options.norm)?, over, options.sinks, per_head)
    } else {
        quotas(scores, over, options.sinks, per_head)
    };
    let retained: Vec<Vec<u32>> = heads_of(scores)
        .into_par_iter()
        .zip(quotas)
        .map(|(head, quota)| top(head, options.sinks, quota))
        .collect();
    let context_len = scores.candidate_len() + window_len;
    RetainedSet::from_candidates(scores.kv_heads(), context_len, window_len, &retained)
}

/// How many candidates each KV head keeps of the highest scores within each range of heads.
fn quotas(
    scores: &ModelScores,
    over: Reach,
    sinks: usize,
    CandidatesPerHead(per_head): CandidatesPerHead,
) -> Vec<usize> {
    if over == Reach::Head {
        return vec![per_head; scores.head_count()];
    }
    let heads = heads_of(scores);
    let ranges = scores.heads_of(over).into_iter();
    ranges.flat_map(|range| counts_in_top(&heads[range.clone()], sinks, range.len() * per_head)).collect()
}

/// The scores of every KV head.
fn heads_of(scores: &ModelScores) -> Vec<&[f64]> {
    scores.layers().iter().flat_map(HeadScores::heads).collect()
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
pub(crate) fn top(head: &[f64], sinks: usize, count: usize) -> Vec<u32> {
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
///
/// One pass over the scores counts what is above a bracket around the cut and keeps what is inside; only that is then cut
/// digit by digit. The bracket comes from a sample; where the cut is not inside, everything is.
fn counts(lists: &[&[f64]], count: usize) -> Vec<usize> {
    let parts = Bracket::of_sample(lists, count).map(|bracket| bracket.split(lists));
    let holds_cut = |parts: &Vec<Part>| {
        let above: usize = parts.iter().map(|part| part.above).sum();
        let inside: usize = parts.iter().map(|part| part.inside.len()).sum();
        above < count && count <= above + inside
    };
    let parts = parts.filter(holds_cut).unwrap_or_else(|| Bracket::ALL.split(lists));
    let inside: Vec<&[f64]> = parts.iter().map(|part| part.inside.as_slice()).collect();
    let above: usize = parts.iter().map(|part| part.above).sum();
    let Some(cut) = Cut::new(&inside, count - above) else { return vec![0; lists.len()] };
    let mut ties = cut.ties;
    let of_list = |part: &Part| {
        let higher = part.inside.iter().filter(|&&score| score > cut.threshold).count();
        let taken = part.inside.iter().filter(|&&score| score == cut.threshold).take(ties).count();
        ties -= taken;
        part.above + higher + taken
    };
    parts.iter().map(of_list).collect()
}

/// Scores between which a cut is expected, both included.
#[derive(Clone, Copy, Debug)]
struct Bracket {
    low: f64,
    high: f64,
}

/// One list's scores, seen from a bracket.
struct Part {
    above: usize,
    inside: Vec<f64>,
}

impl Bracket {
    /// Every score.
    const ALL: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// Between two ranks of a sample, three standard deviations around that of the cut and more; `None` for few scores.
    fn of_sample(lists: &[&[f64]], count: usize) -> Option<Self> {
        let len: usize = lists.iter().map(|list| list.len()).sum();
        if len < 16 * SAMPLE {
            return None;
        }
        let stride = len / SAMPLE;
        let mut sample: Vec<f64> =
            lists.iter().flat_map(|list| list.iter().skip(stride / 2).step_by(stride)).copied().collect();
        sample.sort_unstable_by(|one, two| two.total_cmp(one));
        let rank = (count as f64 / len as f64 * sample.len() as f64) as usize;
        let away = 2 * sample.len().isqrt();
        let at = |rank: usize| sample.get(rank).copied();
        Some(Self {
            low: at(rank + away).unwrap_or(Self::ALL.low),
            high: rank.checked_sub(away).and_then(at).unwrap_or(Self::ALL.high),
        })
    }

    fn split(self, lists: &[&[f64]]) -> Vec<Part> {
        let level = Level::best();
        lists.par_iter().map(|scores| level.run(Split { scores, bracket: self })).collect()
    }
}

/// Plain loops, for the compiler to widen.
struct Split<'a> {
    scores: &'a [f64],
    bracket: Bracket,
}

impl WithSimd for Split<'_> {
    type Output = Part;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Part {
        let Bracket { low, high } = self.bracket;
        let (mut above, mut inside) = (0, Vec::new());
        for block in self.scores.chunks(BLOCK) {
            let (mut higher, mut within) = (0_u64, 0_u64);
            for &score in block {
                higher += u64::from(score > high);
                within += u64::from(score >= low);
            }
            above += higher as usize;
            if within > higher {
                inside.extend(block.iter().filter(|&&score| score >= low && score <= high));
            }
        }
        Part { above, inside }
    }
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
    /// Without a branch: the others are counted where nobody looks. Two sets of counters, so that equal digits in a row do
    /// not wait for each other, and both are in the first-level cache.
    fn histogram(&self, scores: &[f64]) -> Vec<u32> {
        let mut counters = [[0_u32; 2]; (1 << DIGIT) + 1];
        let (shift, mask) = (self.shift(), (1 << DIGIT) - 1);
        let digit = |score: f64| {
            let key = key(score);
            if self.shares(key) { (key >> shift & mask) as usize } else { 1 << DIGIT }
        };
        let (pairs, last) = scores.as_chunks::<2>();
        for pair in pairs {
            counters[digit(pair[0])][0] += 1;
            counters[digit(pair[1])][1] += 1;
        }
        last.iter().for_each(|&score| counters[digit(score)][0] += 1);
        counters[..1 << DIGIT].iter().map(|[one, two]| one + two).collect()
    }

    /// Whether a key begins as the threshold's.
    fn shares(&self, key: u64) -> bool {
        self.decided == 0 || (key ^ self.prefix) >> (u64::BITS - self.decided) == 0
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
#[path = "../tests/unit/select.rs"]
mod tests;
