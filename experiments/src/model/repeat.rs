//! How much of its attention a model pays to each position of a context while it repeats the context.
//!
//! Behind the context runs, per chunk of 2048 of its tokens, a prompt that asks to repeat the chunk, and the chunk again
//! (KVzip, arXiv 2505.23416). Only the largest weights stay, so that memory does not grow with the prompt.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use laprox_fast::Level;
use laprox_reference::LayerIndex;
use rayon::prelude::*;

use super::attention::Exponentials;
use super::cache::{HeadCache, KvCache};
use super::config::Config;
use super::error::Result;
use super::forward::{Model, PREFILL_CHUNK};
use super::lane_sums::LANES;
use super::linear::with_numbers;
use super::observe::{Observer, Pass};

/// The tokens of a chunk.
const CHUNK: usize = 2048;
/// The first positions, which a softmax over a later chunk has, too.
const SINKS: usize = 4;
/// The tokens of a chunk that the prompt for the next one quotes.
const QUOTED: usize = 8;
/// The rows of a task.
const ROWS: usize = 64;

const FIRST_PROMPT: &str = "\n\nRepeat the previous context exactly.";
const LATER_PROMPT: &str = "\n\nRepeat the part of the previous context exactly, starting with";

/// The largest attention that each position of a context gets from its repetition.
#[derive(Clone, Debug)]
pub struct RepeatMaxima {
    layers: Vec<Maxima>,
}

/// One layer's: over the queries and the group `[Hkv, n]`, and over the queries alone, each over the norm of its input, `[H, n]`.
#[derive(Clone, Debug)]
struct Maxima {
    largest: Vec<f32>,
    relative: Vec<f32>,
}

impl RepeatMaxima {
    /// Both arrays of a layer.
    ///
    /// # Panics
    /// When the model has no such layer.
    #[must_use]
    pub fn layer(&self, layer: LayerIndex) -> [Vec<f32>; 2] {
        let Maxima { largest, relative } = &self.layers[layer.0];
        [largest.clone(), relative.clone()]
    }
}

impl Model {
    /// Lets the model repeat a context, whose cache holds it and nothing else.
    ///
    /// # Errors
    /// [`super::Error::Request`] when the model was not trained for context, prompt and chunk together.
    pub(super) fn repeat(&self, context: &[u32], cache: &KvCache) -> Result<RepeatMaxima> {
        let prompts = self.repeat_prompts(context)?;
        let longest = prompts.iter().map(|(_, prompt)| prompt.len()).max().unwrap_or(0);
        self.require_room(context.len() + longest)?;
        let every_entry: Vec<u32> = (0..context.len() as u32).collect();
        let mut observer = Repetition::new(self.config(), context.len());
        for (chunk, prompt) in prompts {
            observer.chunk = chunk;
            let mut cache = cache.retain(|_, _| &every_entry, prompt.len())?;
            self.prefill(&prompt, PREFILL_CHUNK, &mut cache, &mut observer)?;
        }
        Ok(RepeatMaxima { layers: observer.layers })
    }

    /// The most tokens that run behind a context to repeat it.
    ///
    /// # Errors
    /// [`super::Error::Tokenizer`] when the prompt has no tokens.
    pub fn repeat_len(&self, context: &[u32]) -> Result<usize> {
        Ok(self.repeat_prompts(context)?.iter().map(|(_, prompt)| prompt.len()).max().unwrap_or(0))
    }

    /// Each chunk of a context with the tokens that run behind the context to repeat it. Between the prompt and the chunk
    /// stands the text that a chat template has after a user's message, or a line's end if there is no template.
    fn repeat_prompts(&self, context: &[u32]) -> Result<Vec<(Range<usize>, Vec<u32>)>> {
        let tokens = |text: &str| self.tokenizer().encode_further(text);
        let answer = tokens(&self.chat().after_message().unwrap_or_else(|| "\n".to_owned()))?;
        let prompt = |first: usize| {
            let chunk = first..(first + CHUNK).min(context.len());
            let mut prompt = tokens(if first == 0 { FIRST_PROMPT } else { LATER_PROMPT })?;
            prompt.extend_from_slice(&context[first.saturating_sub(QUOTED)..first]);
            prompt.extend_from_slice(&answer);
            prompt.extend_from_slice(&context[chunk.clone()]);
            Ok((chunk, prompt))
        };
        (0..context.len()).step_by(CHUNK).map(prompt).collect()
    }
}

/// Keeps the maxima of a chunk while its repetition runs.
struct Repetition {
    context_len: usize,
    chunk: Range<usize>,
    scale: f32,
    layers: Vec<Maxima>,
}

impl Repetition {
    fn new(config: &Config, context_len: usize) -> Self {
        let zero = || Maxima {
            largest: vec![0.0; config.kv_heads * context_len],
            relative: vec![0.0; config.query_heads * context_len],
        };
        let layers = (0..config.layers).map(|_| zero()).collect();
        Self { context_len, chunk: 0..0, scale: config.attention_scale() as f32, layers }
    }

    /// The entries that a softmax runs over, as far as the chunk's end: the first ones, the chunk, then the prompt's own.
    fn entries(&self, cached: usize) -> [Range<usize>; 3] {
        [0..SINKS.min(self.chunk.start), self.chunk.clone(), self.context_len..cached]
    }
}

impl Observer for Repetition {
    fn attention(&mut self, pass: &Pass<'_>) -> Result<()> {
        let (heads, rows, dim) = pass.queries.dims3()?;
        let norms: Vec<f32> = pass.input.sqr()?.sum(1)?.sqrt()?.to_vec1()?;
        let tasks = (0..heads).flat_map(|head| (0..rows).step_by(ROWS).map(move |first| (head, first)));
        let tasks: Vec<(usize, usize)> = tasks.collect();
        let group_size = heads / pass.heads.len();
        let found: Vec<[Vec<f32>; 2]> = with_numbers(pass.queries, |queries| {
            let task = |&(head, first): &(usize, usize)| {
                let count = ROWS.min(rows - first);
                let rows = Rows {
                    queries: &queries[(head * rows + first) * dim..][..count * dim],
                    norms: &norms[first..first + count],
                    cached: pass.first_position + first + 1,
                    dim,
                };
                self.maxima(&rows, &pass.heads[head / group_size])
            };
            tasks.par_iter().map(task).collect()
        })?;
        let Maxima { largest, relative } = &mut self.layers[pass.layer.0];
        for ((head, _), [own, own_relative]) in tasks.into_iter().zip(found) {
            let into = |all: &mut [f32], head: usize, own: Vec<f32>| {
                let place = &mut all[head * self.context_len..][self.chunk.clone()];
                place.iter_mut().zip(own).for_each(|(most, own)| *most = most.max(own));
            };
            into(largest, head / group_size, own);
            into(relative, head, own_relative);
        }
        Ok(())
    }
}

/// Some consecutive rows of a query head.
struct Rows<'a> {
    queries: &'a [f32],
    /// `norm2(x_t)` of each row.
    norms: &'a [f32],
    /// The entries that the first row sees; each further row sees one more.
    cached: usize,
    dim: usize,
}

impl Repetition {
    /// The largest weight of each of the chunk's positions, and the largest over the norm of its row's input.
    fn maxima(&self, rows: &Rows<'_>, cache: &HeadCache) -> [Vec<f32>; 2] {
        let (count, dim) = (rows.norms.len(), rows.dim);
        let parts = self.entries(rows.cached + count - 1);
        let stride = parts.iter().map(Range::len).sum::<usize>().next_multiple_of(LANES);
        let mut logits = vec![0.0; count * stride];
        let queries = MatRef::from_row_major_slice(rows.queries, count, dim);
        let (mut rest, mut wide) = (MatMut::from_row_major_slice_mut(&mut logits, count, stride), Vec::new());
        for part in &parts {
            let (columns, behind) = rest.split_at_col_mut(part.len());
            let keys = cache.stored_keys().widened(part.start * dim..part.end * dim, &mut wide);
            let keys = MatRef::from_row_major_slice(keys, part.len(), dim);
            matmul(columns, Accum::Replace, queries, keys.transpose(), self.scale * LOG2_E, Par::Seq);
            rest = behind;
        }
        let chunk = parts[0].len()..parts[0].len() + parts[1].len();
        let mut most = [vec![0.0_f32; chunk.len()], vec![0.0_f32; chunk.len()]];
        for (row, (logits, norm)) in logits.chunks_exact_mut(stride).zip(rows.norms).enumerate() {
            let seen = parts[0].len() + parts[1].len() + rows.cached + row - self.context_len;
            let (_, total) = Level::best().run(Exponentials { logits, seen });
            let normaliser = total.recip();
            for (most, factor) in most.iter_mut().zip([normaliser, normaliser / norm]) {
                let weights = logits[chunk.clone()].iter().map(|exponential| exponential * factor);
                most.iter_mut().zip(weights).for_each(|(most, weight)| *most = most.max(weight));
            }
        }
        most
    }
}
