//! The convex relaxation: the least `x^T M x` over `0 <= x <= 1`, `sum x = m`, some candidates decided.
//!
//! Frank-Wolfe stalls here: the attention sinks' diagonal entries are thousands of times the others'. So the
//! relaxation is solved by decomposition, as large support vector machines are: take the candidates that violate the
//! optimality conditions most, form their small block of `M`, solve the problem on them ([`active_set`](super::active_set)),
//! and only then pay for another full product `M x`. Every product gives a lower bound that holds
//! ([`lower_bound`]), so the solver may stop whenever its caller likes.

use std::collections::BTreeSet;

use super::active_set::ActiveSet;
use super::block::Block;
use super::bound::{Decision, LowerBound, lower_bound};
use super::gram::{PairGram, Product};
use crate::error::Error;

/// How long a relaxation is worked on.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Stop when the bound is within this share of the relaxed value.
    pub tolerance: f64,
    /// Full products `M x` at most.
    pub products: usize,
    /// Candidates in the small problem.
    pub block: usize,
}

/// A point of the relaxation, with the best lower bound seen on the way to it.
#[derive(Clone, Debug)]
pub struct Relaxed {
    /// The evicted share of each candidate.
    pub x: Vec<f64>,
    /// `M x`.
    pub product: Product,
    /// What is proven of the squared error of every admissible set.
    pub lower_bound: LowerBound,
}

/// Improves on `start` until the effort is spent, or `watch`, which receives every new bound, returns false. Candidates
/// that are decided must already have their value in `start`.
///
/// # Errors
/// As [`PairGram::product`].
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
        relaxed.product = gram.product(&relaxed.x)?;
        relaxed.lower_bound = bound.max(lower_bound(&relaxed.product, decisions, count));
        if relaxed.product.value >= value && relaxed.lower_bound == bound {
            // What is left to gain is rounding.
            break;
        }
    }
    Ok(relaxed)
}

impl Relaxed {
    /// Solves the relaxation over the candidates that most need it, the others as they are; false where nothing moved.
    fn improve(&mut self, gram: &dyn PairGram, decisions: &[Decision], effort: Effort) -> bool {
        let candidates = self.working_set(decisions, effort.block);
        let block = Block::new(gram.blocks(&candidates));
        let of = |numbers: &[f64]| candidates.iter().map(|&candidate| numbers[candidate]).collect();
        let mut active = ActiveSet::new(&block, of(&self.x), of(&self.product.values));
        // The gradients' mean is `value / sum x`: of a share of it, the gap is as small a share of the value.
        let mean = self.product.value / self.x.iter().sum::<f64>();
        let moved = active.solve(0.1 * effort.tolerance * mean);
        for (&candidate, &share) in candidates.iter().zip(&active.x) {
            self.x[candidate] = share;
        }
        moved
    }

    /// The open candidates that could rise with the least gradient, those that could fall with the largest, and as many of
    /// those with a share between 0 and 1 as there is room for, ascending.
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

/// Keeps the first `most` elements of an order, in any order; ties go to the lower candidate.
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
