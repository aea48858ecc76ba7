//! Products of stored matrices beside their floors, on two threads.
//!
//! `one_row` is decoding: its floor is `read`, a sum over the stored bytes. `many_rows` is a chunk of a prefill: its floor is
//! `F32`, whose panels need no widening. Throughput is in weights per second.

use std::hint::black_box;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use laprox_experiments::model::{ELEMENTS, Matrix};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// `ffn_gate` of Qwen2.5-1.5B.
const SHAPE: [usize; 2] = [8960, 1536];
const MANY: usize = 512;

fn numbers(len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn stored(element: GgmlDType) -> Vec<u8> {
    let weights = Tensor::from_vec(numbers(SHAPE[0] * SHAPE[1]), &SHAPE, &Device::Cpu).expect("a matrix");
    QTensor::quantize(&weights, element)
        .and_then(|stored| Ok(stored.data()?.into_owned()))
        .expect("its blocks")
}

fn products(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a thread pool");
    for (group, count) in [("one_row", 1), ("many_rows", MANY)] {
        let mut group = criterion.benchmark_group(group);
        group.sample_size(10).throughput(Throughput::Elements((SHAPE[0] * SHAPE[1]) as u64));
        let x = numbers(count * SHAPE[1]);
        for element in ELEMENTS {
            let bytes = stored(element);
            if count == 1 {
                let sum = |part: &[u8]| {
                    part.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).fold(0, u64::wrapping_add)
                };
                group.bench_function(format!("read/{element:?}"), |bench| {
                    bench.iter(|| {
                        pool.install(|| {
                            black_box(bytes.par_chunks(1 << 16).map(sum).reduce(|| 0, u64::wrapping_add))
                        })
                    });
                });
            }
            let matrix = Matrix::owned(bytes, element, SHAPE);
            group.bench_function(format!("{element:?}"), |bench| {
                bench.iter(|| pool.install(|| black_box(matrix.product(&x))));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
