//! The convex relaxation: the least `x^T M x` over `0 <= x <= 1`, `sum x = m`, some candidates decided.
//!
//! Frank-Wolfe stalls here: the attention sinks' diagonal entries are thousands of times the others'. So the relaxation
//! is solved by decomposition, as large support vector machines are: take the candidates that violate the optimality
//! conditions most, form their small block of `M`, solve the problem on them ([`active_set`](super::active_set)), and
//! only then pay for another full product `M x`. Every product gives a lower bound that holds ([`lower_bound`]), so the
//! solver may stop at any time.

use std::collections::BTreeSet;

use super::active_set::ActiveSet;
use super::block::Block;
use super::bound::{Decision, LowerBound, lower_bound};
use super::gram::{PairGram, Product};
use super::stop::Stop;
use crate::error::Error;

/// The limits of the work on a relaxation.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Stop when the bound is within this share of the relaxed value.
    pub tolerance: f64,
    /// The most full products `M x`.
    pub products: usize,
    /// The most candidates in a small problem.
    pub block: usize,
    /// Ends the work early.
    pub stop: Stop,
}

/// A point of the relaxation, with the best lower bound seen on the way to it.
#[derive(Clone, Debug)]
pub struct Relaxed {
    /// The evicted share of each candidate.
    pub x: Vec<f64>,
    /// `M x`.
    pub product: Product,
    /// The best proven bound on the squared error of every admissible set.
    pub lower_bound: LowerBound,
}

/// Improves on `start` until the effort is spent or `watch` returns false. `watch` receives every new bound. Decided
/// candidates must have their values in `start`.
///
/// # Errors
/// As [`PairGram::product`]; a relaxation that has to end after its start is measured returns the bound proven by then.
pub fn relax(
    gram: &dyn PairGram,
    decisions: &[Decision],
    count: usize,
    start: Vec<f64>,
    effort: Effort,
    watch: &mut dyn FnMut(f64) -> bool,
) -> Result<Relaxed, Error> {
    let product = gram.product(&start)?;
    let bound = lower_bound(&product, decisions, count);
    let mut relaxed = Relaxed { x: start, product, lower_bound: bound };
    for _ in 1..effort.products {
        let (value, bound) = (relaxed.product.value, relaxed.lower_bound);
        let near = value - bound.value <= effort.tolerance * value + bound.rounding;
        if !watch(bound.value) || near || !relaxed.improve(gram, decisions, effort) {
            break;
        }
        relaxed.product = match gram.product(&relaxed.x) {
            Ok(product) => product,
            // The bound holds, whatever the point.
            Err(Error::Stopped) => break,
            Err(error) => return Err(error),
        };
        relaxed.lower_bound = bound.max(lower_bound(&relaxed.product, decisions, count));
        if relaxed.product.value >= value && relaxed.lower_bound == bound {
            // Only rounding is left to gain.
            break;
        }
    }
    Ok(relaxed)
}

impl Relaxed {
    /// Solves the relaxation over the worst candidates and leaves the others; false if nothing moved.
    fn improve(&mut self, gram: &dyn PairGram, decisions: &[Decision], effort: Effort) -> bool {
        let candidates = self.working_set(decisions, effort.block);
        let block = Block::new(gram.blocks(&candidates));
        let of = |numbers: &[f64]| candidates.iter().map(|&candidate| numbers[candidate]).collect();
        let mut active = ActiveSet::new(&block, of(&self.x), of(&self.product.values));
        // The gradients' mean is `value / sum x`. A threshold that is a share of it leaves a gap of that share of the value.
        let mean = self.product.value / self.x.iter().sum::<f64>();
        let moved = active.solve(0.1 * effort.tolerance * mean, effort.stop);
        for (&candidate, &share) in candidates.iter().zip(&active.x) {
            self.x[candidate] = share;
        }
        moved
    }

    /// The open candidates with the least gradients that can rise, those with the largest that can fall, and those with
    /// a share between 0 and 1 as far as there is room; ascending.
    fn working_set(&self, decisions: &[Decision], most: usize) -> Vec<usize> {
        let gradient = |candidate: &usize| self.product.values[*candidate];
        let open: Vec<usize> = (0..decisions.len()).filter(|&i| decisions[i] == Decision::Open).collect();
        let that = |moves: fn(f64) -> bool| open.iter().copied().filter(move |&i| moves(self.x[i]));
        let mut rising: Vec<usize> = that(|share| share < 1.0).collect();
        let mut falling: Vec<usize> = that(|share| share > 0.0).collect();
        keep_first(&mut rising, most / 3, |one, two| gradient(one).total_cmp(&gradient(two)));
        keep_first(&mut falling, most / 3, |one, two| gradient(two).total_cmp(&gradient(one)));
        let mut set: BTreeSet<usize> = rising.into_iter().chain(falling).collect();
        for candidate in that(|share| share > 0.0 && share < 1.0) {
            if set.len() >= most {
                break;
            }
            set.insert(candidate);
        }
        set.into_iter().collect()
    }
}

/// Keeps the first `most` elements of an order, in any order; ties go to the lower index.
pub(super) fn keep_first(
    candidates: &mut Vec<usize>,
    most: usize,
    order: impl Fn(&usize, &usize) -> std::cmp::Ordering,
) {
    if most < candidates.len() {
        candidates.select_nth_unstable_by(most, |one, two| order(one, two).then(one.cmp(two)));
        candidates.truncate(most);
    }
}
