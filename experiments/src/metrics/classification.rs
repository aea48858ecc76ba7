//! LongBench's measure for trec.

/// `1/k` if the reference is among the k classes that the answer names, else 0.
///
/// A named class that is part of the reference, but not the reference, is removed from the list. As in LongBench, the
/// removal happens during the pass over the list, so the class after a removed one is skipped.
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
