//! Whether an answer contains a reference: RULER's measure.

/// 1 if `lower(reference)` is part of `lower(answer)`, else 0.
pub(super) fn score(answer: &str, reference: &str) -> f64 {
    f64::from(answer.to_lowercase().contains(&reference.to_lowercase()))
}
