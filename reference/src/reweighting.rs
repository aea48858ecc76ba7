//! Reweighted sets: a logit bias, and perhaps another value, for each retained entry.
//!
//! A row of the renormalised attention over a retained set `S` with biases `beta` and values `v'` is
//!
//! ```text
//! o_hat_t = sum over S of exp(l_{t,i} + beta_i) v'_i / sum over S of exp(l_{t,i} + beta_i)
//! ```
//!
//! A bias of 0 and the entry's own value are a plain set. The `drop` error compares original weights and is not defined for a
//! reweighted one.

use crate::error::{Error, Result};

/// Biases and values beside the entries of a [`RetainedSet`](crate::RetainedSet), in f32 as a cache holds them.
#[derive(Clone, Debug, PartialEq)]
pub struct Reweighting {
    bias: Vec<f32>,
    values: Option<Vec<f32>>,
}

impl Reweighting {
    /// Takes one bias per retained entry and, if they are replaced, the values, `[entries, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when a number is NaN or infinite, or the values are not rows of one width.
    pub fn new(bias: Vec<f32>, values: Option<Vec<f32>>) -> Result<Self> {
        for (what, numbers) in [("bias", Some(&bias)), ("replaced values", values.as_ref())] {
            let fault = numbers.and_then(|numbers| numbers.iter().position(|number| !number.is_finite()));
            if let Some(index) = fault {
                return Err(Error::shape(what, "finite numbers", format_args!("another one at {index}")));
            }
        }
        let rows = |values: &Vec<f32>| !values.is_empty() && values.len().is_multiple_of(bias.len());
        match &values {
            Some(values) if bias.is_empty() || !rows(values) => {
                let expected = format_args!("rows of one width for {} entries", bias.len());
                Err(Error::shape("replaced values", expected, format_args!("{} numbers", values.len())))
            }
            _ => Ok(Self { bias, values }),
        }
    }

    /// `beta`, one per entry.
    #[must_use]
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// `v'`, `[entries, d]`, if values are replaced.
    #[must_use]
    pub fn values(&self) -> Option<&[f32]> {
        self.values.as_deref()
    }

    /// `d` of the replaced values.
    #[must_use]
    pub fn value_dim(&self) -> Option<usize> {
        self.values.as_ref().map(|values| values.len() / self.bias.len())
    }
}
