//! The gate of the feed-forward layer.

use std::f32::consts::LOG2_E;

use laprox_fast::Level;
use laprox_fast::simd::exp2;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Numbers per task.
const PART: usize = 1 << 14;

/// `gate_i = silu(gate_i) * up_i`, with `silu(x) = x / (1 + e^-x)`.
///
/// # Panics
/// When the lengths differ.
pub(super) fn gate(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "a gate for every number");
    let parts = gate.par_chunks_mut(PART).zip(up.par_chunks(PART));
    parts.for_each(|(gate, up)| Level::best().run(Gate { gate, up }));
}

struct Gate<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl WithSimd for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (gates, last_gates) = S::as_mut_simd_f32s(self.gate);
        let (ups, last_ups) = S::as_simd_f32s(self.up);
        for (gate, up) in gates.iter_mut().zip(ups) {
            *gate = gated(simd, *gate, *up);
        }
        let last = gated(simd, simd.partial_load_f32s(last_gates), simd.partial_load_f32s(last_ups));
        simd.partial_store_f32s(last_gates, last);
    }
}

/// The exponential is taken of the negative magnitude, which cannot overflow.
#[inline(always)]
fn gated<S: Simd>(simd: S, gate: S::f32s, up: S::f32s) -> S::f32s {
    let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
    let magnitude = simd.abs_f32s(gate);
    let power = exp2(simd, simd.mul_f32s(magnitude, simd.splat_f32s(-LOG2_E)));
    let numerator = simd.select_f32s(simd.less_than_f32s(gate, zero), power, one);
    let share = simd.div_f32s(numerator, simd.add_f32s(one, power));
    simd.mul_f32s(simd.mul_f32s(gate, share), up)
}
