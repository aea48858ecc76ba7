//! A list with common and uncommon words, after RULER's common words (arXiv 2404.06654).

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::generate::{Draft, Generator};
use super::request::Request;
use super::size::Size;

/// The number of common words.
const COMMON: usize = 10;

/// The number of occurrences of a common and of an uncommon word.
struct Repeats {
    common: usize,
    uncommon: usize,
}

impl Repeats {
    /// RULER's numbers; lists of less than 4096 tokens have smaller ones.
    fn for_length(context_len: usize) -> Self {
        if context_len < 4096 { Self { common: 6, uncommon: 1 } } else { Self { common: 30, uncommon: 3 } }
    }
}

/// Asks for the ten common words of a numbered list.
pub(super) struct CommonWords;

impl Generator for CommonWords {
    const MAX_NEW_TOKENS: usize = 120;

    fn draft(&self, request: &Request, size: Size, mut rng: ChaCha8Rng) -> Draft {
        let mut vocabulary = request.haystack.vocabulary();
        vocabulary.shuffle(&mut rng);
        vocabulary.truncate(COMMON + size.whole);
        let (common, uncommon) = vocabulary.split_at(COMMON.min(vocabulary.len()));
        let repeats = Repeats::for_length(request.context_len);
        let mut list = [common.repeat(repeats.common), uncommon.repeat(repeats.uncommon)].concat();
        list.shuffle(&mut rng);
        let numbered = list.iter().zip(1..).map(|(word, number)| format!("{number}. {word}"));
        let list = numbered.collect::<Vec<_>>().join(" ");
        Draft {
            context: format!(
                "The following list repeats some words more often than others. Remember those.\n\n{list}"
            ),
            question: format!("\n\nWhich {COMMON} words occur most often in the list?"),
            answer_prefix: format!("The {COMMON} words that occur most often in the list are:\n1."),
            references: common.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    fn largest(&self, request: &Request) -> usize {
        request.haystack.vocabulary().len().saturating_sub(COMMON)
    }
}
