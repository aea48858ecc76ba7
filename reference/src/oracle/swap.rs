//! From a relaxed point to a set, and from a set to one that no single swap improves.

use super::block::{Block, Swaps};
use super::bound::Decision;
use super::gram::{PairGram, indicator};
use super::relax::{Effort, Relaxed, keep_first};
use crate::error::Error;

/// A set of evicted candidates with its squared `drop` error.
#[derive(Clone, Debug, PartialEq)]
pub struct Eviction {
    /// The evicted candidates, ascending.
    pub evicted: Vec<usize>,
    /// `norm_F(E(x))^2`.
    pub squared_error: f64,
}

/// Improvements smaller than this share of the error are rounding.
const LEAST_GAIN: f64 = 1e-12;

/// The `count` candidates with the largest shares; ties go to the lower gradient, then to the lower index.
#[must_use]
pub fn round(relaxed: &Relaxed, count: usize) -> Vec<usize> {
    let mut candidates: Vec<usize> = (0..relaxed.x.len()).collect();
    keep_first(&mut candidates, count, |&one, &two| {
        let values = &relaxed.product.values;
        relaxed.x[two].total_cmp(&relaxed.x[one]).then(values[one].total_cmp(&values[two]))
    });
    candidates.sort_unstable();
    candidates
}

/// Swaps retained for evicted candidates while that lowers the error. Decided candidates stay.
///
/// A round chooses up to [`Effort::block`] candidates by their own changes and then tries all swaps among them in full.
///
/// # Errors
/// As [`PairGram::product`]; a search that has to end after the start is measured returns its best set.
pub fn swap(
    gram: &dyn PairGram,
    decisions: &[Decision],
    start: &[usize],
    effort: Effort,
    rounds: usize,
) -> Result<Eviction, Error> {
    let mut x = indicator(gram.candidates(), start);
    let mut product = gram.product(&x)?;
    let mut measured = x.clone();
    for _ in 0..rounds {
        let candidates = promising(gram, decisions, &x, &product.values, effort.block);
        let block = Block::new(gram.blocks(&candidates));
        let evicted = candidates.iter().map(|&candidate| x[candidate] == 1.0).collect();
        let gradient = candidates.iter().map(|&candidate| product.values[candidate]).collect();
        let mut swaps = Swaps::new(&block, evicted, gradient);
        let mut swapped = false;
        while let Some((evict, retain, change)) = swaps.best() {
            if -change <= LEAST_GAIN * product.value || effort.stop.is_due() {
                break;
            }
            swaps.apply(evict, retain);
            swapped = true;
        }
        if !swapped {
            break;
        }
        for (&candidate, &evicted) in candidates.iter().zip(&swaps.evicted) {
            x[candidate] = f64::from(u8::from(evicted));
        }
        match gram.product(&x) {
            Ok(next) => product = next,
            // The last set whose error is known.
            Err(Error::Stopped) => break,
            Err(error) => return Err(error),
        }
        measured.clone_from(&x);
    }
    let evicted = (0..x.len()).filter(|&candidate| measured[candidate] == 1.0).collect();
    Ok(Eviction { evicted, squared_error: product.value })
}

/// The open candidates whose own change is least: `M_ii + 2 (M x)_i` to evict one, `M_ii - 2 (M x)_i` to retain one.
fn promising(
    gram: &dyn PairGram,
    decisions: &[Decision],
    x: &[f64],
    product: &[f64],
    most: usize,
) -> Vec<usize> {
    let diagonal = gram.diagonal();
    let change = |candidate: &usize| {
        let sign = if x[*candidate] == 1.0 { -2.0 } else { 2.0 };
        diagonal[*candidate] + sign * product[*candidate]
    };
    let open = (0..x.len()).filter(|&i| decisions[i] == Decision::Open);
    let (mut evicted, mut retained): (Vec<usize>, Vec<usize>) = open.partition(|&i| x[i] == 1.0);
    for side in [&mut evicted, &mut retained] {
        keep_first(side, most / 2, |one, two| change(one).total_cmp(&change(two)));
    }
    evicted.append(&mut retained);
    evicted.sort_unstable();
    evicted
}
