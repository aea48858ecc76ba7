//! The stages of `laprox-reference` as CUDA kernels.
//!
//! The kernels are CUDA C++ in `kernels/`. The PTX made from them is in `ptx/` and part of this crate, so it builds and is
//! tested on machines without CUDA. [`Gpu`] is the path that `--path gpu` takes. Without a driver, opening it says so.
//!
//! ```
#![doc = include_str!("../tests/simple.rs")]
//! ```
//!
//! Numbers are f32. Activations keep the narrowest format that holds them exactly, and the oracles' products are f64. Stages
//! are modules of the same names as in the reference.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod activations;
pub mod attend;
pub mod backend;
pub mod device;
pub mod error;
mod evaluate;
pub mod factor;
pub mod gather;
pub mod gram;
#[allow(unsafe_code, reason = "the one module that talks to the driver behind the compiler's back")]
mod launch;
pub mod layer;
mod memory;
pub mod project;
pub mod ptx;
pub mod resident;
pub mod score;
pub mod select;
mod staging;
pub mod timing;
pub mod upload;

pub use activations::DeviceActivations;
pub use backend::Gpu;
pub use device::{Device, Version};
pub use error::DeviceError;
pub use layer::DeviceLayer;
pub use resident::{DeviceTensor, ResidentActivations, ResidentProblem};
pub use upload::Format;
