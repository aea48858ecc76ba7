//! The sentences of prose.

use unicode_segmentation::UnicodeSegmentation;

/// Words with a dot that does not end a sentence.
const ABBREVIATIONS: [&str; 9] = ["Mr", "Mrs", "Ms", "Dr", "St", "Capt", "Prof", "Rev", "No"];

/// Marks before a sentence's first letter and after its last mark.
const QUOTES: &[char] = &['"', '\'', '“', '”', '‘', '’', '(', ')', '[', ']', '—'];

/// The bytes of the longest sentence. Text without a sentence's end, such as a list of words, has longer ones.
pub(super) const LONGEST: usize = 1024;

/// The bytes of the parts into which a longer sentence is cut.
const PART: usize = 128;

/// One sentence, with single spaces between words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence<T> {
    pub(super) text: T,
    /// The white space before the next one: none in scripts without spaces, a blank line at a paragraph's end.
    pub(super) gap: &'static str,
}

impl Sentence<String> {
    pub(super) fn as_ref(&self) -> Sentence<&str> {
        Sentence { text: &self.text, gap: self.gap }
    }
}

/// The sentences of a text with blank lines between paragraphs.
pub(super) fn sentences(text: &str) -> Vec<Sentence<String>> {
    let mut found = Vec::new();
    let mut paragraph = Vec::new();
    for line in text.lines().chain([""]) {
        paragraph.extend(line.split_whitespace());
        if line.trim().is_empty() {
            add_paragraph(&paragraph.join(" "), &mut found);
            paragraph.clear();
        }
    }
    found
}

fn add_paragraph(paragraph: &str, found: &mut Vec<Sentence<String>>) {
    let mut rest = paragraph;
    while !rest.is_empty() {
        let (mut sentence, after) = rest.split_at(sentence_len(rest));
        let is_long = sentence.len() > LONGEST;
        while !sentence.is_empty() {
            let part = if is_long { beginning(sentence, PART) } else { sentence };
            sentence = &sentence[part.len()..];
            let gap = if part.ends_with(' ') || sentence.starts_with(' ') { " " } else { "" };
            found.push(Sentence { text: part.trim().to_owned(), gap });
        }
        rest = after;
    }
    if let Some(last) = found.last_mut().filter(|_| !paragraph.is_empty()) {
        last.gap = "\n\n";
    }
}

/// The bytes of a paragraph's first sentence, the space after it included.
///
/// Sentences end as Unicode says (UAX #29), but neither after an abbreviation nor before a lowercase letter.
fn sentence_len(paragraph: &str) -> usize {
    let mut ends = paragraph.split_sentence_bound_indices().map(|(start, _)| start).skip(1);
    ends.find(|&end| ends_between(&paragraph[..end], &paragraph[end..])).unwrap_or(paragraph.len())
}

fn ends_between(before: &str, after: &str) -> bool {
    let word = before.split_whitespace().next_back().unwrap_or_default().trim_matches(QUOTES);
    let abbreviates = |stem: &str| ABBREVIATIONS.contains(&stem) || stem.chars().count() == 1;
    let continues = after.trim_start_matches(QUOTES).starts_with(char::is_lowercase);
    !continues && !word.strip_suffix('.').is_some_and(abbreviates)
}

/// The longest beginning of at most `len` bytes that ends with a space. If that takes less than three quarters of them, the
/// longest one that ends with a word; if that does, too, with a grapheme. At least one grapheme.
pub(super) fn beginning(text: &str, len: usize) -> &str {
    if text.len() <= len {
        return text;
    }
    let last = |ends: &mut dyn Iterator<Item = usize>| ends.take_while(|&end| end <= len).last();
    let most = |end: &usize| 4 * end >= 3 * len;
    let spaces = || last(&mut text.match_indices(' ').map(|(start, _)| start + 1)).filter(most);
    let words =
        || last(&mut text.split_word_bound_indices().map(|(start, word)| start + word.len())).filter(most);
    let mut graphemes = text.grapheme_indices(true).map(|(start, grapheme)| start + grapheme.len());
    let first = graphemes.next().unwrap_or(0);
    &text[..spaces().or_else(words).or_else(|| last(&mut graphemes)).unwrap_or(first)]
}
