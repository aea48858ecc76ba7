//! Shared by the tests: a device, layers to compute on, and bounds on the distance between f32 and f64.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod bounds;
pub mod expected;
pub mod path;
pub mod problem;

use std::env;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use laprox_fixtures::Dump;
use laprox_gpu::{Device, DeviceError, Gpu, ptx};
use laprox_reference::{
    Backend, Error, HeadScores, LayerProblem, LayerScores, Policy, PreparedLayer, Score, Statistic,
};

/// The device that ships, one for all tests: the real one, or the interpreter if there is none or `LAPROX_GPU_SIM=1`.
///
/// With `LAPROX_REQUIRE_GPU=1` a device that is not real is a failure.
#[must_use]
pub fn device() -> Arc<Device> {
    static DEVICE: LazyLock<Arc<Device>> = LazyLock::new(|| Arc::new(open(ptx::TEXT)));
    Arc::clone(&DEVICE)
}

/// The same with the naive kernels.
#[must_use]
pub fn naive_device() -> Arc<Device> {
    static DEVICE: LazyLock<Arc<Device>> = LazyLock::new(|| Arc::new(open(ptx::TEXT).naive()));
    Arc::clone(&DEVICE)
}

/// A layer on the path of [`device`].
#[must_use]
pub fn prepared<'a>(device: &Arc<Device>, problem: &LayerProblem<'a>) -> Box<dyn PreparedLayer + 'a> {
    Gpu::new(Arc::clone(device)).prepare(problem).unwrap()
}

/// The score of a policy that ranks.
#[must_use]
pub fn score(policy: &str) -> Score {
    policy.parse::<Policy>().unwrap().score().expect("a policy that ranks")
}

/// A layer's scores in the host's memory.
pub fn scored(layer: &dyn PreparedLayer, score: &Score) -> Result<HeadScores, Error> {
    layer.score(score).and_then(LayerScores::into_host)
}

/// `norm_F(O)` of a layer.
#[must_use]
pub fn output_norm(layer: &dyn PreparedLayer) -> f64 {
    layer.statistic(Statistic::OutputNorm, layer.shape().window_len).unwrap()
}

/// The committed dump of real activations.
#[must_use]
pub fn committed_dump() -> Dump {
    Dump::open(crate_folder().join("../fixtures/data/smollm2-135m")).unwrap()
}

/// Where the tests run: the crate's folder under cargo, the repository's where the binaries were carried to.
#[must_use]
pub fn crate_folder() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("gpu"), PathBuf::from)
}

/// A device with kernels of another text.
#[must_use]
pub fn open(text: &str) -> Device {
    open_with(|| Device::open_with(text))
}

/// A device that is opened in some way, by the rules of [`device`].
#[must_use]
pub fn open_with(open: impl Fn() -> Result<Option<Device>, DeviceError>) -> Device {
    let is_set = |name| env::var_os(name).is_some_and(|value| value == "1");
    let simulate = is_set("LAPROX_GPU_SIM");
    if !simulate && let Some(device) = open().unwrap() {
        return device;
    }
    assert!(simulate || !is_set("LAPROX_REQUIRE_GPU"), "LAPROX_REQUIRE_GPU is set, and there is no device");
    simulated(open)
}

/// The interpreter, whatever devices there are.
#[must_use]
pub fn simulated(open: impl Fn() -> Result<Option<Device>, DeviceError>) -> Device {
    laprox_ptxsim::driver::install().unwrap();
    open().unwrap().expect("the interpreter is a device")
}
