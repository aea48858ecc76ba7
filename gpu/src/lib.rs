//! The stages of `laprox-reference` as CUDA kernels.
//!
//! The kernels are CUDA C++ in `kernels/`, the PTX made from them is in `ptx/` and in this crate: it builds and is tested
//! on machines that never saw CUDA. [`Gpu`] is the path that `--path gpu` takes; without a driver, opening it says so.
//!
//! ```
#![doc = include_str!("../tests/simple.rs")]
//! ```
//!
//! Numbers are f32 (activations as they are, in the narrowest format that holds them exactly), but for the oracles'
//! products, which are f64. The stages are the modules of the same names as in the reference.
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
pub mod project;
pub mod ptx;
pub mod score;
pub mod select;
mod staging;
pub mod timing;
pub mod upload;

pub use activations::DeviceActivations;
pub use backend::{Gpu, GpuLayer};
pub use device::{Device, Version};
pub use error::DeviceError;
pub use layer::DeviceLayer;
pub use upload::Format;
