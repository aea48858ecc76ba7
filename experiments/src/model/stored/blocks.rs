//! The stored formats: numbers as they are, and blocks of 32 codes with a scale, and perhaps an addend, as halves.
//!
//! What a block stands for fits f32 but for the last addition: the products of its scales and codes have at most 24 bits. So
//! a widened number is the exact one, rounded once, and every instruction set finds the same.

use pulp::Simd;

use super::chunk::{Chunk, Coded, LANES, Plain};
use super::lanes::{choose, halves};

/// A format of consecutive blocks.
pub(super) trait Blocks {
    /// The form in which a chunk is read.
    type Chunk: Chunk;

    /// Reads whole blocks of at most a chunk's numbers.
    fn read<S: Simd>(simd: S, blocks: &[u8], chunk: &mut Self::Chunk);
}

/// The numbers themselves.
pub(super) struct F32;

impl Blocks for F32 {
    type Chunk = Plain;

    #[inline(always)]
    fn read<S: Simd>(_: S, blocks: &[u8], chunk: &mut Plain) {
        chunk.take(blocks.as_chunks().0.iter().map(
            #[inline(always)]
            |number| f32::from_le_bytes(*number),
        ));
    }
}

/// IEEE halves.
pub(super) struct F16;

impl Blocks for F16 {
    type Chunk = Plain;

    #[inline(always)]
    fn read<S: Simd>(simd: S, blocks: &[u8], chunk: &mut Plain) {
        let (whole, rest) = blocks.as_chunks::<{ 2 * LANES }>();
        let mut last = [0; 2 * LANES];
        last[..rest.len()].copy_from_slice(rest);
        let rest = (!rest.is_empty()).then_some(&last);
        for (bytes, place) in whole.iter().chain(rest).zip(&mut chunk.0) {
            let mut narrow = [0; LANES];
            for (narrow, bytes) in narrow.iter_mut().zip(bytes.as_chunks().0) {
                *narrow = u16::from_le_bytes(*bytes);
            }
            *place = halves(simd, &narrow);
        }
    }
}

/// The upper halves of f32 numbers.
pub(super) struct Bf16;

impl Blocks for Bf16 {
    type Chunk = Plain;

    #[inline(always)]
    fn read<S: Simd>(_: S, blocks: &[u8], chunk: &mut Plain) {
        let upper = blocks.as_chunks().0.iter().map(
            #[inline(always)]
            |number| u32::from(u16::from_le_bytes(*number)),
        );
        chunk.take(upper.map(
            #[inline(always)]
            |upper| f32::from_bits(upper << 16),
        ));
    }
}

/// Blocks of 32 numbers that begin with a scale, and perhaps an addend, as halves.
trait Blocks32 {
    /// The bytes of a block.
    const BYTES: usize;
    /// A scale alone, or a scale and an addend.
    const FACTORS: usize;

    /// The codes, eight per word.
    fn codes<S: Simd>(simd: S, block: &[u8]) -> [u64; 4];
}

impl<F: Blocks32> Blocks for F {
    type Chunk = Coded<2>;

    #[inline(always)]
    fn read<S: Simd>(simd: S, blocks: &[u8], chunk: &mut Coded<2>) {
        let mut factors = [[0, NO_ADDEND]; LANES / 2];
        let places = chunk.codes.as_chunks_mut::<2>().0.iter_mut().zip(&mut factors);
        for (block, ([first, second], factors)) in blocks.chunks_exact(F::BYTES).zip(places) {
            let [a, b, c, d] = F::codes(simd, block);
            [*first, *second] = [[a, b], [c, d]];
            for (place, half) in factors.iter_mut().zip(part::<4>(block, 0).as_chunks().0).take(F::FACTORS) {
                *place = u16::from_le_bytes(*half);
            }
        }
        let pairs = halves(simd, &bytemuck::cast(factors));
        chunk.factors[..LANES / 2].copy_from_slice(pairs.as_chunks().0);
    }
}

/// The half whose sum with a number, of either sign, is the number.
const NO_ADDEND: u16 = 0x8000;

/// `d (q - 8)`, q of 4 bits.
pub(super) struct Q4_0;

impl Blocks32 for Q4_0 {
    const BYTES: usize = 18;
    const FACTORS: usize = 1;

    #[inline(always)]
    fn codes<S: Simd>(_: S, block: &[u8]) -> [u64; 4] {
        let [a, b, c, d] = nibbles(&block[2..]);
        [less(a, 8), less(b, 8), less(c, 8), less(d, 8)]
    }
}

/// `d q + m`, q of 4 bits.
pub(super) struct Q4_1;

impl Blocks32 for Q4_1 {
    const BYTES: usize = 20;
    const FACTORS: usize = 2;

    #[inline(always)]
    fn codes<S: Simd>(_: S, block: &[u8]) -> [u64; 4] {
        nibbles(&block[4..])
    }
}

/// `d (q - 16)`, q of 5 bits, the highest apart.
pub(super) struct Q5_0;

impl Blocks32 for Q5_0 {
    const BYTES: usize = 22;
    const FACTORS: usize = 1;

    #[inline(always)]
    fn codes<S: Simd>(simd: S, block: &[u8]) -> [u64; 4] {
        // A number of 5 bits without its highest, less 16, is the rest with a sign.
        or(nibbles(&block[6..]), choose(simd, *part(block, 2), [0xf0, 0]))
    }
}

/// `d q + m`, q of 5 bits, the highest apart.
pub(super) struct Q5_1;

impl Blocks32 for Q5_1 {
    const BYTES: usize = 24;
    const FACTORS: usize = 2;

    #[inline(always)]
    fn codes<S: Simd>(simd: S, block: &[u8]) -> [u64; 4] {
        or(nibbles(&block[8..]), choose(simd, *part(block, 4), [0, 16]))
    }
}

/// `d q`, q of 8 bits.
pub(super) struct Q8_0;

impl Blocks32 for Q8_0 {
    const BYTES: usize = 34;
    const FACTORS: usize = 1;

    #[inline(always)]
    fn codes<S: Simd>(_: S, block: &[u8]) -> [u64; 4] {
        let quants = &block[2..];
        [word(quants, 0), word(quants, 1), word(quants, 2), word(quants, 3)]
    }
}

/// 32 codes of 4 bits: the lower ones of 16 bytes, then the higher ones.
#[inline(always)]
fn nibbles(quants: &[u8]) -> [u64; 4] {
    let [a, b] = [word(quants, 0), word(quants, 1)];
    [field(a, 0, 15), field(b, 0, 15), field(a, 4, 15), field(b, 4, 15)]
}

#[inline(always)]
fn or([a, b, c, d]: [u64; 4], [e, f, g, h]: [u64; 4]) -> [u64; 4] {
    [a | e, b | f, c | g, d | h]
}

/// Eight bytes.
#[inline(always)]
pub(super) fn word(bytes: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(*part(bytes, index * 8))
}

/// `(byte >> shift) & mask` of eight bytes. The mask has no more bits than the shift leaves.
#[inline(always)]
pub(super) fn field(bytes: u64, shift: usize, mask: u8) -> u64 {
    bytes >> shift & u64::from_le_bytes([mask; 8])
}

/// Eight codes of at most 7 bits, less an offset of at most 128.
#[inline(always)]
pub(super) fn less(codes: u64, offset: u8) -> u64 {
    const SIGNS: u64 = 0x8080_8080_8080_8080;
    ((codes | SIGNS) - u64::from_le_bytes([offset; 8])) ^ SIGNS
}

/// Some bytes of a block.
#[inline(always)]
pub(super) fn part<const LEN: usize>(block: &[u8], first: usize) -> &[u8; LEN] {
    block[first..].first_chunk().expect("a part inside the block")
}
