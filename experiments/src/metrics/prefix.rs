//! The right beginning of an answer: partial credit for numbers, which models write digit by digit.

/// The share of the reference in the common prefix with the answer, without the answer's leading white space.
pub fn score(answer: &str, reference: &str) -> f64 {
    let right = answer.trim_start().chars().zip(reference.chars()).take_while(|(one, two)| one == two);
    right.count() as f64 / reference.chars().count().max(1) as f64
}
