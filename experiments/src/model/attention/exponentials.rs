//! The exponentials of a row's logits.

use laprox_fast::simd::exp2;
use pulp::{Simd, WithSimd};

/// `x_s = 2^(x_s - max)` of the logits that a row sees, zero behind them. Returns the largest logit and the sum.
pub(in crate::model) struct Exponentials<'a> {
    /// The logits, and room up to whole registers.
    pub(in crate::model) logits: &'a mut [f32],
    /// The number of logits that the row sees.
    pub(in crate::model) seen: usize,
}

impl WithSimd for Exponentials<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f32, f32) {
        self.logits[self.seen..].fill(f32::MIN);
        let (logits, _) = S::as_mut_simd_f32s(self.logits);
        let mut max = simd.splat_f32s(f32::MIN);
        // Zero, or NaN if a logit is not finite, which neither the maximum nor the exponential would tell.
        let mut fault = simd.splat_f32s(0.0);
        for &mut logits in &mut *logits {
            max = simd.max_f32s(max, logits);
            fault = simd.mul_add_f32s(logits, simd.splat_f32s(0.0), fault);
        }
        let most = simd.reduce_max_f32s(max);
        let max = simd.splat_f32s(most);
        let mut sum = simd.splat_f32s(0.0);
        for logits in logits {
            *logits = exp2(simd, simd.sub_f32s(*logits, max));
            sum = simd.add_f32s(sum, *logits);
        }
        (most, simd.reduce_sum_f32s(sum) + simd.reduce_sum_f32s(fault))
    }
}
