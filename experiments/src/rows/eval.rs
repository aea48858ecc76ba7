//! The rows of an evaluation.

use laprox_reference::Budget;
use serde::{Deserialize, Serialize, Serializer};

use super::asked::Asked;
use super::name::{MetricName, PolicyName};
use super::objective::Objective;
use super::row::Row;
use super::spelling::{self, or_empty};
use crate::tasks::Depth;

/// The budget of the full cache.
pub const FULL_BUDGET: Budget = Budget::Fraction { parts: 1, whole: 1 };

/// One number: a metric of one prompt, continued from an evicted cache or from the full one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct EvalRow {
    /// The model.
    pub model: String,
    /// The task.
    pub task: String,
    /// When the question was asked; empty for a task without one.
    #[serde(with = "or_empty")]
    pub question: Option<Asked>,
    /// The prompt's or the text's name.
    pub prompt: String,
    /// The length asked for, in tokens.
    pub target: usize,
    /// `n`: the tokens that had run when the cache was evicted.
    pub context: usize,
    /// The depth at which a needle was hidden; empty for a task without depths.
    #[serde(serialize_with = "percent", deserialize_with = "or_empty::deserialize")]
    pub depth: Option<Depth>,
    /// Which of the prompts that are alike in everything else.
    pub sample: usize,
    /// The policy.
    pub policy: PolicyName,
    /// The budget as asked for.
    #[serde(with = "spelling")]
    pub budget: Budget,
    /// Entries kept per KV head on average, window included.
    pub entries_per_head: usize,
    /// The metric.
    pub metric: MetricName,
    /// Its value.
    pub value: f64,
    /// Its value from the full cache.
    pub full_value: f64,
    /// The layer-wise relative error over all layers, `drop`; empty for a reweighted set, and beside the full cache as the next two.
    pub drop: Option<f64>,
    /// The same, `renormalised`.
    pub renormalised: Option<f64>,
    /// The same, `future`: of the question's and the full cache's answer's tokens, or of the text's own next ones.
    pub future: Option<f64>,
    /// The bytes of the cache after the last token, as allocated.
    pub cache_bytes: usize,
    /// The bytes of the full cache.
    pub full_cache_bytes: usize,
    /// The model's answer; empty if nothing was asked.
    pub answer: String,
}

impl EvalRow {
    /// Whether the row is about the full cache itself.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.policy == PolicyName::FULL
    }

    /// The layers' relative error by an objective.
    #[must_use]
    pub fn error(&self, objective: Objective) -> Option<f64> {
        match objective {
            Objective::Drop => self.drop,
            Objective::Renormalised => self.renormalised,
            Objective::Future => self.future,
        }
    }

    /// By how much the metric is worse than from the full cache.
    #[must_use]
    pub fn loss(&self) -> f64 {
        let (value, full) = (self.value, self.full_value);
        let more_is_worse = [MetricName::NLL, MetricName::KL].contains(&self.metric);
        if more_is_worse { value - full } else { full - value }
    }

    /// Tells the prompts of a task apart.
    #[must_use]
    pub fn unit(&self) -> String {
        let Self { target, depth, prompt, sample, .. } = self;
        format!("{target}\n{depth:?}\n{prompt}\n{sample}")
    }
}

impl Row for EvalRow {
    const KEY: &'static [&'static str] =
        &["model", "task", "question", "target", "depth", "prompt", "sample", "policy", "budget", "metric"];
    const FINITE: &'static [&'static str] = &["value", "full_value"];
}

/// `25%`, or an empty text.
fn percent<S: Serializer>(depth: &Option<Depth>, serializer: S) -> Result<S::Ok, S::Error> {
    or_empty::serialize(&depth.map(|depth| format!("{depth}%")), serializer)
}
