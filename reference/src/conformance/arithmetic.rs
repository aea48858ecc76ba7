//! A path's arithmetic: units, formats, and the length of its sums.

use super::compare::checked_gamma;
use crate::pool::Pooling;

/// A path's arithmetic.
#[derive(Clone, Copy, Debug)]
pub struct Arithmetic {
    /// The unit roundoff of products and sums.
    pub unit: f64,
    /// The relative error of an exponential, in units.
    pub exponential: f64,
    /// The relative error of the projection's factor as it is stored.
    pub factor: f64,
    /// How many keys, or terms of any other long sum, are added up as one block before the next.
    pub block: usize,
    /// Weights below this may become 0.
    pub least: f64,
    /// The format in which finished scores are pooled and handed over.
    pub scores: Precision,
}

/// A floating-point format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// f32
    Single,
    /// f64
    Double,
}

impl Arithmetic {
    /// f32 throughout, with exponentials of `exponential` roundings and sums in blocks of `block`.
    #[must_use]
    pub fn single(exponential: f64, block: usize) -> Self {
        let unit = f64::from(f32::EPSILON) / 2.0;
        Self { unit, exponential, factor: unit, block, least: 1e-35, scores: Precision::Double }
    }

    /// `gamma_k` of the path's unit.
    ///
    /// # Panics
    /// When so many roundings leave no digits.
    #[must_use]
    pub fn gamma(&self, roundings: f64) -> f64 {
        checked_gamma(roundings, self.unit)
    }

    /// A finished score as the path hands it over.
    #[must_use]
    pub fn handed_over(&self, score: f64) -> f64 {
        match self.scores {
            Precision::Single => f64::from(score as f32),
            Precision::Double => score,
        }
    }

    /// The relative rounding of pooling and handing over a score: the sum over the neighbours, and the division.
    pub(super) fn pooled(&self, pooling: Pooling) -> f64 {
        let neighbours = match pooling {
            Pooling::None | Pooling::Max(_) => 0,
            Pooling::Average(kernel) => kernel,
        };
        let unit = match self.scores {
            Precision::Single => f64::from(f32::EPSILON) / 2.0,
            Precision::Double => f64::EPSILON / 2.0,
        };
        Self { unit, ..*self }.gamma(neighbours as f64 + 1.0)
    }

    /// The most additions that one of `terms` numbers goes through.
    #[must_use]
    pub fn depth(&self, terms: usize) -> f64 {
        (terms.min(self.block) + terms.div_ceil(self.block)) as f64
    }
}
