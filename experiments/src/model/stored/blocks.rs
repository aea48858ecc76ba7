//! The stored formats: blocks of a few numbers with scales of their own, and how each block widens to f32.
//!
//! What a block stands for fits f32 but for the last addition: the products of its scales and numbers have at most 24 bits. So
//! a widened number is the exact one, rounded once, and every instruction set finds the same.

use pulp::Simd;

use super::lanes::{bits, bytes, field, joined, less, signed};

/// A format of consecutive blocks.
pub(super) trait Blocks {
    /// Widens whole blocks into `wide`, which has a place for every number of theirs.
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]);
}

/// Calls `widen` with every block of `BYTES` bytes and the places of its numbers, sixteen by sixteen.
#[inline(always)]
fn each<const BYTES: usize, const SIXTEENS: usize>(
    blocks: &[u8],
    wide: &mut [f32],
    widen: impl Fn(&[u8; BYTES], &mut [[f32; 16]; SIXTEENS]),
) {
    let (blocks, _) = blocks.as_chunks::<BYTES>();
    let (wide, _) = wide.as_chunks_mut::<16>();
    let (wide, _) = wide.as_chunks_mut::<SIXTEENS>();
    // A loop, because `for_each` may be compiled apart, without the kernel's instruction set.
    for (block, wide) in blocks.iter().zip(wide) {
        widen(block, wide);
    }
}

/// Fills registers with the numbers from a place among the sixteen on.
#[inline(always)]
fn fill<S: Simd>(wide: &mut [f32; 16], numbers: impl Fn(usize) -> S::f32s) {
    let (wide, _) = S::as_mut_simd_f32s(wide);
    for (index, wide) in wide.iter_mut().enumerate() {
        *wide = numbers(index * S::F32_LANES);
    }
}

/// The numbers themselves.
pub(super) struct F32;

impl Blocks for F32 {
    #[inline(always)]
    fn widen<S: Simd>(_: S, blocks: &[u8], wide: &mut [f32]) {
        for (number, wide) in blocks.as_chunks().0.iter().zip(wide) {
            *wide = f32::from_le_bytes(*number);
        }
    }
}

/// IEEE halves.
pub(super) struct F16;

impl Blocks for F16 {
    #[inline(always)]
    fn widen<S: Simd>(_: S, blocks: &[u8], wide: &mut [f32]) {
        for (number, wide) in blocks.as_chunks().0.iter().zip(wide) {
            *wide = half(*number);
        }
    }
}

/// The upper halves of f32 numbers.
pub(super) struct Bf16;

impl Blocks for Bf16 {
    #[inline(always)]
    fn widen<S: Simd>(_: S, blocks: &[u8], wide: &mut [f32]) {
        for (number, wide) in blocks.as_chunks().0.iter().zip(wide) {
            *wide = f32::from_bits(u32::from(u16::from_le_bytes(*number)) << 16);
        }
    }
}

/// `d (q - 8)`, q of 4 bits.
pub(super) struct Q4_0;

impl Blocks for Q4_0 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]) {
        each::<18, 2>(
            blocks,
            wide,
            #[inline(always)]
            |block, wide| {
                let (d, quants) = (simd.splat_f32s(scale(block, 0)), &block[2..]);
                for (half, wide) in wide.iter_mut().enumerate() {
                    fill::<S>(
                        wide,
                        #[inline(always)]
                        |at| {
                            let q = field(simd, bytes(simd, &quants[at..]), half as u32 * 4, 15);
                            simd.mul_f32s(less(simd, q, 8.0), d)
                        },
                    );
                }
            },
        );
    }
}

/// `d q + m`, q of 4 bits.
pub(super) struct Q4_1;

impl Blocks for Q4_1 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]) {
        each::<20, 2>(
            blocks,
            wide,
            #[inline(always)]
            |block, wide| {
                let [d, m] = [0, 2].map(|first| simd.splat_f32s(scale(block, first)));
                for (half, wide) in wide.iter_mut().enumerate() {
                    fill::<S>(
                        wide,
                        #[inline(always)]
                        |at| {
                            let q = field(simd, bytes(simd, &block[4 + at..]), half as u32 * 4, 15);
                            simd.mul_add_e_f32s(less(simd, q, 0.0), d, m)
                        },
                    );
                }
            },
        );
    }
}

/// `d (q - 16)`, q of 5 bits, the highest apart.
pub(super) struct Q5_0;

impl Blocks for Q5_0 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]) {
        each::<22, 2>(
            blocks,
            wide,
            #[inline(always)]
            |block, wide| {
                let (d, highest) = (simd.splat_f32s(scale(block, 0)), u32::from_le_bytes(*part(block, 2)));
                for (half, wide) in wide.iter_mut().enumerate() {
                    fill::<S>(
                        wide,
                        #[inline(always)]
                        |at| {
                            let low = field(simd, bytes(simd, &block[6 + at..]), half as u32 * 4, 15);
                            let q = joined(simd, low, bits(simd, highest >> (half * 16), at), 4);
                            simd.mul_f32s(less(simd, q, 16.0), d)
                        },
                    );
                }
            },
        );
    }
}

/// `d q + m`, q of 5 bits, the highest apart.
pub(super) struct Q5_1;

impl Blocks for Q5_1 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]) {
        each::<24, 2>(
            blocks,
            wide,
            #[inline(always)]
            |block, wide| {
                let [d, m] = [0, 2].map(|first| simd.splat_f32s(scale(block, first)));
                let highest = u32::from_le_bytes(*part(block, 4));
                for (half, wide) in wide.iter_mut().enumerate() {
                    fill::<S>(
                        wide,
                        #[inline(always)]
                        |at| {
                            let low = field(simd, bytes(simd, &block[8 + at..]), half as u32 * 4, 15);
                            let q = joined(simd, low, bits(simd, highest >> (half * 16), at), 4);
                            simd.mul_add_e_f32s(less(simd, q, 0.0), d, m)
                        },
                    );
                }
            },
        );
    }
}

/// `d q`, q of 8 bits.
pub(super) struct Q8_0;

impl Blocks for Q8_0 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]) {
        each::<34, 2>(
            blocks,
            wide,
            #[inline(always)]
            |block, wide| {
                let d = simd.splat_f32s(scale(block, 0));
                for (half, wide) in wide.iter_mut().enumerate() {
                    fill::<S>(
                        wide,
                        #[inline(always)]
                        |at| simd.mul_f32s(signed(simd, bytes(simd, &block[2 + half * 16 + at..])), d),
                    );
                }
            },
        );
    }
}

/// `d s q - dmin m`, q of 2 bits, s and m of 4 bits per 16 numbers.
pub(super) struct Q2K;

impl Blocks for Q2K {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]) {
        each::<84, 16>(
            blocks,
            wide,
            #[inline(always)]
            |block, wide| {
                let (d, dmin) = (scale(block, 80), scale(block, 82));
                for (group, wide) in wide.iter_mut().enumerate() {
                    let quants = &block[16 + group / 8 * 32 + group % 2 * 16..];
                    let shift = (group % 8 / 2 * 2) as u32;
                    let d_s = simd.splat_f32s(d * f32::from(block[group] & 15));
                    let less_m = simd.splat_f32s(-dmin * f32::from(block[group] >> 4));
                    fill::<S>(
                        wide,
                        #[inline(always)]
                        |at| {
                            let q = field(simd, bytes(simd, &quants[at..]), shift, 3);
                            simd.mul_add_e_f32s(less(simd, q, 0.0), d_s, less_m)
                        },
                    );
                }
            },
        );
    }
}

/// `d (s - 32) (q - 4)`, q of 3 bits, the highest apart, s of 6 bits per 16 numbers.
pub(super) struct Q3K;

impl Blocks for Q3K {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]) {
        each::<110, 16>(
            blocks,
            wide,
            #[inline(always)]
            |block, wide| {
                let (scales, d) = (part::<12>(block, 96), scale(block, 108));
                for (group, wide) in wide.iter_mut().enumerate() {
                    let highest = &block[group % 2 * 16..];
                    let quants = &block[32 + group / 8 * 32 + group % 2 * 16..];
                    let shift = (group % 8 / 2 * 2) as u32;
                    let s_low = scales[group % 8] >> (group / 8 * 4) & 15;
                    let s_high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
                    let d_s = simd.splat_f32s(d * (f32::from(s_low | s_high << 4) - 32.0));
                    fill::<S>(
                        wide,
                        #[inline(always)]
                        |at| {
                            let low = field(simd, bytes(simd, &quants[at..]), shift, 3);
                            let high = field(simd, bytes(simd, &highest[at..]), (group / 2) as u32, 1);
                            simd.mul_f32s(less(simd, joined(simd, low, high, 2), 4.0), d_s)
                        },
                    );
                }
            },
        );
    }
}

/// `d s q - dmin m`, q of 4 bits, s and m of 6 bits per 32 numbers.
pub(super) struct Q4K;

impl Blocks for Q4K {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]) {
        each::<144, 16>(
            blocks,
            wide,
            #[inline(always)]
            |block, wide| {
                let (scales, d, dmin) = (part::<12>(block, 4), scale(block, 0), scale(block, 2));
                for (index, wide) in wide.iter_mut().enumerate() {
                    let (group, half) = (index / 2, index % 2);
                    let quants = &block[16 + group / 2 * 32 + half * 16..];
                    let (s, m) = scale_and_min(scales, group);
                    let (d_s, less_m) = (simd.splat_f32s(d * s), simd.splat_f32s(-dmin * m));
                    fill::<S>(
                        wide,
                        #[inline(always)]
                        |at| {
                            let q = field(simd, bytes(simd, &quants[at..]), (group % 2 * 4) as u32, 15);
                            simd.mul_add_e_f32s(less(simd, q, 0.0), d_s, less_m)
                        },
                    );
                }
            },
        );
    }
}

/// `d s q - dmin m`, q of 5 bits, the highest apart, s and m of 6 bits per 32 numbers.
pub(super) struct Q5K;

impl Blocks for Q5K {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]) {
        each::<176, 16>(
            blocks,
            wide,
            #[inline(always)]
            |block, wide| {
                let (scales, d, dmin) = (part::<12>(block, 4), scale(block, 0), scale(block, 2));
                for (index, wide) in wide.iter_mut().enumerate() {
                    let (group, half) = (index / 2, index % 2);
                    let (highest, quants) =
                        (&block[16 + half * 16..], &block[48 + group / 2 * 32 + half * 16..]);
                    let (s, m) = scale_and_min(scales, group);
                    let (d_s, less_m) = (simd.splat_f32s(d * s), simd.splat_f32s(-dmin * m));
                    fill::<S>(
                        wide,
                        #[inline(always)]
                        |at| {
                            let low = field(simd, bytes(simd, &quants[at..]), (group % 2 * 4) as u32, 15);
                            let high = field(simd, bytes(simd, &highest[at..]), group as u32, 1);
                            simd.mul_add_e_f32s(less(simd, joined(simd, low, high, 4), 0.0), d_s, less_m)
                        },
                    );
                }
            },
        );
    }
}

/// `d s (q - 32)`, q of 6 bits, the highest two apart, s of 8 bits per 16 numbers.
pub(super) struct Q6K;

impl Blocks for Q6K {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, blocks: &[u8], wide: &mut [f32]) {
        each::<210, 16>(
            blocks,
            wide,
            #[inline(always)]
            |block, wide| {
                let (scales, d) = (part::<16>(block, 192), scale(block, 208));
                for (group, wide) in wide.iter_mut().enumerate() {
                    let (half, quarter, end) = (group / 8, group % 8 / 2, group % 2 * 16);
                    let lowest = &block[half * 64 + quarter % 2 * 32 + end..];
                    let highest = &block[128 + half * 32 + end..];
                    let d_s = simd.splat_f32s(d * f32::from(scales[group] as i8));
                    fill::<S>(
                        wide,
                        #[inline(always)]
                        |at| {
                            let low = field(simd, bytes(simd, &lowest[at..]), (quarter / 2 * 4) as u32, 15);
                            let high = field(simd, bytes(simd, &highest[at..]), (quarter * 2) as u32, 3);
                            simd.mul_f32s(less(simd, joined(simd, low, high, 4), 32.0), d_s)
                        },
                    );
                }
            },
        );
    }
}

/// The scale and the minimum of a group, 6 bits each: those of the first four groups in bytes of their own, which hold the
/// highest two bits of the others'.
#[inline(always)]
fn scale_and_min(scales: &[u8; 12], group: usize) -> (f32, f32) {
    let (s, m) = if group < 4 {
        (scales[group] & 63, scales[group + 4] & 63)
    } else {
        let [s, m] = [scales[group - 4] >> 6 << 4, scales[group] >> 6 << 4];
        (scales[group + 4] & 15 | s, scales[group + 4] >> 4 | m)
    };
    (f32::from(s), f32::from(m))
}

#[inline(always)]
fn part<const LEN: usize>(block: &[u8], first: usize) -> &[u8; LEN] {
    block[first..].first_chunk().expect("a part inside the block")
}

#[inline(always)]
fn scale(block: &[u8], first: usize) -> f32 {
    half(*part(block, first))
}

/// A half as f32, exactly and without a branch: the exponent's bias grows from 15 to 127. A subnormal half gets a leading one,
/// which a subtraction removes again; infinity and NaN get the highest exponent.
#[inline(always)]
fn half(bytes: [u8; 2]) -> f32 {
    const BIAS: u32 = 112 << 23;
    const SMALLEST_NORMAL: u32 = BIAS + (1 << 23);
    let bits = u32::from(u16::from_le_bytes(bytes));
    let magnitude = (bits & 0x7fff) << 13;
    let subnormal = (f32::from_bits(magnitude + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL)).to_bits();
    let bias = if magnitude < 0x1f << 23 { BIAS } else { 2 * BIAS };
    let magnitude = if magnitude < 1 << 23 { subnormal } else { magnitude + bias };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}
