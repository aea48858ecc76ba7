//! Candidates that come before all others, whatever their scores.

use crate::parameter::Parameter;

/// The share of the budget that each end of the candidates gets, `ends=`.
///
/// Keeping both ends and ranking the middle is a baseline of its own: it recovers most of what a score that forgets them
/// loses (arXiv 2605.18053).
pub static ENDS: Parameter = Parameter::new("ends", [0.0, 0.5], 0.0);

/// The protected candidates of every KV head: the first ones, and the last ones before the window.
#[derive(Clone, Copy, Debug)]
pub struct Protected {
    /// Positions below this are protected.
    first: usize,
    /// And those from this on.
    last: usize,
}

impl Protected {
    /// No candidate.
    pub const NONE: Self = Self { first: 0, last: usize::MAX };

    /// The first `sinks` candidates of a KV head, and at each end a share `ends` of its `per_head` retained ones, rounded down.
    #[must_use]
    pub fn new(sinks: usize, ends: f64, per_head: usize, candidate_len: usize) -> Self {
        // A product such as 0.29 * 100 comes out a unit too low.
        let end = (ends * per_head as f64 + 1e-9) as usize;
        Self { first: sinks.max(end), last: candidate_len - end.min(candidate_len) }
    }

    /// Whether a candidate is one of them.
    #[must_use]
    pub fn holds(self, position: usize) -> bool {
        position < self.first || position >= self.last
    }
}
