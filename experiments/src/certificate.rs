//! The errors of sets beside the bound that a search has proven.

use std::ops::Add;

use laprox_reference::oracle::{Certified, Rows};
use laprox_reference::{
    Form, Layers, ObjectiveError, OutputError, OutputErrors, Policy, RetainedSet, Rule, Searched, pipeline,
};

use crate::rows::{Minimised, in_form};

/// The error that an oracle minimises.
///
/// # Errors
/// [`laprox_reference::Error::Policy`] when the policy is not an oracle.
pub fn minimised(policy: &Policy) -> Result<Minimised, laprox_reference::Error> {
    match policy.rule() {
        Rule::Oracle(oracle) if !policy.reweighs() => Ok(oracle.into()),
        _ => Err(laprox_reference::Error::Policy {
            policy: policy.to_string(),
            reason: "it proves nothing, expected an oracle without refit, such as oracle:certified".into(),
        }),
    }
}

/// The errors of one layer under one set, or of all layers together.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// The three objectives.
    pub errors: OutputErrors,
    /// The one that the oracle minimises.
    pub minimised: ObjectiveError,
}

impl Add for Measured {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { errors: self.errors + other.errors, minimised: self.minimised + other.minimised }
    }
}

/// The errors of every set, layer by layer. A `drop` error that is compared with the bound is in f64 on every path, as the bound
/// is: in f32 it may be below it.
///
/// # Errors
/// As [`pipeline::evaluate`] and [`pipeline::drop_errors`]: a `drop` error of a reweighted set is refused.
pub fn measured<L: Layers>(
    layers: &L,
    sets: &[RetainedSet],
    objective: Minimised,
) -> Result<Vec<Vec<Measured>>, L::Error> {
    let errors = pipeline::evaluate(layers, sets)?;
    let minimised = match objective {
        Minimised::Drop => pipeline::drop_errors(layers, sets, Rows::Window)?,
        Minimised::LaterDrop => pipeline::drop_errors(layers, sets, Rows::Future)?,
        Minimised::Renormalised => {
            errors.iter().map(|set| set.iter().map(|errors| errors.renormalised).collect()).collect()
        }
    };
    let of_layer = |(errors, minimised): (OutputErrors, ObjectiveError)| match objective {
        Minimised::Drop => Measured { errors: OutputErrors { drop: Some(minimised), ..errors }, minimised },
        _ => Measured { errors, minimised },
    };
    let of_set = |(errors, minimised): (Vec<OutputErrors>, Vec<ObjectiveError>)| {
        errors.into_iter().zip(minimised).map(of_layer).collect()
    };
    Ok(errors.into_iter().zip(minimised).map(of_set).collect())
}

/// What is known of the part of a search that a row is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proof {
    /// No squared error is below this.
    pub bound: Option<f64>,
    /// Relaxations that the proof took.
    pub nodes: Option<usize>,
    /// Whether the search ended by itself.
    pub ended: Option<bool>,
}

impl Proof {
    /// What is known of two parts together.
    fn and(self, other: Self) -> Self {
        Self {
            bound: self.bound.zip(other.bound).map(|(one, two)| one + two),
            nodes: self.nodes.zip(other.nodes).map(|(one, two)| one + two),
            ended: self.ended.zip(other.ended).map(|(one, two)| one && two),
        }
    }

    /// The proven least relative error beside an error of the same output.
    #[must_use]
    pub fn relative_bound(&self, error: OutputError) -> Option<f64> {
        self.bound.map(|bound| OutputError { squared_error: bound, ..error }.relative())
    }

    /// Error over bound. Nothing is a multiple of a bound of zero.
    #[must_use]
    pub fn over_bound(&self, error: OutputError) -> Option<f64> {
        let ratio = self.bound.map(|bound| OutputError { squared_norm: bound, ..error }.relative());
        ratio.filter(|ratio| ratio.is_finite())
    }
}

/// The proof of each layer, if each has its own, then that of all layers together, from a search and the errors of its set.
#[must_use]
pub fn proofs(searched: &Searched, form: Form, errors: &[Measured]) -> Vec<Proof> {
    let own = errors.iter().map(|errors| in_form(errors.minimised, form).squared_error);
    let own: Vec<f64> = if searched.ended.len() == errors.len() { own.collect() } else { vec![own.sum()] };
    let part = |((certified, &ended), own): ((&Option<Certified>, &bool), f64)| Proof {
        // Rounding may leave the set's own error, added up in another order, a unit below the bound.
        bound: certified.as_ref().map(|part| part.squared_lower_bound.min(own)),
        nodes: certified.as_ref().map(|part| part.nodes),
        ended: Some(ended),
    };
    let parts: Vec<Proof> = searched.certified.iter().zip(&searched.ended).zip(own).map(part).collect();
    let all = parts.iter().copied().reduce(Proof::and).unwrap_or_default();
    let each = if parts.len() == errors.len() { parts } else { vec![Proof::default(); errors.len()] };
    each.into_iter().chain([all]).collect()
}
