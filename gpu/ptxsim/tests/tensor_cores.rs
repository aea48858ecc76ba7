//! The product of a warp against plain loops over the matrices.

mod common;

use common::Bench;
use half::{bf16, f16};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Loads a lane's words from `a` (4 of A, 2 of B, 4 of C), multiplies, stores 4 words to `b`.
fn body(format: &str) -> String {
    format!(
        "mul.wide.u32 %rd5, %r0, 40; add.s64 %rd3, %rd0, %rd5;
        ld.global.u32 %r1, [%rd3]; ld.global.u32 %r2, [%rd3+4]; ld.global.u32 %r3, [%rd3+8]; ld.global.u32 %r4, [%rd3+12];
        ld.global.u32 %r5, [%rd3+16]; ld.global.u32 %r6, [%rd3+20];
        ld.global.f32 %f0, [%rd3+24]; ld.global.f32 %f1, [%rd3+28]; ld.global.f32 %f2, [%rd3+32]; ld.global.f32 %f3, [%rd3+36];
        mma.sync.aligned.m16n8k16.row.col.f32.{format}.{format}.f32
            {{%f0, %f1, %f2, %f3}}, {{%r1, %r2, %r3, %r4}}, {{%r5, %r6}}, {{%f0, %f1, %f2, %f3}};
        mul.wide.u32 %rd6, %r0, 16; add.s64 %rd4, %rd1, %rd6; st.global.v4.f32 [%rd4], {{%f0, %f1, %f2, %f3}};"
    )
}

/// A row and a column.
type Place = (usize, usize);

/// The matrices that PTX's documentation puts into a lane's words: `(row, column)` of each.
fn places(lane: usize) -> ([[Place; 2]; 4], [[Place; 2]; 2], [Place; 4]) {
    let (group, member) = (lane >> 2, lane & 3);
    let a = |row: usize, column: usize| [(row, column), (row, column + 1)];
    let b = |row: usize| [(row, group), (row + 1, group)];
    (
        [
            a(group, 2 * member),
            a(group + 8, 2 * member),
            a(group, 2 * member + 8),
            a(group + 8, 2 * member + 8),
        ],
        [b(2 * member), b(2 * member + 8)],
        [(group, 2 * member), (group, 2 * member + 1), (group + 8, 2 * member), (group + 8, 2 * member + 1)],
    )
}

fn check(
    format: &str,
    bits: impl Fn(f64) -> u16,
    number: impl Fn(u16) -> f64,
    draw: impl Fn(&mut ChaCha8Rng) -> f64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..20 {
        let mut matrix = |len: usize| -> Vec<u16> { (0..len).map(|_| bits(draw(&mut rng))).collect() };
        let (a, b) = (matrix(16 * 16), matrix(16 * 8));
        let c: Vec<f32> = (0..16 * 8).map(|_| rng.random_range(-9.0..9.0)).collect();
        let mut words = Vec::new();
        for lane in 0..32 {
            let (of_a, of_b, of_c) = places(lane);
            let word = |matrix: &[u16], width: usize, [low, high]: [Place; 2]| {
                let at = |(row, column): Place| u32::from(matrix[row * width + column]);
                at(low) | at(high) << 16
            };
            words.extend(of_a.map(|pair| word(&a, 16, pair)));
            words.extend(of_b.map(|pair| word(&b, 8, pair)));
            words.extend(of_c.map(|(row, column)| c[row * 8 + column].to_bits()));
        }
        let mut bench = Bench::new(&body(format));
        bench.buffers[0] = bench.memory.allocate(4 * words.len());
        let found = bench.with(0, &words).words(1, 128);
        for lane in 0..32 {
            for (entry, (row, column)) in places(lane).2.into_iter().enumerate() {
                let pairs = (0..16).map(|k| (number(a[row * 16 + k]), number(b[k * 8 + column])));
                let (sum, size) = pairs.fold((f64::from(c[row * 8 + column]), 0.0), |(sum, size), (x, y)| {
                    (sum + x * y, size + (x * y).abs())
                });
                let found = f64::from(f32::from_bits(found[4 * lane + entry]));
                // One rounding to f32, and the last bits of 17 additions in f64.
                let bound = sum.abs() * 2.0_f64.powi(-24) + 20.0 * f64::EPSILON * (size + 9.0);
                assert!((found - sum).abs() <= bound, "{format}, ({row}, {column}): {found}, expected {sum}");
            }
        }
    }
}

#[test]
fn bf16_products_are_matrix_products() {
    let draw =
        |rng: &mut ChaCha8Rng| rng.random_range(-3.0..3.0_f64) * 2.0_f64.powi(rng.random_range(-20..20));
    check("bf16", |x| bf16::from_f64(x).to_bits(), |bits| bf16::from_bits(bits).to_f64(), draw);
}

#[test]
fn f16_products_are_matrix_products() {
    let draw =
        |rng: &mut ChaCha8Rng| rng.random_range(-3.0..3.0_f64) * 2.0_f64.powi(rng.random_range(-20..10));
    check("f16", |x| f16::from_f64(x).to_bits(), |bits| f16::from_bits(bits).to_f64(), draw);
}

/// Small whole numbers are multiplied exactly.
#[test]
fn whole_numbers_are_multiplied_exactly() {
    let draw = |rng: &mut ChaCha8Rng| f64::from(rng.random_range(-8..=8_i8));
    check("bf16", |x| bf16::from_f64(x).to_bits(), |bits| bf16::from_bits(bits).to_f64(), draw);
    check("f16", |x| f16::from_f64(x).to_bits(), |bits| f16::from_bits(bits).to_f64(), draw);
}
