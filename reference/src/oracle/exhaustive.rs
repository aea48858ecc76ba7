//! The optimum by trying every set.
//!
//! The error of a set is summed from entries of `M`, `sum over i, j in s of M_ij`. With `|M_ij - exact| <= r_i r_j`
//! ([`PairGram::magnitudes`]) and `|M_ij| <= m_i m_j`, `m_i = sqrt(M_ii) + r_i`, a sum over `c` candidates is off by at most
//!
//! ```text
//! (sum r_i)^2 + gamma_{c^2 + c} (sum m_i)^2
//! ```
//!
//! The least sum less the largest such error is a lower bound on every set's squared error.

use crate::error::Error;

use super::block::Block;
use super::bound::{Decision, LowerBound};
use super::gram::{PairGram, indicator};
use super::swap::Eviction;
use crate::rounding::gamma;

/// The most candidates: with more, there are too many sets.
pub const MOST_CANDIDATES: usize = 24;

/// The set of `count` candidates with the least squared `drop` error, the first in lexicographic order among equals,
/// and a lower bound on all sets.
///
/// # Errors
/// [`Error::Shape`] when there are more than [`MOST_CANDIDATES`] candidates, or fewer than `count`; otherwise as
/// [`PairGram::product`].
pub fn exhaustive(gram: &dyn PairGram, count: usize) -> Result<(Eviction, LowerBound), Error> {
    let candidates = gram.candidates();
    if candidates > MOST_CANDIDATES || count > candidates {
        return Err(Error::Shape {
            what: "candidates of an exhaustive search",
            expected: format!("at most {MOST_CANDIDATES}, and at least the {count} to evict"),
            found: candidates.to_string(),
        });
    }
    best_set(gram, &vec![Decision::Open; candidates], count)
}

/// How many sets of `count` candidates respect the decisions, up to `most`.
#[must_use]
pub fn set_count(decisions: &[Decision], count: usize, most: usize) -> usize {
    let number = |decision| decisions.iter().filter(|&&other| other == decision).count();
    let Some(missing) = count.checked_sub(number(Decision::Evicted)) else { return 0 };
    let open = number(Decision::Open);
    if missing > open {
        return 0;
    }
    let binomial = (1..=missing.min(open - missing)).try_fold(1_usize, |sets, chosen| {
        Some(sets * (open + 1 - chosen) / chosen).filter(|&sets| sets < most)
    });
    binomial.unwrap_or(most)
}

/// The best of all sets of `count` candidates that respect the decisions.
///
/// # Errors
/// As [`PairGram::product`].
///
/// # Panics
/// When there is none.
pub fn best_set(
    gram: &dyn PairGram,
    decisions: &[Decision],
    count: usize,
) -> Result<(Eviction, LowerBound), Error> {
    let candidates: Vec<usize> =
        (0..gram.candidates()).filter(|&i| decisions[i] != Decision::Retained).collect();
    let mut search = Search::new(Block::new(gram.blocks(&candidates)), count);
    let mut gradient = vec![0.0; candidates.len()];
    let mut error = 0.0;
    for (index, &candidate) in candidates.iter().enumerate() {
        if decisions[candidate] == Decision::Evicted {
            error += search.add(index, &mut gradient);
        } else {
            search.open.push(index);
        }
    }
    search.extend(0, error, &gradient);
    let best = search.best.expect("the decisions leave a set of this size");
    let mut evicted: Vec<usize> = best.chosen.iter().map(|&index| candidates[index]).collect();
    evicted.sort_unstable();
    let rounding = rounding(gram, &candidates, count);
    let value = (best.error - rounding).max(0.0);
    let squared_error = gram.product(&indicator(gram.candidates(), &evicted))?.value;
    Ok((Eviction { evicted, squared_error }, LowerBound { value, rounding }))
}

/// How far the sum over any `count` of `candidates` may be off.
fn rounding(gram: &dyn PairGram, candidates: &[usize], count: usize) -> f64 {
    let (diagonal, errors) = (gram.diagonal(), gram.magnitudes());
    let largest = |number: &dyn Fn(usize) -> f64| -> f64 {
        let mut numbers: Vec<f64> = candidates.iter().map(|&candidate| number(candidate)).collect();
        numbers.sort_unstable_by(|one, two| two.total_cmp(one));
        numbers.iter().take(count).sum()
    };
    let of_entries = largest(&|i| errors[i]).powi(2);
    let of_sum = gamma(count * count + count + 8) * largest(&|i| diagonal[i].sqrt() + errors[i]).powi(2);
    2.0 * (of_entries + of_sum)
}

struct Search {
    block: Block,
    count: usize,
    /// The candidates that are not decided.
    open: Vec<usize>,
    chosen: Vec<usize>,
    best: Option<Best>,
}

struct Best {
    chosen: Vec<usize>,
    error: f64,
}

impl Search {
    fn new(block: Block, count: usize) -> Self {
        Self { block, count, open: Vec::new(), chosen: Vec::new(), best: None }
    }

    /// Chooses a candidate and returns the change of the error. `gradient` is `M x` and is updated.
    fn add(&mut self, candidate: usize, gradient: &mut [f64]) -> f64 {
        let change = 2.0 * gradient[candidate] + self.block.entry(candidate, candidate);
        self.block.shift(gradient, candidate, 1.0);
        self.chosen.push(candidate);
        change
    }

    /// Extends the chosen candidates by open ones from the `first` on.
    fn extend(&mut self, first: usize, error: f64, gradient: &[f64]) {
        let missing = self.count - self.chosen.len();
        if missing == 0 {
            if self.best.as_ref().is_none_or(|best| error < best.error) {
                self.best = Some(Best { chosen: self.chosen.clone(), error });
            }
            return;
        }
        for index in first..(self.open.len() + 1).saturating_sub(missing) {
            let mut extended = gradient.to_vec();
            let change = self.add(self.open[index], &mut extended);
            self.extend(index + 1, error + change, &extended);
            self.chosen.pop();
        }
    }
}
