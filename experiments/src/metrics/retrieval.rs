//! LongBench's measure for passage_retrieval_en.

use std::sync::LazyLock;

use regex::Regex;

use super::count;

/// `count(answer, i)` for the first `Paragraph i` that the reference names, 0 if it names none.
pub(super) fn score(answer: &str, reference: &str) -> f64 {
    static PARAGRAPH: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"Paragraph (\d+)").expect("a valid pattern"));
    PARAGRAPH.captures(reference).map_or(0.0, |found| count::score(answer, &found[1]))
}
