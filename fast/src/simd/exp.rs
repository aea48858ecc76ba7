//! The exponential of the softmax.

use pulp::Simd;

/// A bound on the relative error of the exponential where its result is not 0, in units of `2^-24`.
pub const EXP_ROUNDINGS: f64 = 3.0;

/// Below this the power of two is below the smallest normal number, and becomes 0.
const LEAST: f32 = -126.0;

/// `2^x` for `x <= 0`: exactly 1 for 0, exactly 0 below -126, negative infinity included.
///
/// `x = n + f` with a whole `n` and `|f| <= 1/2`, both exact. `2^f = 1 + f q(f)` by the minimax polynomial of degree 6,
/// whose own relative error is 2.6e-9. `n` is added to the exponent.
#[inline(always)]
pub fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
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
