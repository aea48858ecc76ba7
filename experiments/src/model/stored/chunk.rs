//! A chunk of a weight row between its bytes and a register: codes with factors, or plain numbers.

use pulp::Simd;

use super::lanes;
pub(super) use crate::model::lane_sums::LANES;

/// The numbers of a chunk: a multiple of every block's length.
pub(super) const CHUNK: usize = 256;
/// The sixteens of a chunk.
const SIXTEENS: usize = CHUNK / LANES;

/// A chunk as its format reads it.
pub(super) trait Chunk {
    /// An empty chunk.
    fn empty() -> Self;

    /// The numbers of a register, from number `at` of a sixteen on.
    fn numbers<S: Simd>(&self, simd: S, sixteen: usize, at: usize) -> S::f32s;

    /// Copies its first numbers.
    #[inline(always)]
    fn widen<S: Simd>(&self, simd: S, wide: &mut [f32]) {
        let (whole, rest) = wide.as_chunks_mut::<LANES>();
        for (sixteen, wide) in whole.iter_mut().enumerate() {
            self.widen_sixteen(simd, sixteen, wide);
        }
        if !rest.is_empty() {
            let mut last = [0.0; LANES];
            self.widen_sixteen(simd, whole.len(), &mut last);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }

    /// Copies a sixteen.
    #[inline(always)]
    fn widen_sixteen<S: Simd>(&self, simd: S, sixteen: usize, wide: &mut [f32; LANES]) {
        for (part, wide) in S::as_mut_simd_f32s(wide).0.iter_mut().enumerate() {
            *wide = self.numbers(simd, sixteen, part * S::F32_LANES);
        }
    }
}

/// Numbers `s c + a`: codes `c` of 8 bits with a sign, and a scale `s` and an addend `a` that `SHARED` sixteens share.
#[repr(align(64))]
pub(super) struct Coded<const SHARED: usize> {
    /// Eight codes per word, the first in its lowest byte.
    pub(super) codes: [[u64; 2]; SIXTEENS],
    /// Scales and addends.
    pub(super) factors: [[f32; 2]; SIXTEENS],
}

impl<const SHARED: usize> Chunk for Coded<SHARED> {
    #[inline(always)]
    fn empty() -> Self {
        Self { codes: [[0; 2]; SIXTEENS], factors: [[0.0; 2]; SIXTEENS] }
    }

    #[inline(always)]
    fn numbers<S: Simd>(&self, simd: S, sixteen: usize, at: usize) -> S::f32s {
        let [scale, addend] = self.factors[sixteen / SHARED];
        let codes = lanes::whole(simd, self.codes[sixteen], at);
        simd.mul_add_e_f32s(codes, simd.splat_f32s(scale), simd.splat_f32s(addend))
    }
}

/// The numbers themselves.
#[repr(align(64))]
pub(super) struct Plain(pub(super) [[f32; LANES]; SIXTEENS]);

impl Chunk for Plain {
    #[inline(always)]
    fn empty() -> Self {
        Self([[0.0; LANES]; SIXTEENS])
    }

    #[inline(always)]
    fn numbers<S: Simd>(&self, _: S, sixteen: usize, at: usize) -> S::f32s {
        S::as_simd_f32s(&self.0[sixteen][at..]).0[0]
    }
}

impl Plain {
    /// Takes numbers, and zeros behind them up to a whole sixteen.
    #[inline(always)]
    pub(super) fn take(&mut self, numbers: impl ExactSizeIterator<Item = f32>) {
        let places = self.0.as_flattened_mut();
        let len = numbers.len();
        places[len..len.next_multiple_of(LANES)].fill(0.0);
        for (place, number) in places.iter_mut().zip(numbers) {
            *place = number;
        }
    }
}
