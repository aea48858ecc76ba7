//! The tensor-core product of a warp: `d = a b + c` for a 16 x 16, a 16 x 8 and two 16 x 8 tiles.
//!
//! Lane `4 g + q` holds rows `g` and `g + 8` of `a`, `c` and `d`, and column `g` of `b`. Of these it holds columns `2 q` and
//! `2 q + 1` (`c` and `d`), or inner indices `2 q`, `2 q + 1`, `2 q + 8` and `2 q + 9` (`a` and `b`).

use half::f16;

use crate::lanes::{Lanes, WARP};
use crate::program::Format;

const ROWS: usize = 16;
const COLUMNS: usize = 8;
const INNER: usize = 16;

/// A product of two operands is exact in f64, and the sum of 16 of them exact to the last bits. Each entry is then rounded
/// to f32 once.
pub(crate) fn multiply(format: Format, a: [&Lanes; 4], b: [&Lanes; 2], c: [&Lanes; 4]) -> [Lanes; 4] {
    let number: fn(u16) -> f64 = match format {
        Format::Bf16 => |bits| f32::from_bits(u32::from(bits) << 16).into(),
        Format::F16 => |bits| f16::from_bits(bits).to_f64_const(),
    };
    let pair = |word: u64| [number(word as u16), number((word >> 16) as u16)];
    let mut rows = [[0.0_f64; INNER]; ROWS];
    let mut columns = [[0.0_f64; INNER]; COLUMNS];
    for lane in 0..WARP {
        let (g, q) = (lane / 4, lane % 4);
        for (word, lanes) in a.into_iter().enumerate() {
            let (row, inner) = (g + 8 * (word % 2), 2 * q + 8 * (word / 2));
            rows[row][inner..inner + 2].copy_from_slice(&pair(lanes[lane]));
        }
        for (word, lanes) in b.into_iter().enumerate() {
            let inner = 2 * q + 8 * word;
            columns[g][inner..inner + 2].copy_from_slice(&pair(lanes[lane]));
        }
    }
    let mut d = [[0; WARP]; 4];
    for lane in 0..WARP {
        let (g, q) = (lane / 4, lane % 4);
        for entry in 0..4 {
            let (row, column) = (&rows[g + 8 * (entry / 2)], &columns[2 * q + entry % 2]);
            // Four sums, which do not wait for each other.
            let mut sums = [0.0; 4];
            for (x, y) in row.chunks_exact(4).zip(column.chunks_exact(4)) {
                for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
                    *sum += x * y;
                }
            }
            let start = f64::from(f32::from_bits(c[entry][lane] as u32));
            let sum = start + ((sums[0] + sums[1]) + (sums[2] + sums[3]));
            d[entry][lane] = (sum as f32).to_bits().into();
        }
    }
    d
}
