//! `laprox._laprox`: the stages of the simulator on arrays and dumps, for the Python package in `../laprox`.
//!
//! Python checks what kinds of objects it got and hands arrays over; shapes and values are checked here, by the crates that
//! compute. Nothing of Python is touched while they do, so the interpreter's lock is released.
//!
//! | module | contents |
//! |---|---|
//! | [`arrays`] | NumPy arrays as tensors, in place |
//! | [`layers`] | the layers of one context: arrays, or a sample of a dump; scores made in Python beside them |
//! | [`dump`] | dumps and their samples |
//! | [`request`] | policies, budgets, paths and sets as Python names them |
//! | [`stages`] | scores, sets, errors, certificates and bounds |
//! | [`sets`] | sets in files |
//! | [`failure`] | errors as exceptions of one line |

mod arrays;
mod dump;
mod failure;
mod layers;
mod request;
mod sets;
mod stages;

use std::ffi::OsString;

use laprox_experiments::{child, program};
use laprox_fixtures::staging;
use laprox_reference::POLICIES;
use pyo3::prelude::*;

#[pymodule]
mod _laprox {
    #[pymodule_export]
    use super::dump::{Dump, Sample, write_dump};
    #[pymodule_export]
    use super::sets::{check_set, load_sets, save_set};
    #[pymodule_export]
    use super::stages::{attention, bounds, certify, errors, evict, projected_norms, score};
    #[pymodule_export]
    use super::{policy_names, remove_temporary, run};
}

/// Runs the command. `start` is how a child process of it is started.
#[pyfunction]
fn run(py: Python<'_>, start: Vec<OsString>, arguments: Vec<OsString>) -> u8 {
    child::start_with(start);
    py.detach(|| program::run(arguments))
}

/// The names of all policies.
#[pyfunction]
fn policy_names() -> Vec<&'static str> {
    POLICIES.iter().map(|entry| entry.name).collect()
}

/// Removes the temporary folders of this process.
#[pyfunction]
fn remove_temporary() {
    staging::clear();
}
