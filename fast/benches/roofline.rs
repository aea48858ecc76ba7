//! Every stage against what the machine can do at best.
//!
//! Measured first, on one thread: the rate of f32 products (the better of faer's square product and this crate's own tile in
//! cache, so that no stage is held against less than it could reach; multiply-adds in registers are printed beside it) and the
//! bandwidth of a copy, bytes read and written. A stage's floor is `max(flops / rate, bytes / bandwidth)`, with the flops that
//! its algorithm needs (two a multiply-add, triangles counted as triangles, an exponential as its polynomial) and the bytes that
//! it must read and write once;
//! `T` threads have `T` times the rate.
//!
//! `cargo bench --bench roofline [-- SHAPE]` prints for one thread and for two: flops, bytes, floor, time, and both over each
//! other, twice: by the processor time that all threads took together, over `T`, and by the clock. Least of several runs. Where
//! other programs compete for the cores the clock measures them, too.

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::{Live, SHAPES, every_fifth, literal_norms, scores};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use laprox_fast::columns::{Wanted, columns};
use laprox_fast::project::projected_value_norms;
use laprox_fast::score::{group_factors, head_factors};
use laprox_fast::simd::{Panels, ROWS, Rows, tile};
use laprox_fast::{Fast, Level, select};
use laprox_reference::{Backend, LayerProblem, LayerShape, Policy};
use pulp::{Simd, WithSimd};

/// Of which the least counts.
const RUNS: usize = 7;

/// Seconds that a run takes at least.
const SHORTEST: f64 = 0.2;

/// Seconds beyond which two runs are enough.
const LONGEST: f64 = 1.0;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let shape = wanted.first().map_or("llama8b_8k", String::as_str);
    let Some(&shape) = SHAPES.iter().find(|candidate| candidate.name == shape) else {
        let names: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
        eprintln!("expected one of {}, found {shape}", names.join(", "));
        std::process::exit(2);
    };
    let live = Live::new(shape);
    let machine = Machine::measure();
    println!(
        "{}, {}: products {:.1} GF/s a core (faer {:.1}, tile in cache {:.1}; multiply-adds in registers {:.1}), copy {:.1} GB/s",
        shape.name,
        Level::best(),
        machine.flops / 1e9,
        machine.faer / 1e9,
        machine.tile / 1e9,
        machine.registers / 1e9,
        machine.bandwidth / 1e9
    );
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(|| {
            println!("\n{threads} thread{}", if threads == 1 { "" } else { "s" });
            println!(
                "{:<24} {:>8} {:>7} {:>9} {:>9} {:>6} {:>9} {:>6}",
                "stage", "Gflop", "MB", "floor ms", "CPU ms", "ratio", "clock ms", "ratio"
            );
            stages(&Machine { threads: threads as f64, ..machine }, &live.problem());
        });
    }
}

/// What the machine can do.
#[derive(Clone, Copy)]
struct Machine {
    threads: f64,
    /// Of one thread.
    flops: f64,
    faer: f64,
    tile: f64,
    registers: f64,
    bandwidth: f64,
}

impl Machine {
    fn measure() -> Self {
        let (faer, tile, registers) = (faer_rate(), tile_rate(), register_rate());
        Self { threads: 1.0, flops: faer.max(tile), faer, tile, registers, bandwidth: copy_rate() }
    }

    fn line(&self, stage: &str, work: Work, mut run: impl FnMut()) {
        // Systems count processor time in steps of milliseconds.
        let once = timed(&mut run).1;
        let repeats = (SHORTEST / once).ceil().max(1.0);
        let runs = if once > LONGEST { 2 } else { RUNS };
        let mut repeated = || (0..repeats as usize).for_each(|_| run());
        let each = |(cpu, clock): (f64, f64)| (cpu / repeats, clock / repeats);
        let times: Vec<(f64, f64)> = (0..runs).map(|_| each(timed(&mut repeated))).collect();
        let least = |time: fn(&(f64, f64)) -> f64| times.iter().map(time).fold(f64::INFINITY, f64::min);
        let (cpu, clock) = (least(|time| time.0) / self.threads, least(|time| time.1));
        let floor =
            (work.flops / (self.threads * self.flops)).max(work.bytes / (self.threads * self.bandwidth));
        println!(
            "{stage:<24} {:>8.2} {:>7.1} {:>9.2} {:>9.2} {:>6.2} {:>9.2} {:>6.2}",
            work.flops / 1e9,
            work.bytes / 1e6,
            floor * 1e3,
            cpu * 1e3,
            cpu / floor,
            clock * 1e3,
            clock / floor
        );
    }
}

/// Seconds of processor and of clock.
fn timed(run: &mut impl FnMut()) -> (f64, f64) {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    run();
    let (cpu, clock) = (cpu_seconds().zip(cpu), start.elapsed().as_secs_f64());
    (cpu.map_or(clock, |(now, then)| now - then), clock)
}

/// What all threads of this process have used, where the system says so in nanoseconds.
fn cpu_seconds() -> Option<f64> {
    let mut sum = 0_u64;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        sum += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(sum as f64 * 1e-9)
}

/// The best of some runs, in units a second of processor.
fn best(units: f64, mut run: impl FnMut()) -> f64 {
    (0..RUNS).map(|_| units / timed(&mut run).0).fold(0.0, f64::max)
}

/// faer's product of two square matrices.
fn faer_rate() -> f64 {
    const N: usize = 2048;
    let (one, two, mut three) = (vec![0.5_f32; N * N], vec![0.25_f32; N * N], vec![0.0_f32; N * N]);
    best(2.0 * (N * N * N) as f64, || {
        let product = MatMut::from_column_major_slice_mut(&mut three, N, N);
        let [one, two] = [&one, &two].map(|numbers| MatRef::from_column_major_slice(numbers, N, N));
        matmul(product, Accum::Replace, one, two, 1.0, Par::Seq);
    })
}

/// This crate's tile, rows and panel in the first-level cache.
fn tile_rate() -> f64 {
    const ROUNDS: usize = 200_000;
    const LEN: usize = 128;
    struct Tiles<'a>(&'a [f32], &'a Panels);
    impl WithSimd for Tiles<'_> {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let (mut total, len) = (simd.splat_f32s(0.0), black_box(LEN));
            for (_, wide, panel) in self.1.iter::<S>() {
                for round in 0..ROUNDS {
                    let rows = Rows::new(self.0, round % 4 * ROWS, 4 * ROWS, len, 1);
                    let mut sums = [[simd.splat_f32s(0.0); 4]; ROWS];
                    if wide == 4 {
                        tile::<S, 4, 4>(simd, rows, panel, 4, len, &mut sums);
                    } else {
                        tile::<S, 2, 4>(simd, rows, panel, 2, len, &mut sums);
                    }
                    for sum in sums.into_iter().flatten() {
                        total = simd.add_f32s(total, sum);
                    }
                }
            }
            simd.reduce_sum_f32s(total)
        }
    }
    let level = Level::best();
    let columns = level.registers().lanes * level.registers().panel;
    let (rows, panels) = (vec![0.5; 4 * ROWS * LEN], Panels::pack(level, LEN, columns, |_, _| 0.25));
    best((2 * ROUNDS * ROWS * LEN * columns) as f64, || {
        black_box(level.run(Tiles(black_box(&rows), &panels)));
    })
}

/// Multiply-adds in registers: what no product can exceed.
fn register_rate() -> f64 {
    const ROUNDS: usize = 4_000_000;
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

/// A copy far larger than any cache of a core; bytes read and written.
fn copy_rate() -> f64 {
    const LEN: usize = 256 << 20;
    let (from, mut to) = (vec![1_u8; LEN], vec![0_u8; LEN]);
    best(2.0 * LEN as f64, || {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    })
}

/// Flops of a softmax's weight beside its logit: the largest so far, the difference to it, a power of two (three additions and a
/// polynomial of degree 6), the sum, the scaling, and the square for its column's norm.
const SOFTMAX: f64 = 1.0 + 1.0 + (3.0 + 12.0) + 1.0 + 1.0 + 2.0;

/// What a stage has to do.
#[derive(Clone, Copy, Default)]
struct Work {
    flops: f64,
    bytes: f64,
}

impl std::ops::Add for Work {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

/// The sizes as floating point numbers.
struct Sizes {
    heads: f64,
    kv_heads: f64,
    group: f64,
    d: f64,
    hidden: f64,
    context: f64,
    candidates: f64,
    window: f64,
}

impl Sizes {
    fn new(shape: LayerShape) -> Self {
        Self {
            heads: shape.query_heads as f64,
            kv_heads: shape.kv_heads as f64,
            group: shape.group_size() as f64,
            d: shape.head_dim as f64,
            hidden: shape.hidden_dim as f64,
            context: shape.context_len as f64,
            candidates: shape.candidate_len() as f64,
            window: shape.window_len as f64,
        }
    }

    /// Keys or values in half precision.
    fn cached_bytes(&self) -> f64 {
        2.0 * self.kv_heads * self.context * self.d
    }

    /// Logits and their softmax; one f32 a head and candidate comes out.
    fn attend(&self) -> Work {
        let weights = self.heads * self.window * self.context;
        Work {
            flops: weights * (2.0 * self.d + SOFTMAX),
            bytes: self.cached_bytes() + 4.0 * self.heads * self.candidates,
        }
    }

    /// Values times a triangle.
    fn project(&self) -> Work {
        Work {
            flops: self.heads * self.candidates * self.d * (self.d + 1.0),
            bytes: self.cached_bytes() + 4.0 * self.heads * self.candidates,
        }
    }

    /// A Gram matrix a head, its lower half, in f64: two of f32's flops each.
    fn factor(&self) -> Work {
        Work {
            flops: 2.0 * self.heads * self.hidden * self.d * (self.d + 1.0),
            bytes: 2.0 * self.hidden * self.heads * self.d,
        }
    }

    /// Products of two statistics a head, and a score a slot, pooled.
    fn combine(&self) -> Work {
        let (statistics, scores) = (self.heads * self.candidates, self.kv_heads * self.candidates);
        Work { flops: 2.0 * statistics + 7.0 * scores, bytes: (4.0 + 8.0) * statistics + 8.0 * scores }
    }

    /// Values of all heads of a group in its coordinates: a triangle of blocks.
    fn group_project(&self) -> Work {
        let width = self.group * self.d;
        Work { flops: self.kv_heads * self.candidates * width * (width + 1.0), bytes: self.cached_bytes() }
    }

    /// The mixing of the heads' projected values, and the squares.
    fn removed(&self) -> Work {
        let mixed: f64 = (1..=self.group as usize).map(|h| 2.0 * (h * h) as f64 * self.d).sum();
        let squares: f64 = 2.0 * self.group * self.group * self.d;
        Work { flops: self.kv_heads * self.candidates * (mixed + squares), bytes: 0.0 }
    }

    /// A row's differences to its centre, and the squares.
    fn centred(&self) -> Work {
        let changes: f64 = (1..=self.group as usize).map(|h| 3.0 * h as f64 * self.d).sum();
        let squares = 2.0 * self.group * self.d;
        Work { flops: self.kv_heads * self.candidates * self.window * (changes + squares), bytes: 0.0 }
    }

    /// Logits and weighted values.
    fn average(&self) -> Work {
        Work {
            flops: 4.0 * self.heads * self.window * self.context * self.d,
            bytes: 2.0 * self.cached_bytes(),
        }
    }

    /// `matrices` times `w` rows times the output projection.
    fn output(&self, matrices: f64) -> Work {
        Work {
            flops: 2.0 * matrices * self.window * self.heads * self.d * self.hidden,
            bytes: 2.0 * self.hidden * self.heads * self.d,
        }
    }
}

fn stages(machine: &Machine, problem: &LayerProblem<'_>) {
    let (level, sizes) = (Level::best(), Sizes::new(problem.shape()));
    machine.line("attend", sizes.attend(), || {
        black_box(columns(level, problem, Wanted { norms: true, ..Wanted::default() }));
    });
    let factors = head_factors(level, problem);
    machine.line("project", sizes.project(), || {
        black_box(projected_value_norms(level, problem, &factors));
    });
    machine.line(
        "project, literal",
        Work { flops: 2.0 * sizes.heads * sizes.candidates * sizes.d * sizes.hidden, ..sizes.project() },
        || {
            black_box(literal_norms(problem));
        },
    );
    machine.line("factor (once a weight)", sizes.factor(), || {
        black_box(head_factors(level, problem));
    });
    let prepared = |policy: &str| {
        let policy: Policy = policy.parse().expect("a policy");
        let mut layer = Fast::default().prepare(problem).expect("a layer");
        layer.share(&[&policy]);
        (layer, policy)
    };
    let (layer, policy) = prepared("laprox");
    machine.line("group mean and pool", sizes.combine(), || {
        black_box(layer.score(&policy).expect("scores"));
    });
    let whole = |name: &str, policy: &str, work: Work| {
        let policy: Policy = policy.parse().expect("a policy");
        machine.line(name, work, || {
            let layer = Fast::default().prepare(problem).expect("a layer");
            black_box(layer.score(&policy).expect("scores"));
        });
    };
    let scored = sizes.attend() + sizes.project() + sizes.combine();
    whole("whole laprox, factored", "laprox", scored + sizes.factor());
    whole("whole gqa=attention", "laprox:gqa=attention", scored + sizes.factor());
    whole("whole snapkv", "snapkv", sizes.attend() + sizes.combine());
    let group_factor = Work { flops: sizes.factor().flops * sizes.group, ..sizes.factor() };
    machine.line("group factor (once)", group_factor, || {
        black_box(group_factors(level, problem));
    });
    let exact = sizes.attend() + sizes.group_project() + sizes.removed();
    whole("whole gqa=exact", "laprox:gqa=exact", exact + group_factor);
    let centred = sizes.attend() + sizes.average() + sizes.group_project() + sizes.centred();
    whole("whole centred", "centred", centred + group_factor);
    let set = every_fifth(problem.shape());
    let layer = Fast::default().prepare(problem).expect("a layer");
    machine.line("evaluate", sizes.average() + sizes.output(3.0), || {
        black_box(layer.evaluate(set.layer(0)).expect("errors"));
    });
    machine.line("output norm", sizes.average() + sizes.output(1.0), || {
        black_box(layer.output_norm());
    });
    let lists = scores(256, 32768);
    let views: Vec<&[f64]> = lists.iter().map(Vec::as_slice).collect();
    let bytes = 8.0 * (views.len() * 32768) as f64;
    machine.line("top 5 % of 8.4 million", Work { flops: 0.0, bytes }, || {
        black_box(select::counts_in_top(&views, 0, views.len() * 1638));
    });
}
