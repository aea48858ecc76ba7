//! Generated prompts: drawn from a seed and sized to a length.

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::depth::Depth;
use super::prompt::{Facets, Prompt};
use super::request::Request;
use super::size::Size;
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
    /// The largest part of a size; 0 for lists.
    const LONGEST_PART: usize = 0;

    /// The depth of the sentence with the answer.
    fn depth(&self) -> Option<Depth> {
        None
    }

    /// A prompt of a size; its text grows with the size.
    ///
    /// The answer is drawn before everything that depends on the size.
    fn draft(&self, request: &Request, size: Size, rng: ChaCha8Rng) -> Draft;

    /// The largest number of sentences or words. Those that the tokenizer makes nothing of have an end, too.
    fn largest(&self, request: &Request) -> usize {
        4 * request.context_len
    }
}

/// The prompts of a request, each of the largest size that fits.
pub(super) fn generate<G: Generator>(
    task: &Task,
    generators: impl IntoIterator<Item = G>,
    request: &Request,
    model: &Model,
) -> Result<Vec<Prompt>> {
    let generators: Vec<G> = generators.into_iter().collect();
    let samples = request.samples.unwrap_or(SAMPLES);
    let all = samples * generators.len();
    let limit = request.limit.map_or(all, |limit| limit.min(all));
    // Spread evenly over the generators.
    let before = |index: usize| (limit * index).div_ceil(generators.len());
    let prompts = generators.iter().enumerate().flat_map(|(index, generator)| {
        let samples = 0..before(index + 1) - before(index);
        samples.map(move |sample| prompt(task, generator, sample, request, model))
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
    let size = largest_that_fits(request.context_len, generator.largest(request), G::LONGEST_PART, count);
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

/// The largest size whose token count is at most `context_len`. The next sentence is cut only if a tenth of the length, or
/// more, is left for it.
fn largest_that_fits(
    context_len: usize,
    largest: usize,
    longest_part: usize,
    count: impl Fn(Size) -> Result<usize>,
) -> Result<Size> {
    let mut size = Size { whole: 0, part: 0 };
    let shortest = count(size)?;
    ensure!(
        shortest <= context_len,
        "context length: expected at least {shortest} tokens, found {context_len}"
    );
    let fits = |size: Size| Ok(count(size)? <= context_len);
    let mut too_large = largest.min(1);
    while fits(Size { whole: too_large, ..size })? {
        ensure!(too_large < largest, "context length {context_len}: expected a haystack of more words");
        (size.whole, too_large) = (too_large, largest.min(2 * too_large));
    }
    size.whole = bisect(size.whole, too_large, |whole| fits(Size { whole, ..size }))?;
    if 10 * (context_len - count(size)?) >= context_len {
        size.part = bisect(0, longest_part + 1, |part| fits(Size { part, ..size }))?;
    }
    Ok(size)
}

/// The largest number below `too_large` that fits.
fn bisect(mut fitting: usize, mut too_large: usize, fits: impl Fn(usize) -> Result<bool>) -> Result<usize> {
    while fitting + 1 < too_large {
        let middle = fitting.midpoint(too_large);
        if fits(middle)? {
            fitting = middle;
        } else {
            too_large = middle;
        }
    }
    Ok(fitting)
}
