//! The sentences of prose.

/// Words with a dot that does not end a sentence.
const ABBREVIATIONS: [&str; 9] = ["Mr", "Mrs", "Ms", "Dr", "St", "Capt", "Prof", "Rev", "No"];

/// Marks before a sentence's first letter and after its last mark.
const QUOTES: &[char] = &['"', '\'', '“', '”', '‘', '’', '(', ')', '[', ']', '—'];

/// One sentence, with single spaces between words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) text: String,
    /// Whether a blank line follows.
    pub(super) ends_paragraph: bool,
}

/// The sentences of a text with blank lines between paragraphs.
pub(super) fn sentences(text: &str) -> Vec<Sentence> {
    let mut found = Vec::new();
    let mut paragraph = Vec::new();
    for line in text.lines().chain([""]) {
        paragraph.extend(line.split_whitespace());
        if line.trim().is_empty() {
            found.extend(paragraph_sentences(&paragraph));
            paragraph.clear();
        }
    }
    found
}

fn paragraph_sentences(words: &[&str]) -> Vec<Sentence> {
    let ends = |index: usize| words.get(index + 1).is_none_or(|next| ends_between(words[index], next));
    let mut found = Vec::new();
    let mut start = 0;
    for end in (0..words.len()).filter(|&index| ends(index)) {
        let text = words[start..=end].join(" ");
        found.push(Sentence { text, ends_paragraph: end + 1 == words.len() });
        start = end + 1;
    }
    found
}

/// Whether a sentence ends between two words of a paragraph.
fn ends_between(word: &str, next: &str) -> bool {
    let word = word.trim_matches(QUOTES);
    let abbreviates = |stem: &str| ABBREVIATIONS.contains(&stem) || stem.chars().count() == 1;
    let ends = word.ends_with(['?', '!']) || word.strip_suffix('.').is_some_and(|stem| !abbreviates(stem));
    let begins =
        next.trim_start_matches(QUOTES).starts_with(|first: char| first.is_uppercase() || first.is_numeric());
    ends && begins
}
