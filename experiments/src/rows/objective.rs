//! Which error a number measures.

use std::fmt;
use std::ops::Add;

use laprox_reference::{Form, ObjectiveError, Oracle, OutputError, OutputErrors};
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

    /// This objective's error; `None` for later queries that the dump does not hold, and for the drop error of a reweighted set.
    #[must_use]
    pub fn of(self, errors: &OutputErrors) -> Option<ObjectiveError> {
        match self {
            Self::Drop => errors.drop,
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

/// The error that an oracle minimises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Minimised {
    /// The window's `drop` error.
    #[default]
    Drop,
    /// The window's `renormalised` error.
    Renormalised,
    /// The `drop` error of the later queries.
    LaterDrop,
}

impl From<Oracle> for Minimised {
    fn from(oracle: Oracle) -> Self {
        match oracle {
            Oracle::Renormalised => Self::Renormalised,
            Oracle::Future => Self::LaterDrop,
            _ => Self::Drop,
        }
    }
}

impl fmt::Display for Minimised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Renormalised => "renormalised",
            Self::LaterDrop => "drop, of the later queries",
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
pub fn each_layer_and_all<'a, E: Copy + Add<Output = E>>(
    layers: &'a [usize],
    errors: &'a [E],
) -> impl Iterator<Item = (Option<usize>, E)> + 'a {
    let all = errors.iter().copied().reduce(Add::add).map(|all| (None, all));
    layers.iter().map(|&layer| Some(layer)).zip(errors.iter().copied()).chain(all)
}
