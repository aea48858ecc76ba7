//! The convex relaxation: the least `x^T M x` over `0 <= x <= 1`, `sum x = m`, some slots decided.
//!
//! Frank-Wolfe stalls here: the attention sinks' diagonal entries are thousands of times the others'. So the
//! relaxation is solved by decomposition, as large support vector machines are: take the slots that violate the
//! optimality conditions most, form their small block of `M`, solve the problem on them by exact pairwise steps,
//! and only then pay for another full product `M x`. Every product gives a lower bound that holds
//! ([`lower_bound`]), so the solver may stop whenever its caller likes.

use super::block::Block;
use super::bound::{Decision, lower_bound};
use super::gram::{PairGram, Product};

/// How long a relaxation is worked on.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Stop when the bound is within this share of the relaxed value.
    pub tolerance: f64,
    /// Full products `M x` at most.
    pub products: usize,
    /// Slots in the small problem.
    pub block: usize,
}

/// A point of the relaxation, with the best lower bound seen on the way to it.
#[derive(Clone, Debug)]
pub struct Relaxed {
    /// The evicted share of each slot.
    pub x: Vec<f64>,
    /// `M x`.
    pub product: Product,
    /// A lower bound on the squared error of every admissible set.
    pub lower_bound: f64,
}

/// Improves on `start` until the effort is spent, or `watch`, which hears of every new bound, returns false. Slots
/// that are decided must already have their value in `start`.
#[must_use]
pub fn relax(
    gram: &dyn PairGram,
    decisions: &[Decision],
    count: usize,
    start: Vec<f64>,
    effort: Effort,
    watch: &mut dyn FnMut(f64) -> bool,
) -> Relaxed {
    let product = gram.product(&start);
    let bound = lower_bound(&product, decisions, count);
    let mut relaxed = Relaxed { x: start, product, lower_bound: bound };
    for _ in 1..effort.products {
        let value = relaxed.product.value;
        if !watch(relaxed.lower_bound) || value - relaxed.lower_bound <= effort.tolerance * value {
            break;
        }
        let slots = violating(&relaxed, decisions, effort.block);
        if !improve(gram, &slots, &mut relaxed.x, &relaxed.product, effort.tolerance) {
            break;
        }
        relaxed.product = gram.product(&relaxed.x);
        relaxed.lower_bound = relaxed.lower_bound.max(lower_bound(&relaxed.product, decisions, count));
    }
    relaxed
}

/// The open slots that could rise with the least gradient and those that could fall with the largest, ascending.
fn violating(relaxed: &Relaxed, decisions: &[Decision], most: usize) -> Vec<usize> {
    let open = (0..decisions.len()).filter(|&slot| decisions[slot] == Decision::Open);
    let gradient = |slot: &usize| relaxed.product.values[*slot];
    let mut rising: Vec<usize> = open.clone().filter(|&slot| relaxed.x[slot] < 1.0).collect();
    let mut falling: Vec<usize> = open.filter(|&slot| relaxed.x[slot] > 0.0).collect();
    keep_first(&mut rising, most / 2, |one, two| gradient(one).total_cmp(&gradient(two)));
    keep_first(&mut falling, most / 2, |one, two| gradient(two).total_cmp(&gradient(one)));
    rising.append(&mut falling);
    rising.sort_unstable();
    rising.dedup();
    rising
}

/// Keeps the first `most` elements of an order, in any order; ties go to the lower slot.
pub(super) fn keep_first(
    slots: &mut Vec<usize>,
    most: usize,
    order: impl Fn(&usize, &usize) -> std::cmp::Ordering,
) {
    if most < slots.len() {
        slots.select_nth_unstable_by(most, |one, two| order(one, two).then(one.cmp(two)));
        slots.truncate(most);
    }
}

/// Solves the relaxation over `slots` alone; false where nothing moved.
fn improve(gram: &dyn PairGram, slots: &[usize], x: &mut [f64], product: &Product, tolerance: f64) -> bool {
    let mut block = Block::new(gram.blocks(slots));
    let mut shares: Vec<f64> = slots.iter().map(|&slot| x[slot]).collect();
    let mut gradient: Vec<f64> = slots.iter().map(|&slot| product.values[slot]).collect();
    let moved = block.descend(&mut shares, &mut gradient, tolerance);
    for (&slot, share) in slots.iter().zip(shares) {
        x[slot] = share;
    }
    moved
}
