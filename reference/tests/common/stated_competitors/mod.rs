//! The scores of the competing policies, stated a second time: `[Hkv][n - w]`, unpooled unless said. A file per kind of score.

pub mod attention;
pub mod keys;
pub mod outputs;
pub mod supplied;

use crate::common::compare::Stated;
use crate::common::problem::Problem;
use crate::common::stated_scores::{mean, per_slot};
use crate::common::statement::PerKey;

type Scores = Vec<Vec<Stated>>;

/// `mean over the group of f(h, i)`.
pub(super) fn group_mean(problem: &Problem, of_head: impl Fn(usize, usize) -> Stated) -> Scores {
    per_slot(problem, |group, i| mean(&group.iter().map(|&h| of_head(h, i)).collect::<Vec<_>>()))
}

pub(super) fn group_sum(problem: &Problem, of_head: impl Fn(usize, usize) -> Stated) -> Scores {
    per_slot(problem, |group, i| sum(group.iter().map(|&h| of_head(h, i))))
}

pub(super) fn sum(terms: impl Iterator<Item = Stated>) -> Stated {
    terms.fold(Stated::default(), Stated::plus)
}

pub(super) fn squared(x: Stated) -> Stated {
    x.product(x)
}

pub(super) fn minus(x: Stated, y: Stated) -> Stated {
    x.plus(y.times(-1.0))
}

pub(super) fn size(numbers: &[f64]) -> Stated {
    Stated::of(numbers.iter().map(|x| x.abs()).sum())
}

/// The window's rows are those from `first` on.
pub(super) fn rows_from(weights: &PerKey<f64>, head: usize, first: usize, position: usize) -> Vec<f64> {
    weights[head].iter().skip(first).map(|row| row[position]).collect()
}

/// `x / y` of numbers above zero, each off by the rounding times its magnitude.
pub(super) fn quotient(x: Stated, y: Stated) -> Stated {
    if y.value == 0.0 {
        return Stated::default();
    }
    Stated {
        value: x.value / y.value,
        magnitude: x.magnitude / y.value + x.value * y.magnitude / (y.value * y.value),
    }
}
