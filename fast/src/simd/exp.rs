//! The exponential of the softmax.

use pulp::Simd;

/// A bound on the relative error of the exponential where its result is not 0, in units of `2^-24`.
pub const EXP_ROUNDINGS: f64 = 3.0;

/// Below this the power of two is below the smallest normal number, and becomes 0.
const LEAST: f32 = -126.0;

/// `2^x` for `x <= 0`: exactly 1 for 0, exactly 0 below [`LEAST`], negative infinity included.
///
/// `x = n + f` with a whole `n` and `|f| <= 1/2`, both exact. `2^f = 1 + f q(f)` by the minimax polynomial of degree 6,
/// whose own relative error is 2.6e-9. `n` is added to the exponent.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // 1.5 * 2^23: adding it leaves the nearest whole number in the last bits, and zeros in the eight above them.
    let magic = simd.splat_f32s(12_582_912.0);
    // Lanes that are not kept may hold anything until the end.
    let kept = simd.greater_than_or_equal_f32s(x, simd.splat_f32s(LEAST));
    let shifted = simd.add_f32s(x, magic);
    let f = simd.sub_f32s(x, simd.sub_f32s(shifted, magic));

    let mut sum = simd.splat_f32s(POLYNOMIAL[0]);
    for &coefficient in &POLYNOMIAL[1..] {
        sum = simd.mul_add_e_f32s(sum, f, simd.splat_f32s(coefficient));
    }
    let exponent = simd
        .wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(f32::MANTISSA_DIGITS - 1));
    let power = simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(sum), exponent));
    simd.select_f32s(kept, power, simd.splat_f32s(0.0))
}

/// Coefficients, highest power first.
const POLYNOMIAL: [f32; 7] =
    [1.559_467_8e-4, 1.340_664_3e-3, 9.617_693e-3, 5.550_310_6e-2, 0.240_226_53, std::f32::consts::LN_2, 1.0];

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::simd::Level;

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
}
