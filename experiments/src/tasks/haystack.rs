//! The prose that hides needles and variables.

use anyhow::{Result, ensure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::sentences::{Sentence, beginning, sentences};
use super::size::Size;

/// A long text, cut into sentences. Reading continues at its beginning after its end.
#[derive(Clone, Debug)]
pub struct Haystack {
    sentences: Vec<Sentence<String>>,
}

/// Consecutive sentences; the last one may be cut.
pub(super) struct Excerpt<'a>(Vec<Sentence<&'a str>>);

/// A sentence to hide, and its place: before sentence `boundary` of an excerpt, or at the excerpt's end.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    pub(super) boundary: usize,
    pub(super) sentence: String,
}

impl Haystack {
    /// Chapters 2 to 16 of *Moby-Dick*.
    pub const MOBY_DICK: &str = include_str!("../../tasks/haystack.txt");

    /// The sentences of a text.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(text: &str) -> Result<Self> {
        let sentences = sentences(text.trim_start_matches('\u{feff}'));
        ensure!(!sentences.is_empty(), "expected sentences, found an empty text");
        Ok(Self { sentences })
    }

    /// The haystack of [`Self::MOBY_DICK`].
    ///
    /// # Panics
    /// Never: the text is not empty.
    #[must_use]
    pub fn moby_dick() -> Self {
        Self::new(Self::MOBY_DICK).expect("the committed text has sentences")
    }

    /// The sentences in order, with single spaces between words.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        self.sentences.iter().map(|sentence| sentence.text.as_str())
    }

    /// Consecutive sentences from a random one on. The first bytes of the next one follow, as many as `size.part`.
    pub(super) fn excerpt(&self, size: Size, rng: &mut ChaCha8Rng) -> Excerpt<'_> {
        let start = rng.random_range(0..self.sentences.len());
        let mut sentences = self.sentences.iter().cycle().skip(start).map(Sentence::as_ref);
        let mut excerpt: Vec<_> = sentences.by_ref().take(size.whole).collect();
        if size.part > 0 {
            let next = sentences
                .next()
                .map(|next| Sentence { text: beginning(next.text, size.part).trim_end(), ..next });
            excerpt.extend(next);
        }
        Excerpt(excerpt)
    }

    /// The text's distinct lowercase words of at least four letters, in alphabetical order.
    pub(super) fn vocabulary(&self) -> Vec<&str> {
        let words = self.sentences().flat_map(|sentence| sentence.split([' ', '—']));
        let bare = words.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
        let plain = |word: &&str| word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_lowercase());
        let mut words: Vec<&str> = bare.filter(plain).collect();
        words.sort_unstable();
        words.dedup();
        words
    }
}

impl Excerpt<'_> {
    /// The boundary of sentences that is nearest to a depth, a fraction of the excerpt's characters.
    pub(super) fn boundary_at(&self, depth: f64) -> usize {
        let mut ends = vec![0];
        ends.extend(self.0.iter().scan(0, |end, sentence| {
            *end += sentence.text.chars().count() + 1;
            Some(*end)
        }));
        let target = ends[self.0.len()] as f64 * depth;
        let distance = |boundary: &usize| (ends[*boundary] as f64 - target).abs();
        let nearest = (0..=self.0.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.unwrap_or(0)
    }

    /// The excerpt with the hidden sentences in it. Sentences at one boundary keep their order.
    pub(super) fn hide(&self, hidden: &[Hidden]) -> String {
        let mut text = String::new();
        let put = |text: &mut String, boundary: usize| {
            for hidden in hidden.iter().filter(|hidden| hidden.boundary == boundary) {
                if !text.is_empty() && !text.ends_with(char::is_whitespace) {
                    text.push(' ');
                }
                text.push_str(&hidden.sentence);
                text.push(' ');
            }
        };
        for (boundary, sentence) in self.0.iter().enumerate() {
            put(&mut text, boundary);
            text.push_str(sentence.text);
            text.push_str(sentence.gap);
        }
        put(&mut text, self.0.len());
        text.truncate(text.trim_end().len());
        text
    }
}
