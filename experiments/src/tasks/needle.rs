//! Numbers hidden in prose, after the needle tasks of RULER (arXiv 2404.06654).

use std::iter;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::depth::Depth;
use super::generate::{Draft, Generator};
use super::haystack::Hidden;
use super::request::Request;
use super::sentences::LONGEST;
use super::size::Size;

/// A thing with a number is an adjective and a noun; *Moby-Dick* has no such pair.
const ADJECTIVES: &str = "amber ancient brave bright calm clever crimson curious distant eager frozen gentle golden \
    hidden jolly mellow polished quiet rustic silver sturdy velvet violet wandering";
const NOUNS: &str = "accordion balloon bicycle cactus camera carousel computer dolphin elevator festival giraffe \
    guitar library microscope museum orchestra panda penguin pyramid robot telescope tractor \
    umbrella volcano";

/// `keys` things have a number each. Asks for the first one's; the others are at random depths.
pub(super) struct Needle {
    pub(super) keys: usize,
    pub(super) depth: Depth,
}

/// One thing has `values` numbers at random depths. Asks for all of them.
pub(super) struct Multivalue {
    pub(super) values: usize,
}

impl Generator for Needle {
    const MAX_NEW_TOKENS: usize = 16;
    const LONGEST_PART: usize = LONGEST;

    fn depth(&self) -> Option<Depth> {
        Some(self.depth)
    }

    fn draft(&self, request: &Request, size: Size, mut rng: ChaCha8Rng) -> Draft {
        let excerpt = request.haystack.excerpt(size, &mut rng);
        let keys = draw_keys(&mut rng, self.keys);
        let values = draw_values(&mut rng, self.keys);
        let depths = iter::once(self.depth.fraction()).chain(iter::repeat_with(|| rng.random()));
        let needle = |((key, value), depth): ((&String, &String), f64)| Hidden {
            boundary: excerpt.boundary_at(depth),
            sentence: format!("The secret number of the {key} is {value}."),
        };
        let needles: Vec<_> = keys.iter().zip(&values).zip(depths).map(needle).collect();
        let text = excerpt.hide(&needles);
        let key = &keys[0];
        Draft {
            context: format!("A secret number is hidden in the following text. Remember it.\n\n{text}"),
            question: format!("\n\nWhat is the secret number of the {key} mentioned in the text?"),
            answer_prefix: format!("The secret number of the {key} is"),
            references: vec![values[0].clone()],
        }
    }
}

impl Generator for Multivalue {
    const MAX_NEW_TOKENS: usize = 64;
    const LONGEST_PART: usize = LONGEST;

    fn draft(&self, request: &Request, size: Size, mut rng: ChaCha8Rng) -> Draft {
        let excerpt = request.haystack.excerpt(size, &mut rng);
        let key = &draw_keys(&mut rng, 1)[0];
        let values = draw_values(&mut rng, self.values);
        let needle = |value: &String| Hidden {
            boundary: excerpt.boundary_at(rng.random()),
            sentence: format!("One of the secret numbers of the {key} is {value}."),
        };
        let needles: Vec<_> = values.iter().map(needle).collect();
        let text = excerpt.hide(&needles);
        Draft {
            context: format!(
                "Some secret numbers are hidden in the following text. Remember them.\n\n{text}"
            ),
            question: format!("\n\nWhat are all the secret numbers of the {key} mentioned in the text?"),
            answer_prefix: format!("The secret numbers of the {key} are:\n1."),
            references: values,
        }
    }
}

/// Names without a common word.
fn draw_keys(rng: &mut ChaCha8Rng, count: usize) -> Vec<String> {
    let mut draw = |words: &'static str| {
        let words: Vec<&str> = words.split(' ').collect();
        words.sample(rng, count).copied().collect::<Vec<_>>()
    };
    let (adjectives, nouns) = (draw(ADJECTIVES), draw(NOUNS));
    adjectives.iter().zip(nouns).map(|(adjective, noun)| format!("{adjective} {noun}")).collect()
}

/// Distinct numbers of seven digits.
fn draw_values(rng: &mut ChaCha8Rng, count: usize) -> Vec<String> {
    let numbers = rand::seq::index::sample(rng, 9_000_000, count);
    numbers.iter().map(|number| (1_000_000 + number).to_string()).collect()
}
