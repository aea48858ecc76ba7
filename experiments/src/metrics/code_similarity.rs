//! LongBench's measure for code: `fuzz.ratio` of the PyPI package `fuzzywuzzy` 0.18.
//!
//! That function depends on the installed packages. With `python-Levenshtein` it is twice the longest common subsequence
//! over both lengths. Without, as with LongBench's requirements and here, it is the ratio of Python's `difflib`.

use super::matching_blocks;

/// `round(100 * ratio) / 100` of the answer's first line of code and the reference, halves rounded to even.
pub(super) fn score(answer: &str, reference: &str) -> f64 {
    let line = first_line_of_code(answer);
    if line == reference {
        return 1.0;
    }
    if line.is_empty() || reference.is_empty() {
        return 0.0;
    }
    let (line, reference): (Vec<char>, Vec<char>) = (line.chars().collect(), reference.chars().collect());
    (100.0 * matching_blocks::ratio(&line, &reference)).round_ties_even() / 100.0
}

/// The first line without a backtick, `#` or `//`. Empty lines at the beginning do not count.
fn first_line_of_code(answer: &str) -> &str {
    let is_code = |line: &&str| !(line.contains(['`', '#']) || line.contains("//"));
    answer.trim_start_matches('\n').split('\n').find(is_code).unwrap_or_default()
}
