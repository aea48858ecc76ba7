//! The machine's rates, measured beside the stages.

use std::hint::black_box;
use std::time::Instant;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use laprox_fast::Level;
use laprox_fast::simd::{Panels, ROWS, Rows, tile};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::work::Work;

/// Runs per stage, of which the median counts. A stage that takes longer than [`LONGEST`] has [`FEW`].
const RUNS: usize = 21;
const FEW: usize = 3;

/// The least seconds per run.
const SHORTEST: f64 = 0.05;

/// The most seconds per run of [`RUNS`].
const LONGEST: f64 = 1.0;

/// Bytes that a thread copies, many times the size of its own caches.
const COPIED: usize = 128 << 20;

/// Flops and bytes per second, of all threads together.
#[derive(Clone, Copy)]
pub struct Rates {
    pub flops: f64,
    pub bandwidth: f64,
}

impl Rates {
    /// The rates at the mean of both times.
    fn mean(self, other: Self) -> Self {
        let mean = |one: f64, two: f64| 2.0 / (1.0 / one + 1.0 / two);
        Self { flops: mean(self.flops, other.flops), bandwidth: mean(self.bandwidth, other.bandwidth) }
    }

    /// Seconds that the work takes at least.
    fn floor(self, work: Work) -> f64 {
        (work.flops / self.flops).max(work.bytes / self.bandwidth)
    }
}

/// The threads of the pool that this runs in, and the memory that each of them copies.
pub struct Machine {
    buffers: Vec<[Vec<u8>; 2]>,
}

impl Machine {
    pub fn new() -> Self {
        let buffers = || [vec![1_u8; COPIED], vec![0_u8; COPIED]];
        let mut machine = Self { buffers: (0..rayon::current_num_threads()).map(|_| buffers()).collect() };
        // Memory that has never been written is slower.
        machine.rates();
        machine
    }

    /// The rates that all threads reach at the same time, now.
    pub fn rates(&mut self) -> Rates {
        let threads = self.buffers.len();
        let (tiles, mut copies) = (Tiles::new(), self.buffers.iter_mut().collect::<Vec<_>>());
        let multiply = || (0..threads).into_par_iter().with_max_len(1).for_each(|_| tiles.multiply());
        let copy = || {
            copies.par_iter_mut().with_max_len(1).for_each(|[from, to]| to.copy_from_slice(black_box(from)));
        };
        Rates {
            flops: threads as f64 * Tiles::FLOPS / timed(multiply),
            bandwidth: 2.0 * (threads * COPIED) as f64 / timed(copy),
        }
    }

    /// Measures a stage between measurements of the machine, and prints the medians.
    pub fn line(&mut self, stage: &str, work: Work, mut run: impl FnMut()) {
        let once = timed(&mut run);
        let repeats = (SHORTEST / once).ceil().max(1.0);
        let mut before = self.rates();
        let mut measure = || {
            let time = timed(|| (0..repeats as usize).for_each(|_| run())) / repeats;
            let after = self.rates();
            let floor = std::mem::replace(&mut before, after).mean(after).floor(work);
            (floor, time, time / floor)
        };
        let runs: Vec<_> = (0..if once > LONGEST { FEW } else { RUNS }).map(|_| measure()).collect();
        let sorted = |of: fn(&(f64, f64, f64)) -> f64| {
            let mut numbers: Vec<f64> = runs.iter().map(of).collect();
            numbers.sort_by(f64::total_cmp);
            numbers
        };
        let (floors, times, ratios) = (sorted(|run| run.0), sorted(|run| run.1), sorted(|run| run.2));
        let middle = runs.len() / 2;
        println!(
            "{stage:<24} {:>8.2} {:>7.1} {:>9.3} {:>9.3} {:>7.2}   {:.2} to {:.2}",
            work.flops / 1e9,
            work.bytes / 1e6,
            floors[middle] * 1e3,
            times[middle] * 1e3,
            ratios[middle],
            ratios[middle / 2],
            ratios[runs.len() - 1 - middle / 2],
        );
    }
}

/// Seconds.
fn timed(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

/// The best of some runs of one thread, in units per second.
fn best(units: f64, mut run: impl FnMut()) -> f64 {
    (0..RUNS).map(|_| units / timed(&mut run)).fold(0.0, f64::max)
}

/// faer's rate of f32 products, of two square matrices.
pub fn faer_rate() -> f64 {
    const N: usize = 1024;
    let (one, two, mut three) = (vec![0.5_f32; N * N], vec![0.25_f32; N * N], vec![0.0_f32; N * N]);
    best(2.0 * (N * N * N) as f64, || {
        let product = MatMut::from_column_major_slice_mut(&mut three, N, N);
        let [one, two] = [&one, &two].map(|numbers| MatRef::from_column_major_slice(numbers, N, N));
        matmul(product, Accum::Replace, one, two, 1.0, Par::Seq);
    })
}

/// The rate of this crate's products from cache.
pub fn tile_rate() -> f64 {
    let tiles = Tiles::new();
    best(Tiles::FLOPS, || tiles.multiply())
}

/// This crate's tile, rows and panel in the first-level cache.
struct Tiles {
    level: Level,
    rows: Vec<f32>,
    panels: Panels,
    rounds: usize,
}

impl Tiles {
    const FLOPS: f64 = 1e9;
    /// Rows of the panel.
    const LEN: usize = 128;

    fn new() -> Self {
        let level = Level::best();
        let columns = level.registers().lanes * level.registers().panel;
        Self {
            level,
            rows: vec![0.5; 4 * ROWS * Self::LEN],
            panels: Panels::pack(level, Self::LEN, columns, |_, _| 0.25),
            rounds: (Self::FLOPS / (2 * ROWS * Self::LEN * columns) as f64).round() as usize,
        }
    }

    fn multiply(&self) {
        black_box(self.level.run(black_box(self)));
    }
}

impl WithSimd for &Tiles {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (mut total, len) = (simd.splat_f32s(0.0), black_box(Tiles::LEN));
        for (_, wide, panel) in self.panels.iter::<S>() {
            for round in 0..self.rounds {
                let rows = Rows::new(&self.rows, round % 4 * ROWS, 4 * ROWS, len, 1);
                let mut sums = [[simd.splat_f32s(0.0); 4]; ROWS];
                if wide == 4 {
                    tile::<S, f32, 4, 4>(simd, rows, panel, 4, len, &mut sums);
                } else {
                    tile::<S, f32, 2, 4>(simd, rows, panel, 2, len, &mut sums);
                }
                for sum in sums.into_iter().flatten() {
                    total = simd.add_f32s(total, sum);
                }
            }
        }
        simd.reduce_sum_f32s(total)
    }
}

/// The rate of multiply-adds in registers, which no product can exceed.
pub fn register_rate() -> f64 {
    const ROUNDS: usize = 1_000_000;
    const CHAINS: usize = 24;
    struct Chains(f32);
    impl WithSimd for Chains {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let factor = simd.splat_f32s(self.0);
            let mut sums = [factor; CHAINS];
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = simd.mul_add_e_f32s(*sum, factor, factor);
                }
            }
            let total = sums.into_iter().fold(factor, |total, sum| simd.add_f32s(total, sum));
            simd.reduce_sum_f32s(total)
        }
    }
    let level = Level::best();
    best((2 * ROUNDS * CHAINS * level.registers().lanes) as f64, || {
        black_box(level.run(Chains(black_box(0.5))));
    })
}
