//! Errors of a layer's output, kept as squares so that layers and heads add.

use std::ops::Add;

/// Which heads' errors may cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// All of a layer's: the error of the layer's output.
    LayerWise,
    /// None: the error of each query head counts alone.
    HeadWise,
}

/// A squared Frobenius error beside the squared norm of what it is an error of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OutputError {
    /// `norm_F(O_hat - O)^2`.
    pub squared_error: f64,
    /// `norm_F(O)^2`.
    pub squared_norm: f64,
}

impl OutputError {
    /// `norm_F(O_hat - O) / norm_F(O)`; 0 where there is no error, infinite where only the output is zero.
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
    /// Of the sum over the query heads: what the layer puts out.
    pub layer_wise: OutputError,
    /// Of each query head alone, squares added: blind to what heads cancel or reinforce. Error and norm are both
    /// taken head by head.
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
    /// Retained pairs with their weights untouched.
    pub drop: ObjectiveError,
    /// Each row divided by its retained mass: what a model computes after eviction.
    pub renormalised: ObjectiveError,
    /// `renormalised` for the later queries; `None` where the dump holds none.
    pub future: Option<ObjectiveError>,
}

impl Add for OutputErrors {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            drop: self.drop + other.drop,
            renormalised: self.renormalised + other.renormalised,
            future: self.future.zip(other.future).map(|(one, two)| one + two),
        }
    }
}

impl OutputErrors {
    /// Adds layers up, in order; `None` for no layer.
    pub fn total(layers: impl IntoIterator<Item = Self>) -> Option<Self> {
        layers.into_iter().reduce(Add::add)
    }
}
