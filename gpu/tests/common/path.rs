//! The path as a subscriber of the claims that every path must satisfy.

use laprox_gpu::{Format, Gpu};
use laprox_reference::conformance::arithmetic::Precision;
use laprox_reference::conformance::{Arithmetic, Path};

use super::bounds::{EX2, U, factor_rounding};
use super::device;

/// The path on [`device`].
#[must_use]
pub fn gpu() -> Path {
    Path {
        name: format!("gpu on {}", device().name()),
        backend: Box::new(Gpu::new(device())),
        arithmetic: arithmetic(),
        tiles: Vec::new(),
    }
}

/// The arithmetic of either version of the kernels, in halves or singles.
///
/// - A tensor core's truncating sum loses up to `2 U` per term. Everything else in f32 loses `U` per operation.
/// - Of a sum of `k` numbers in f32, whatever its order, no term meets more than `k` roundings of `U`: half as many of `2 U`,
///   blocks of two. A partial sum is rescaled once for 8 of its keys, or for each where 128 threads share them, and when
///   it is joined to another: more rarely than once in two keys.
/// - A square below the normal f32 numbers may vanish, and a norm with it.
fn arithmetic() -> Arithmetic {
    let unit = 2.0 * U;
    Arithmetic {
        unit,
        exponential: EX2 / unit,
        factor: factor_rounding(Format::F16),
        block: 2,
        least: f64::from(f32::MIN_POSITIVE).sqrt(),
        scores: Precision::Single,
    }
}
