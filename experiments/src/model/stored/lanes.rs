//! Bytes and bits as numbers of a register.

use std::any::Any;

use bytemuck::cast;
use pulp::Simd;

/// 2^23, from which on f32's numbers are whole: its last bits count from there.
const WHOLE: u32 = 0x4b00_0000;

/// The first bytes as numbers, one per lane.
///
/// # Panics
/// When there are fewer bytes than lanes.
#[inline(always)]
pub(super) fn bytes<S: Simd>(simd: S, bytes: &[u8]) -> S::u32s {
    #[cfg(target_arch = "x86_64")]
    {
        use pulp::x86::{V3, V4};
        if let Some(simd) = (&simd as &dyn Any).downcast_ref::<V4>() {
            let bytes: [u8; 16] = *bytes.first_chunk().expect("a byte per lane");
            return cast(simd.avx512f._mm512_cvtepu8_epi32(cast(bytes)));
        }
        if let Some(simd) = (&simd as &dyn Any).downcast_ref::<V3>() {
            let bytes: [u8; 8] = *bytes.first_chunk().expect("a byte per lane");
            return cast(simd.avx2._mm256_cvtepu8_epi32(cast([u64::from_le_bytes(bytes), 0])));
        }
    }
    let mut wide = [0; 16];
    for (wide, &byte) in wide.iter_mut().zip(&bytes[..S::U32_LANES]) {
        *wide = u32::from(byte);
    }
    S::as_simd_u32s(&wide).0[0]
}

/// The bits from `first` on, one per lane, as 0 and 1.
#[inline(always)]
pub(super) fn bits<S: Simd>(simd: S, bits: u32, first: usize) -> S::u32s {
    const PLACES: [u32; 32] = {
        let mut places = [0; 32];
        let mut place = 0;
        while place < 32 {
            places[place] = place as u32;
            place += 1;
        }
        places
    };
    let places = S::as_simd_u32s(&PLACES[first..]).0[0];
    let shifted = simd.wrapping_dyn_shr_u32s(simd.splat_u32s(bits), places);
    simd.and_u32s(shifted, simd.splat_u32s(1))
}

/// `(numbers >> shift) & mask`.
#[inline(always)]
pub(super) fn field<S: Simd>(simd: S, numbers: S::u32s, shift: u32, mask: u32) -> S::u32s {
    let shifted = simd.wrapping_dyn_shr_u32s(numbers, simd.splat_u32s(shift));
    simd.and_u32s(shifted, simd.splat_u32s(mask))
}

/// `numbers | (above << shift)`.
#[inline(always)]
pub(super) fn joined<S: Simd>(simd: S, numbers: S::u32s, above: S::u32s, shift: u32) -> S::u32s {
    simd.or_u32s(numbers, simd.wrapping_dyn_shl_u32s(above, simd.splat_u32s(shift)))
}

/// `numbers - offset`, exactly, of numbers below 2^23.
#[inline(always)]
pub(super) fn less<S: Simd>(simd: S, numbers: S::u32s, offset: f32) -> S::f32s {
    let whole = simd.transmute_f32s_u32s(simd.or_u32s(numbers, simd.splat_u32s(WHOLE)));
    simd.sub_f32s(whole, simd.splat_f32s(f32::from_bits(WHOLE) + offset))
}

/// Numbers of 8 bits with a sign.
#[inline(always)]
pub(super) fn signed<S: Simd>(simd: S, bytes: S::u32s) -> S::f32s {
    less(simd, simd.xor_u32s(bytes, simd.splat_u32s(128)), 128.0)
}
