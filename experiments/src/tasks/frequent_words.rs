//! Coded words whose frequencies follow Zipf's law, after RULER's frequent words (arXiv 2404.06654).

use std::collections::BTreeSet;
use std::f64::consts::PI;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::generate::{Draft, Generator};
use super::request::Request;
use super::size::Size;

/// The number of words in the answer.
const FREQUENT: usize = 3;

/// The least N for which the three words are more frequent than the rest: N (1/16 - 1/25) / zeta(2) >= 1.
const LEAST: usize = 74;

/// Asks for the second to fourth most frequent word; the most frequent one is replaced by dots.
pub(super) struct FrequentWords;

impl Generator for FrequentWords {
    const MAX_NEW_TOKENS: usize = 50;

    fn draft(&self, request: &Request, size: Size, mut rng: ChaCha8Rng) -> Draft {
        let mut words = vec!["...".to_owned()];
        words.extend(draw_words(&mut rng, request.context_len / 50 + FREQUENT));
        let mut text: Vec<&str> = Vec::new();
        for (word, rank) in words.iter().zip(1..) {
            text.extend(std::iter::repeat_n(word.as_str(), frequency(rank, LEAST + size.whole)));
        }
        text.shuffle(&mut rng);
        let text = text.join(" ");
        Draft {
            context: format!("Count how often each coded word occurs in the following text.\n\n{text}"),
            question: "\n\nWhich three coded words occur most often in the text? The dots do not count."
                .to_owned(),
            answer_prefix: "The three coded words that occur most often are:\n1.".to_owned(),
            references: words[1..=FREQUENT].to_vec(),
        }
    }
}

/// `floor(N * rank^-2 / zeta(2))`.
fn frequency(rank: usize, draws: usize) -> usize {
    let zeta = PI * PI / 6.0;
    (draws as f64 / (rank * rank) as f64 / zeta) as usize
}

/// Distinct words of six letters.
fn draw_words(rng: &mut ChaCha8Rng, count: usize) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let word = || (0..6).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect::<String>();
    std::iter::repeat_with(word).filter(|word| seen.insert(word.clone())).take(count).collect()
}
