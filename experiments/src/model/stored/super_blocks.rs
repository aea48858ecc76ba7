//! The stored formats of 256 numbers per block, whose scales and addends have few bits of their own and share factors.

use pulp::Simd;

use super::blocks::{Blocks, field, less, part, word};
use super::chunk::Coded;
use super::lanes::half;

/// Blocks of a chunk's numbers.
trait Blocks256 {
    /// The bytes of a block.
    const BYTES: usize;

    /// Reads the scales and addends.
    fn factors(block: &[u8], factors: &mut [[f32; 2]; 16]);

    /// Eight codes: the word `index` of the four of an eighth of the block.
    fn codes(block: &[u8], eighth: usize, index: usize) -> u64;
}

macro_rules! blocks {
    ($($format:ty: $shared:literal),*) => {$(
        impl Blocks for $format {
            type Chunk = Coded<$shared>;

            #[inline(always)]
            fn read<S: Simd>(_: S, blocks: &[u8], chunk: &mut Coded<$shared>) {
                let block: &[u8; <$format>::BYTES] = part(blocks, 0);
                <$format>::factors(block, &mut chunk.factors);
                for (eighth, sixteens) in chunk.codes.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    for (index, codes) in sixteens.as_flattened_mut().iter_mut().enumerate() {
                        *codes = <$format>::codes(block, eighth, index);
                    }
                }
            }
        }
    )*};
}

blocks!(Q2K: 1, Q3K: 1, Q4K: 2, Q5K: 2, Q6K: 1);

/// `d s q - dmin m`, q of 2 bits, s and m of 4 bits per 16 numbers.
pub(super) struct Q2K;

impl Blocks256 for Q2K {
    const BYTES: usize = 84;

    #[inline(always)]
    fn factors(block: &[u8], factors: &mut [[f32; 2]; 16]) {
        let (scale, addend) = (factor(block, 80), -factor(block, 82));
        for (index, byte) in part::<16>(block, 0).iter().enumerate() {
            factors[index] = [scale * f32::from(byte & 15), addend * f32::from(byte >> 4)];
        }
    }

    #[inline(always)]
    fn codes(block: &[u8], eighth: usize, index: usize) -> u64 {
        field(word(&block[16 + eighth / 4 * 32..], index), eighth % 4 * 2, 3)
    }
}

/// `d (s - 32) (q - 4)`, q of 3 bits, the highest apart, s of 6 bits per 16 numbers.
pub(super) struct Q3K;

impl Blocks256 for Q3K {
    const BYTES: usize = 110;

    #[inline(always)]
    fn factors(block: &[u8], factors: &mut [[f32; 2]; 16]) {
        let [a, b, c] = words(part(block, 96));
        let scales = joined([a, b, a >> 4, b >> 4], [c, c >> 2, c >> 4, c >> 6]);
        let scale = factor(block, 108);
        for (factors, s) in factors.iter_mut().zip(scales) {
            *factors = [scale * (f32::from(s) - 32.0), -0.0];
        }
    }

    #[inline(always)]
    fn codes(block: &[u8], eighth: usize, index: usize) -> u64 {
        let low = field(word(&block[32 + eighth / 4 * 32..], index), eighth % 4 * 2, 3);
        less(low | field(word(block, index), eighth, 1) << 2, 4)
    }
}

/// `d s q - dmin m`, q of 4 bits, s and m of 6 bits per 32 numbers.
pub(super) struct Q4K;

impl Blocks256 for Q4K {
    const BYTES: usize = 144;

    #[inline(always)]
    fn factors(block: &[u8], factors: &mut [[f32; 2]; 16]) {
        scales_and_addends(block, factors);
    }

    #[inline(always)]
    fn codes(block: &[u8], eighth: usize, index: usize) -> u64 {
        field(word(&block[16 + eighth / 2 * 32..], index), eighth % 2 * 4, 15)
    }
}

/// `d s q - dmin m`, q of 5 bits, the highest apart, s and m of 6 bits per 32 numbers.
pub(super) struct Q5K;

impl Blocks256 for Q5K {
    const BYTES: usize = 176;

    #[inline(always)]
    fn factors(block: &[u8], factors: &mut [[f32; 2]; 16]) {
        scales_and_addends(block, factors);
    }

    #[inline(always)]
    fn codes(block: &[u8], eighth: usize, index: usize) -> u64 {
        let low = field(word(&block[48 + eighth / 2 * 32..], index), eighth % 2 * 4, 15);
        low | field(word(&block[16..], index), eighth, 1) << 4
    }
}

/// `d s (q - 32)`, q of 6 bits, the highest two apart, s of 8 bits per 16 numbers.
pub(super) struct Q6K;

impl Blocks256 for Q6K {
    const BYTES: usize = 210;

    #[inline(always)]
    fn factors(block: &[u8], factors: &mut [[f32; 2]; 16]) {
        let scale = factor(block, 208);
        for (factors, &s) in factors.iter_mut().zip(part::<16>(block, 192)) {
            *factors = [scale * f32::from(s as i8), -0.0];
        }
    }

    #[inline(always)]
    fn codes(block: &[u8], eighth: usize, index: usize) -> u64 {
        let (half, quarter) = (eighth / 4, eighth % 4);
        let low = field(word(&block[half * 64 + quarter % 2 * 32..], index), quarter / 2 * 4, 15);
        less(low | field(word(&block[128 + half * 32..], index), quarter * 2, 3) << 4, 32)
    }
}

/// The scales and the addends of 32 numbers each, 6 bits each: those of the first four in bytes of their own, which hold the
/// highest two bits of the others'.
#[inline(always)]
fn scales_and_addends(block: &[u8], factors: &mut [[f32; 2]; 16]) {
    let [a, b, c] = words(part(block, 4));
    let low = [a, b, c, c >> 4];
    let all = joined(low, [a >> 4, b >> 4, a >> 6, b >> 6]);
    let (scale, addend) = (factor(block, 0), -factor(block, 2));
    // Those of the first four and those of the others alternate: s, m, s, m.
    for (index, factors) in factors[..8].iter_mut().enumerate() {
        let place = index / 4 * 8 + index % 4;
        *factors = [scale * f32::from(all[place]), addend * f32::from(all[place + 4])];
    }
}

/// Sixteen numbers of 6 bits: the lower four of each byte, and two more above them.
#[inline(always)]
fn joined(low: [u32; 4], high: [u32; 4]) -> [u8; 16] {
    let mut joined = [0; 16];
    for (place, (low, high)) in joined.as_chunks_mut().0.iter_mut().zip(low.into_iter().zip(high)) {
        *place = (low & 0x0f0f_0f0f | (high & 0x0303_0303) << 4).to_le_bytes();
    }
    joined
}

/// Twelve bytes as words.
#[inline(always)]
fn words(bytes: &[u8; 12]) -> [u32; 3] {
    [half_word(bytes, 0), half_word(bytes, 4), half_word(bytes, 8)]
}

#[inline(always)]
fn half_word(bytes: &[u8], first: usize) -> u32 {
    u32::from_le_bytes(*part(bytes, first))
}

#[inline(always)]
fn factor(block: &[u8], first: usize) -> f32 {
    half(u16::from_le_bytes(*part(block, first)))
}
