//! The prose that hides needles and variables.

use anyhow::{Result, ensure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::sentences::{Sentence, sentences};

/// A long text, cut into sentences. Reading continues at its beginning after its end.
#[derive(Clone, Debug)]
pub struct Haystack {
    sentences: Vec<Sentence>,
}

/// `len` consecutive sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    start: usize,
    len: usize,
}

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
        let sentences = sentences(text);
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

    /// Consecutive sentences from a random one on.
    pub(super) fn excerpt(&self, len: usize, rng: &mut ChaCha8Rng) -> Excerpt {
        Excerpt { start: rng.random_range(0..self.sentences.len()), len }
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

    /// The sentence boundary of an excerpt, `0..=len`, that is nearest to a depth, a fraction of its characters.
    pub(super) fn boundary_at(&self, excerpt: Excerpt, depth: f64) -> usize {
        let mut ends = vec![0];
        ends.extend(self.read(excerpt).scan(0, |end, sentence| {
            *end += sentence.text.chars().count() + 1;
            Some(*end)
        }));
        let target = ends[excerpt.len] as f64 * depth;
        let distance = |boundary: &usize| (ends[*boundary] as f64 - target).abs();
        let nearest = (0..=excerpt.len).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.unwrap_or(0)
    }

    /// The excerpt with the hidden sentences in it. Sentences at one boundary keep their order.
    pub(super) fn hide(&self, excerpt: Excerpt, hidden: &[Hidden]) -> String {
        let mut text = String::new();
        let put = |text: &mut String, boundary: usize| {
            for hidden in hidden.iter().filter(|hidden| hidden.boundary == boundary) {
                text.push_str(&hidden.sentence);
                text.push(' ');
            }
        };
        for (boundary, sentence) in self.read(excerpt).enumerate() {
            put(&mut text, boundary);
            text.push_str(&sentence.text);
            text.push_str(if sentence.ends_paragraph { "\n\n" } else { " " });
        }
        put(&mut text, excerpt.len);
        text.truncate(text.trim_end().len());
        text
    }

    fn read(&self, excerpt: Excerpt) -> impl Iterator<Item = &Sentence> {
        self.sentences.iter().cycle().skip(excerpt.start).take(excerpt.len)
    }
}
