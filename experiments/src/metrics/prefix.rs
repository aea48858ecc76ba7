//! How far an answer goes right from its beginning: partial credit for numbers that are said digit by digit.

/// The share of the reference's characters that the answer, without white space before it, begins with.
pub fn score(answer: &str, reference: &str) -> f64 {
    let right = answer.trim_start().chars().zip(reference.chars()).take_while(|(one, two)| one == two);
    right.count() as f64 / reference.chars().count().max(1) as f64
}
