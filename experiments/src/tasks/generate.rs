//! Generated prompts: drawn from a seed and sized to a length.

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::depth::Depth;
use super::prompt::{Facets, Prompt};
use super::request::Request;
use super::task::Task;
use crate::metrics::Metric;
use crate::model::Model;

/// Prompts per length and depth, unless the request says otherwise.
const SAMPLES: usize = 10;

/// The texts of a generated prompt.
pub(super) struct Draft {
    pub(super) context: String,
    pub(super) question: String,
    pub(super) answer_prefix: String,
    pub(super) references: Vec<String>,
}

/// A kind of generated prompt.
pub(super) trait Generator {
    /// The maximal length of an answer.
    const MAX_NEW_TOKENS: usize;

    /// The depth of the sentence with the answer.
    fn depth(&self) -> Option<Depth> {
        None
    }

    /// A prompt of a size, between 0 and `largest`; its text grows with the size.
    ///
    /// The answer is drawn before everything that depends on the size.
    fn draft(&self, request: &Request, size: usize, rng: ChaCha8Rng) -> Draft;

    /// The largest size.
    fn largest(&self, _request: &Request) -> usize {
        usize::MAX
    }
}

/// The prompts of a request, each of the largest size that fits.
pub(super) fn generate<G: Generator>(
    task: &Task,
    generators: impl IntoIterator<Item = G>,
    request: &Request,
    model: &Model,
) -> Result<Vec<Prompt>> {
    let samples = 0..request.samples.unwrap_or(SAMPLES);
    let prompts = generators.into_iter().flat_map(|generator| {
        samples.clone().map(move |sample| prompt(task, &generator, sample, request, model))
    });
    prompts.collect()
}

fn prompt<G: Generator>(
    task: &Task,
    generator: &G,
    sample: usize,
    request: &Request,
    model: &Model,
) -> Result<Prompt> {
    let facets =
        Facets { context_len: request.context_len, depth: generator.depth(), sample, truncated: false };
    let of_size = |size| {
        let rng = stream(request.seed, task, &facets);
        finish::<G>(generator.draft(request, size, rng), facets, request.seed)
    };
    let count = |size| of_size(size).count(model);
    let size = largest_that_fits(request.context_len, generator.largest(request), count);
    Ok(of_size(size.with_context(|| task.to_string())?))
}

fn finish<G: Generator>(draft: Draft, facets: Facets, seed: u64) -> Prompt {
    let depth = facets.depth.map_or(String::new(), |depth| format!("-depth{depth}"));
    Prompt {
        id: format!("length{}{depth}-sample{}-seed{seed}", facets.context_len, facets.sample),
        context: draft.context,
        question: draft.question,
        answer_prefix: draft.answer_prefix,
        chat: true,
        max_new_tokens: G::MAX_NEW_TOKENS,
        references: draft.references,
        metric: Metric::ContainsAll,
        facets,
    }
}

/// The random stream of one prompt: a hash of the seed, the task's name and the prompt's place in the task.
fn stream(seed: u64, task: &Task, facets: &Facets) -> ChaCha8Rng {
    let depth = facets.depth.map_or(u64::MAX, |depth| depth.percent().into());
    let place = [seed, facets.context_len as u64, depth, facets.sample as u64];
    let mixed = place.iter().fold(Sha256::new(), |mixed, number| mixed.chain_update(number.to_le_bytes()));
    ChaCha8Rng::from_seed(mixed.chain_update(task.to_string()).finalize().into())
}

/// The largest size up to `largest` whose token count is at most `context_len`.
fn largest_that_fits(
    context_len: usize,
    largest: usize,
    count: impl Fn(usize) -> Result<usize>,
) -> Result<usize> {
    let shortest = count(0)?;
    ensure!(
        shortest <= context_len,
        "context length: expected at least {shortest} tokens, found {context_len}"
    );
    let (mut fits, mut too_large) = (0, largest.min(1));
    while count(too_large)? <= context_len {
        ensure!(too_large < largest, "context length {context_len}: expected a haystack of more words");
        (fits, too_large) = (too_large, largest.min(2 * too_large));
    }
    while fits + 1 < too_large {
        let middle = fits.midpoint(too_large);
        if count(middle)? <= context_len {
            fits = middle;
        } else {
            too_large = middle;
        }
    }
    Ok(fits)
}
