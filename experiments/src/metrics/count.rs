//! LongBench's measure for passage_count.

use super::python::numbers;

/// `|{x in numbers(answer) : x = reference}| / |numbers(answer)|`, 0 without numbers.
///
/// Numbers are compared as texts: `07` is not `7`.
pub(super) fn score(answer: &str, reference: &str) -> f64 {
    let right = numbers(answer).filter(|&number| number == reference).count();
    right as f64 / numbers(answer).count().max(1) as f64
}
