//! One evaluated bound: its two sides, and the evidence for its verdict.

use crate::error::{Error, all_finite};
use crate::shape::LayerIndex;

/// One of the statements B1 to B10 about a layer, with the numbers of both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// `B1a`, `B1b`, ...
    pub id: &'static str,
    /// The claim as an equation.
    pub statement: &'static str,
    /// The claim's left side.
    pub left: f64,
    /// The claim's right side.
    pub right: f64,
    /// How the two sides are compared.
    pub evidence: Evidence,
}

/// The evidence by which the numbers of a [`Bound`] decide its verdict.
///
/// Each bound derives its rounding allowance: `gamma_k` of the longest chain of operations times the sum of the
/// magnitudes that went through it, for the same formula. Underflow is accounted for only if the bound says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evidence {
    /// `left <= right`, both computed.
    AtMost {
        /// How far rounding may have moved `left - right`.
        rounding: f64,
    },
    /// `left = right`, both computed.
    Equal {
        /// How far apart they are; for vectors and matrices the norm of the difference, not of the norms.
        distance: f64,
        /// How far rounding may have moved them apart.
        rounding: f64,
    },
    /// The statement is about a distribution, and one side was drawn from it.
    Chance {
        /// The probability of draws at least this far from the statement, were it true, by the usual test.
        p_value: f64,
        /// An upper bound on that probability that assumes nothing about how the draws are distributed. It decides.
        p_bound: f64,
        /// How wrong the right side could be without being noticed, relative to it, by draws about its true value: for a
        /// smaller difference, `p_bound` stays at or above [`FALSE_ALARM_RATE`]. `None` for frequencies, and if nothing would be noticed.
        resolution: Option<f64>,
    },
}

/// The `p_bound` below which a random statement counts as violated. A true one does so at most this often, per row.
///
/// A run of a thousand random rows raises a false alarm at most once in a thousand runs.
pub const FALSE_ALARM_RATE: f64 = 1e-6;

impl Bound {
    /// The same bound, if f64 holds its numbers.
    ///
    /// # Errors
    /// [`Error::Range`] carries one that is NaN or infinite.
    pub fn finite(self, layer: LayerIndex) -> Result<Self, Error> {
        let evidence = match self.evidence {
            Evidence::AtMost { rounding } => [rounding, 0.0],
            Evidence::Equal { distance, rounding } => [distance, rounding],
            Evidence::Chance { p_value, p_bound, .. } => [p_value, p_bound],
        };
        let numbers = [self.left, self.right, self.slack()];
        all_finite(layer, self.id, numbers.iter().chain(&evidence))?;
        Ok(self)
    }

    /// `right / left`, how loose the bound is: 1 is tight. It is 1 if both sides are 0.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        if self.left == self.right { 1.0 } else { self.right / self.left }
    }

    /// `right - left`.
    #[must_use]
    pub fn slack(&self) -> f64 {
        self.right - self.left
    }

    /// Whether the statement holds. It does not if a side or an allowance is NaN or infinite: that proves nothing.
    #[must_use]
    pub fn holds(&self) -> bool {
        let finite = self.left.is_finite() && self.right.is_finite();
        finite
            && match self.evidence {
                Evidence::AtMost { rounding } => rounding.is_finite() && self.left <= self.right + rounding,
                Evidence::Equal { distance, rounding } => rounding.is_finite() && distance <= rounding,
                Evidence::Chance { p_bound, .. } => p_bound >= FALSE_ALARM_RATE,
            }
    }

    /// How close the statement is to failing; larger is closer, and a violation is above everything that holds.
    #[must_use]
    pub fn strain(&self) -> f64 {
        let strain = match self.evidence {
            Evidence::AtMost { .. } => 1.0 / self.ratio(),
            Evidence::Equal { distance, rounding } => distance / rounding,
            Evidence::Chance { p_value, .. } => -p_value,
        };
        match (self.holds(), strain.is_nan()) {
            (false, _) => f64::INFINITY,
            (true, true) => 0.0,
            (true, false) => strain.min(f64::MAX),
        }
    }

    /// Of the same statement about many things (rows, candidates), the one that is violated or nearest to it.
    pub fn nearest_to_failing(bounds: impl IntoIterator<Item = Self>) -> Option<Self> {
        bounds.into_iter().reduce(|worst, next| if next.strain() > worst.strain() { next } else { worst })
    }
}
