//! Which error a number measures.

use std::fmt;

use laprox_reference::{Form, ObjectiveError, OutputError, OutputErrors};
use serde::{Deserialize, Serialize};

/// The error that an eviction makes in a layer's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Retained pairs keep their weights.
    Drop,
    /// Each row is divided by its retained mass.
    Renormalised,
    /// `Renormalised` for the later queries.
    Future,
}

impl Objective {
    /// All of them, in the order of rows.
    pub const ALL: [Self; 3] = [Self::Drop, Self::Renormalised, Self::Future];

    /// This objective's error; `None` for later queries that the dump does not hold.
    #[must_use]
    pub fn of(self, errors: &OutputErrors) -> Option<ObjectiveError> {
        match self {
            Self::Drop => Some(errors.drop),
            Self::Renormalised => Some(errors.renormalised),
            Self::Future => errors.future,
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Renormalised => "renormalised",
            Self::Future => "future",
        })
    }
}

/// An objective's error in one form.
#[must_use]
pub fn in_form(error: ObjectiveError, form: Form) -> OutputError {
    match form {
        Form::LayerWise => error.layer_wise,
        Form::HeadWise => error.head_wise,
    }
}

/// The errors of each layer with its number, then those of all layers together with none.
pub fn each_layer_and_all<'a>(
    layers: &'a [usize],
    errors: &'a [OutputErrors],
) -> impl Iterator<Item = (Option<usize>, OutputErrors)> + 'a {
    let all = OutputErrors::total(errors.iter().copied()).map(|all| (None, all));
    layers.iter().map(|&layer| Some(layer)).zip(errors.iter().copied()).chain(all)
}
