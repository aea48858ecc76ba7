//! What the tests share: a device, layers to compute on, and how far f32 may be from f64.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod bounds;
pub mod expected;
pub mod problem;

use std::env;
use std::sync::Arc;

use laprox_gpu::{Device, ptx};

/// A device, whichever there is: the real one, or the interpreter where there is none or `LAPROX_GPU_SIM=1`.
///
/// With `LAPROX_REQUIRE_GPU=1` a device that is not real is a failure.
#[must_use]
pub fn device() -> Arc<Device> {
    Arc::new(open(ptx::TEXT))
}

/// The same with the naive kernels.
#[must_use]
pub fn naive_device() -> Arc<Device> {
    Arc::new(open(ptx::TEXT).naive())
}

/// A device with kernels of another text.
#[must_use]
pub fn open(text: &str) -> Device {
    let is_set = |name| env::var_os(name).is_some_and(|value| value == "1");
    let simulate = is_set("LAPROX_GPU_SIM");
    if !simulate && let Some(device) = Device::open_with(text).unwrap() {
        return device;
    }
    assert!(simulate || !is_set("LAPROX_REQUIRE_GPU"), "LAPROX_REQUIRE_GPU is set, and there is no device");
    simulated(text)
}

/// The interpreter with kernels of another text, whatever devices there are.
#[must_use]
pub fn simulated(text: &str) -> Device {
    laprox_ptxsim::driver::install().unwrap();
    Device::open_with(text).unwrap().expect("the interpreter is a device")
}
