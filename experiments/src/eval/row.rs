//! One number of an evaluation.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// One number: a metric of one prompt, continued from what one eviction left, or from the full cache.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct EvalRow {
    /// The model.
    pub model: String,
    /// The task.
    pub task: String,
    /// `aware` where the question was seen before evicting, `agnostic` where after; empty where there is none.
    pub question: Cow<'static, str>,
    /// The prompt's or the text's name.
    pub prompt: String,
    /// The length asked for, in tokens.
    pub target: usize,
    /// `n`: the tokens that had run when the cache was evicted.
    pub context: usize,
    /// Where a needle was hidden; empty where a task has no depth.
    pub depth: String,
    /// Which of the prompts that are alike in everything else.
    pub sample: usize,
    /// The policy; `full` for the full cache itself.
    pub policy: String,
    /// The budget as asked for.
    pub budget: String,
    /// Entries kept per KV head on average, window included.
    pub entries_per_head: usize,
    /// The metric's name.
    pub metric: Cow<'static, str>,
    /// Its value.
    pub value: f64,
    /// Its value from the full cache.
    pub full_value: f64,
    /// The layer-wise relative error over all layers, `drop`; empty beside the full cache, as for the next two.
    pub drop: Option<f64>,
    /// The same, `renormalised`.
    pub renormalised: Option<f64>,
    /// The same, `future`: of the question's and the full cache's answer's tokens, or of the text's own next ones.
    pub future: Option<f64>,
    /// The bytes that the cache took when all was said, as allocated.
    pub cache_bytes: usize,
    /// The bytes that the full cache took.
    pub full_cache_bytes: usize,
    /// What the model said; empty where nothing was asked.
    pub answer: String,
}
