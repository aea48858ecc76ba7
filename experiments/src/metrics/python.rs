//! Python's splitting of texts, as the benchmarks' programs use it.

use std::sync::LazyLock;

use regex::Regex;

/// `re.findall(r"\d+", text)`.
pub(super) fn numbers(text: &str) -> impl Iterator<Item = &str> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+").expect("a valid pattern"));
    NUMBER.find_iter(text).map(|found| found.as_str())
}

/// `text.split()`; Python also splits at the four ASCII separators.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `text.lstrip("\n").split("\n")[0]`.
pub(super) fn first_line(text: &str) -> &str {
    text.trim_start_matches('\n').split('\n').next().unwrap_or_default()
}
