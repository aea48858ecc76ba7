//! The requested prompts of a task.

use std::path::PathBuf;

use super::depth::Depth;
use super::haystack::Haystack;

/// The requested prompts of a task.
#[derive(Clone, Debug)]
pub struct Request {
    /// The maximal length of a prompt in tokens, chat template included.
    pub context_len: usize,
    /// The depths of the needle, a prompt per depth; tasks without depths ignore them.
    pub depths: Vec<Depth>,
    /// Prompts per length and depth (ten by default), or first lines of a file (all by default).
    pub samples: Option<usize>,
    /// Prompts at most, spread over the depths; of a file, the first ones.
    pub limit: Option<usize>,
    /// Seed of all random draws.
    pub seed: u64,
    /// The prose that hides needles.
    pub haystack: Haystack,
    /// The folder of the benchmarks' files.
    pub data: Option<PathBuf>,
}
