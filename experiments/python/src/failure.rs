//! Errors as Python's exceptions, each with the one line that the command prints.

use laprox_experiments::exit::{self, Missing};
use laprox_fixtures::DumpError;
use laprox_fixtures::quote::{cut, escaped};
use pyo3::exceptions::{PyFileNotFoundError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// No message is longer.
const LONGEST_LEN: usize = 480;

/// A failure on its way to Python.
pub(crate) struct Failure(anyhow::Error);

/// A result of a function that Python calls.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<Failure> for PyErr {
    fn from(Failure(error): Failure) -> Self {
        let line = cut(escaped(exit::line(&error)), LONGEST_LEN);
        if is_missing_file(&error) {
            PyFileNotFoundError::new_err(line)
        } else if exit::code(&error) == 3 {
            PyRuntimeError::new_err(line)
        } else {
            PyValueError::new_err(line)
        }
    }
}

/// A file or a folder that is not there. A missing device is a [`Missing`], too, and named by its option.
fn is_missing_file(error: &anyhow::Error) -> bool {
    let is_device = |missing: &Missing| missing.0.starts_with("--path");
    let missing = error.downcast_ref().is_some_and(|missing| !is_device(missing));
    missing || error.chain().any(|cause| matches!(cause.downcast_ref(), Some(DumpError::Missing { .. })))
}
