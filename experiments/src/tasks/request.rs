//! Which prompts of a task are wanted.

use std::path::PathBuf;

use super::depth::Depth;
use super::haystack::Haystack;

/// Which prompts of a task are wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// How many tokens a prompt has at most, chat template included.
    pub context_len: usize,
    /// Where a needle is hidden, one prompt each; tasks without depth do not look here.
    pub depths: Vec<Depth>,
    /// How many prompts a length and depth, or how many of a file's first lines; ten and all of them by default.
    pub samples: Option<usize>,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// The prose that needles are hidden in.
    pub haystack: Haystack,
    /// The folder of the benchmarks' files.
    pub data: Option<PathBuf>,
}
