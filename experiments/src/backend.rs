//! From `--path` to an implementation.

use anyhow::Result;
use laprox_fast::Fast;
use laprox_gpu::Gpu;
use laprox_reference::{Backend, Reference};

use crate::cli::PathChoice;
use crate::exit::Missing;

/// The implementation that was asked for.
///
/// # Errors
/// [`Missing`] where this build or this machine does not have it.
pub fn open(path: PathChoice) -> Result<Box<dyn Backend>> {
    match path {
        PathChoice::Reference => Ok(Box::new(Reference)),
        PathChoice::Fast => Ok(Box::new(Fast::default())),
        PathChoice::Gpu => Ok(Box::new(gpu()?)),
    }
}

/// The first device.
///
/// # Errors
/// [`Missing`] where there is none, or it cannot be used.
pub fn gpu() -> Result<Gpu> {
    Ok(Gpu::open().map_err(|error| Missing(format!("--path gpu: {error}")))?)
}
