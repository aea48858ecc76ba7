//! LongBench's measure for summaries: ROUGE-L as the PyPI package `rouge` 1.0.1 computes it.
//!
//! That package's summary-level ROUGE-L counts distinct words, unlike Lin's. Sentences end at every full stop, and with U
//! the set of all words in a longest common subsequence (LCS) of any reference sentence and any answer sentence,
//!
//! ```text
//! P = |U| / |words(answer)|,   R = |U| / |words(reference)|,   F = 2 P R / (P + R + 1e-8)
//! ```
//!
//! where `words` are sets as well. White space between full stops is a sentence of one empty word. For a pair of sentences
//! that is too long for Python's recursion (about 1000 words together) the package fails and LongBench scores 0; here such
//! sentences are scored like any others.

use std::collections::BTreeSet;

use super::python::words;

/// F; 0 for an answer or a reference that consists of full stops.
pub(super) fn score(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (sentences(answer), sentences(reference));
    if answer.is_empty() || reference.is_empty() {
        return 0.0;
    }
    let mut common = BTreeSet::new();
    for sentence in &reference {
        for other in &answer {
            common.extend(common_subsequence(sentence, other));
        }
    }
    let share = |sentences: &[Vec<&str>]| {
        let words: BTreeSet<_> = sentences.iter().flatten().collect();
        common.len() as f64 / words.len() as f64
    };
    let (precision, recall) = (share(&answer), share(&reference));
    2.0 * (precision * recall / (precision + recall + 1e-8))
}

fn sentences(text: &str) -> Vec<Vec<&str>> {
    let words_or_one = |sentence| {
        let words: Vec<_> = words(sentence).collect();
        if words.is_empty() { vec![""] } else { words }
    };
    text.split('.').filter(|sentence| !sentence.is_empty()).map(words_or_one).collect()
}

/// The longest common subsequence, read from the end; of several, the one that stays longest in `x`.
fn common_subsequence<'a>(x: &[&'a str], y: &[&str]) -> Vec<&'a str> {
    let len = common_lengths(x, y);
    let (mut i, mut j) = (x.len(), y.len());
    let mut common = Vec::new();
    while i > 0 && j > 0 {
        if x[i - 1] == y[j - 1] {
            common.push(x[i - 1]);
            (i, j) = (i - 1, j - 1);
        } else if len[i - 1][j] > len[i][j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    common
}

/// `len[i][j]`: the length of the longest common subsequence of `x[..i]` and `y[..j]`.
fn common_lengths(x: &[&str], y: &[&str]) -> Vec<Vec<usize>> {
    let mut len = vec![vec![0; y.len() + 1]; x.len() + 1];
    for i in 1..=x.len() {
        for j in 1..=y.len() {
            len[i][j] =
                if x[i - 1] == y[j - 1] { len[i - 1][j - 1] + 1 } else { len[i - 1][j].max(len[i][j - 1]) };
        }
    }
    len
}
