//! Codes and halves as numbers of a register.

use std::any::Any;

use bytemuck::cast;
use pulp::Simd;
#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};

use super::chunk::LANES;

/// The codes of 8 bits with a sign from `at` on as numbers, one per lane.
#[inline(always)]
pub(super) fn whole<S: Simd>(simd: S, codes: [u64; 2], at: usize) -> S::f32s {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(V4 { avx512f, .. }) = (&simd as &dyn Any).downcast_ref() {
            return cast(avx512f._mm512_cvtepi32_ps(avx512f._mm512_cvtepi8_epi32(cast(codes))));
        }
        if let Some(V3 { avx, avx2, .. }) = (&simd as &dyn Any).downcast_ref() {
            let codes = [codes[at / 8], 0];
            return cast(avx._mm256_cvtepi32_ps(avx2._mm256_cvtepi8_epi32(cast(codes))));
        }
    }
    let mut wide = [0.0; LANES];
    let codes = codes.map(u64::to_le_bytes);
    for (wide, &code) in wide.iter_mut().zip(&codes.as_flattened()[at..]) {
        *wide = f32::from(code as i8);
    }
    S::as_simd_f32s(&wide).0[0]
}

/// One of two bytes for each of 32 bits, the second where the bit is set. Eight bytes per word.
#[inline(always)]
pub(super) fn choose<S: Simd>(simd: S, bits: [u8; 4], [not_set, set]: [u8; 2]) -> [u64; 4] {
    #[cfg(target_arch = "x86_64")]
    if let Some(V4 { avx512f, avx512bw, .. }) = (&simd as &dyn Any).downcast_ref() {
        let not_set = avx512f._mm512_set1_epi8(not_set as i8);
        let mask = u64::from(u32::from_le_bytes(bits));
        let [chosen, _]: [[u64; 4]; 2] = cast(avx512bw._mm512_mask_set1_epi8(not_set, mask, set as i8));
        return chosen;
    }
    let mut chosen = [0; 4];
    for (chosen, bits) in chosen.iter_mut().zip(bits) {
        // A byte keeps the bit of its place. If that is set, the sum sets the byte's highest bit.
        let own = (u64::from(bits) * u64::from_le_bytes([1; 8])) & 0x8040_2010_0804_0201;
        let set_bytes = ((own + u64::from_le_bytes([0x7f; 8])) >> 7) & u64::from_le_bytes([1; 8]);
        *chosen = u64::from_le_bytes([not_set; 8]) ^ (set_bytes * u64::from(not_set ^ set));
    }
    chosen
}

/// Halves as f32, exactly.
#[inline(always)]
pub(super) fn halves<S: Simd>(simd: S, halves: &[u16; LANES]) -> [f32; LANES] {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = (&simd as &dyn Any).downcast_ref::<V4>() {
        return cast(simd.avx512f._mm512_cvtph_ps(cast(*halves)));
    }
    let mut wide = [0.0; LANES];
    for (wide, &narrow) in wide.iter_mut().zip(halves) {
        *wide = half(narrow);
    }
    wide
}

/// A half as f32, exactly and without a branch: the exponent's bias grows from 15 to 127. A subnormal half gets a leading one,
/// which a subtraction removes again; infinity and NaN get the highest exponent.
#[inline(always)]
pub(super) fn half(half: u16) -> f32 {
    const BIAS: u32 = 112 << 23;
    const SMALLEST_NORMAL: u32 = BIAS + (1 << 23);
    let bits = u32::from(half);
    let magnitude = (bits & 0x7fff) << 13;
    let subnormal = (f32::from_bits(magnitude + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL)).to_bits();
    let bias = if magnitude < 0x1f << 23 { BIAS } else { 2 * BIAS };
    let magnitude = if magnitude < 1 << 23 { subnormal } else { magnitude + bias };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}
