//! LongBench's measure for questions with short answers, taken from SQuAD.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::python::words;

/// `2 P R / (P + R)`, P and R the shares of common words, as multisets, in the answer and in the reference.
///
/// Words are lowercase, without ASCII punctuation and the articles a, an and the.
pub(super) fn score(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (normalise(answer), normalise(reference));
    let (answer, reference) = (frequencies(&answer), frequencies(&reference));
    let common: usize =
        answer.iter().map(|(word, &count)| count.min(reference.get(word).copied().unwrap_or(0))).sum();
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / answer.values().sum::<usize>() as f64;
    let recall = common as f64 / reference.values().sum::<usize>() as f64;
    2.0 * precision * recall / (precision + recall)
}

fn frequencies(text: &str) -> BTreeMap<&str, usize> {
    let mut frequencies = BTreeMap::new();
    words(text).for_each(|word| *frequencies.entry(word).or_default() += 1);
    frequencies
}

fn normalise(text: &str) -> String {
    // A word in the sense of Python's \b.
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").expect("a valid pattern"));
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let without_article = |word: &Captures<'_>| match &word[0] {
        "a" | "an" | "the" => " ".to_owned(),
        other => other.to_owned(),
    };
    WORD.replace_all(&plain, without_article).into_owned()
}
