//! Errors of a layer's output. They are kept as squares, which add over layers and heads.

use std::ops::Add;

use crate::error::{Error, finite};
use crate::shape::LayerIndex;

/// Whether the errors of different query heads may cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// They may: the error of the layer's output.
    LayerWise,
    /// They may not: each query head's error counts alone.
    HeadWise,
}

/// A squared Frobenius error, and the squared norm of the output without the error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OutputError {
    /// `norm_F(O_hat - O)^2`.
    pub squared_error: f64,
    /// `norm_F(O)^2`.
    pub squared_norm: f64,
}

impl OutputError {
    /// `norm_F(O_hat - O) / norm_F(O)`; 0 without an error, infinite if only the output is zero.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.squared_error == 0.0 { 0.0 } else { (self.squared_error / self.squared_norm).sqrt() }
    }
}

impl Add for OutputError {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            squared_error: self.squared_error + other.squared_error,
            squared_norm: self.squared_norm + other.squared_norm,
        }
    }
}

/// One objective's error in both forms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ObjectiveError {
    /// The error of the layer's output, the sum over its query heads.
    pub layer_wise: OutputError,
    /// The squared errors of the query heads, added up, beside their squared norms, added up. Heads neither cancel nor
    /// reinforce each other.
    pub head_wise: OutputError,
}

impl Add for ObjectiveError {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { layer_wise: self.layer_wise + other.layer_wise, head_wise: self.head_wise + other.head_wise }
    }
}

/// The three objectives of one layer, or added up over several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputErrors {
    /// The retained weights stay as they are; `None` for a [reweighted](crate::Reweighting) set.
    pub drop: Option<ObjectiveError>,
    /// Each row is divided by its retained mass, as a model does after eviction.
    pub renormalised: ObjectiveError,
    /// `renormalised` for the later queries; `None` if the dump holds none.
    pub future: Option<ObjectiveError>,
}

impl Add for OutputErrors {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let both = |one: Option<ObjectiveError>, two: Option<ObjectiveError>| {
            one.zip(two).map(|(one, two)| one + two)
        };
        Self {
            drop: both(self.drop, other.drop),
            renormalised: self.renormalised + other.renormalised,
            future: both(self.future, other.future),
        }
    }
}

impl OutputErrors {
    /// The same errors, if f64 holds them and they are relative to something.
    ///
    /// # Errors
    /// [`Error::Range`] names the first quantity that is NaN or infinite.
    pub fn finite(self, layer: LayerIndex) -> Result<Self, Error> {
        let objectives = [self.drop, Some(self.renormalised), self.future];
        for error in objectives.into_iter().flatten().flat_map(|error| [error.layer_wise, error.head_wise]) {
            finite(layer, "the squared norm of the output", error.squared_norm)?;
            finite(layer, "the squared error of the output", error.squared_error)?;
            finite(layer, "the relative error of the output", error.relative())?;
        }
        Ok(self)
    }

    /// The sum over layers, in order; `None` without a layer.
    pub fn total(layers: impl IntoIterator<Item = Self>) -> Option<Self> {
        layers.into_iter().reduce(Add::add)
    }
}
