//! The exponential's error is within its bound.

use laprox_fast::Level;
use laprox_fast::simd::exp::{EXP_ROUNDINGS, exp2};
use pulp::{Simd, WithSimd};

/// `exp2` of consecutive numbers.
struct Exp2<'a>(&'a mut [f32]);

impl WithSimd for Exp2<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for numbers in self.0.chunks_mut(S::F32_LANES) {
            let x = simd.partial_load_f32s(numbers);
            simd.partial_store_f32s(numbers, exp2(simd, x));
        }
    }
}

fn exp2_of(level: Level, numbers: &[f32]) -> Vec<f32> {
    let mut powers = numbers.to_vec();
    level.run(Exp2(&mut powers));
    powers
}

/// The largest error in units of `2^-24`, relative, over `x`.
fn largest_error(level: Level, x: impl Iterator<Item = f32>) -> f64 {
    let x: Vec<f32> = x.collect();
    let powers = exp2_of(level, &x);
    let error = |(&x, power): (&f32, f32)| {
        let exact = f64::from(x).exp2();
        (f64::from(power) - exact).abs() / exact * f64::from(1 << 24)
    };
    x.iter().zip(powers).map(error).fold(0.0, |most, error| if error <= most { most } else { error })
}

#[test]
fn the_error_is_within_its_bound_at_every_level() {
    for level in Level::all() {
        // Every multiple of 2^-22 in two binades around the reduced interval, and a coarse walk over all of them.
        let near = largest_error(level, (0..1 << 22).map(|i| -(i as f32) / (1 << 22) as f32));
        let far = largest_error(level, (0..1 << 20).map(|i| -126.0 * i as f32 / (1 << 20) as f32));
        eprintln!("{level}: {near:.3} and {far:.3} of {EXP_ROUNDINGS} roundings");
        assert!(near.max(far) <= EXP_ROUNDINGS, "{level}: {near} {far}");
    }
}

#[test]
fn whole_numbers_have_exact_powers() {
    let whole: Vec<f32> = (0..=126).map(|n| -(n as f32)).collect();
    let exact: Vec<f32> = (0..=126).map(|n| 2.0_f32.powi(-n)).collect();
    for level in Level::all() {
        assert_eq!(exp2_of(level, &whole), exact, "{level}");
    }
}

#[test]
fn what_has_no_normal_power_becomes_zero() {
    for level in Level::all() {
        assert_eq!(exp2_of(level, &[-126.001, -1e10, f32::MIN, f32::NEG_INFINITY]), [0.0; 4], "{level}");
    }
}
