//! A chain of assignments scattered over prose, after RULER's variable tracking (arXiv 2404.06654).

use std::iter;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::generate::{Draft, Generator};
use super::haystack::Hidden;
use super::request::Request;
use super::sentences::LONGEST;
use super::size::Size;

/// The number of assignments from a variable to a variable.
const HOPS: usize = 4;

/// One variable gets a number, and each of `HOPS` others gets the one before it. Asks for all variables with the number.
pub(super) struct VariableTracking;

impl Generator for VariableTracking {
    const MAX_NEW_TOKENS: usize = 64;
    const LONGEST_PART: usize = LONGEST;

    fn draft(&self, request: &Request, size: Size, mut rng: ChaCha8Rng) -> Draft {
        let excerpt = request.haystack.excerpt(size, &mut rng);
        let variables = draw_names(&mut rng, HOPS + 1);
        let number = rng.random_range(10_000..100_000).to_string();
        let first = format!("VAR {} = {number}.", variables[0]);
        let further = variables.windows(2).map(|pair| format!("VAR {} = VAR {}.", pair[1], pair[0]));
        let mut depths: Vec<f64> = (0..=HOPS).map(|_| rng.random()).collect();
        depths.sort_unstable_by(f64::total_cmp);
        let hide = |(depth, sentence)| Hidden { boundary: excerpt.boundary_at(depth), sentence };
        let hidden: Vec<_> = depths.into_iter().zip(iter::once(first).chain(further)).map(hide).collect();
        let text = excerpt.hide(&hidden);
        Draft {
            context: format!(
                "Variables are assigned in the following text. Follow the assignments.\n\n{text}"
            ),
            question: format!(
                "\n\nWhich variables have the value {number}, directly or through another variable?"
            ),
            answer_prefix: format!("These {} variables have the value {number}:\n1. VAR", HOPS + 1),
            references: variables,
        }
    }
}

/// Distinct names of five capital letters.
fn draw_names(rng: &mut ChaCha8Rng, count: usize) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    while names.len() < count {
        let name = (0..5).map(|_| char::from(rng.random_range(b'A'..=b'Z'))).collect();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
