//! LongBench's measure for trec.

/// `1/k` if the reference is among the k classes that the answer names, else 0.
///
/// A named class that is part of the reference, but not the reference, is struck off the list; LongBench does so while
/// it walks along the list, and so passes over the class behind each that it strikes off. So does this.
pub(super) fn score(answer: &str, reference: &str, classes: &[String]) -> f64 {
    let mut named: Vec<&str> =
        classes.iter().map(String::as_str).filter(|&class| answer.contains(class)).collect();
    let mut index = 0;
    while let Some(&class) = named.get(index) {
        if class != reference && reference.contains(class) {
            let first = named.iter().position(|&other| other == class);
            named.remove(first.unwrap_or(index));
        }
        index += 1;
    }
    if named.contains(&reference) { 1.0 / named.len() as f64 } else { 0.0 }
}
