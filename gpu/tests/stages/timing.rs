//! Recorded launches: run when they are replayed, as often as they are.

use std::sync::Arc;

use laprox_gpu::attend::{self, RowParts, Statistic, WindowStatistic};
use laprox_gpu::{Device, DeviceLayer, Format};

use crate::common::problem::{Problem, Sizes};
use crate::common::{device, open_with};

/// Keys and values of three chunks and a rest, which pass through the pinned buffers.
#[test]
fn a_device_for_timing_computes_the_same_numbers() {
    let sizes = Sizes { kv_heads: 2, group_size: 1, head_dim: 128, ..Sizes::with_context(800) };
    let problem = Problem::alive(sizes, Format::Bf16, 3);
    let lent = problem.layer_problem();
    let expected = {
        let device = device();
        let layer = DeviceLayer::upload(&device, &lent).unwrap();
        layer.window_statistic(Statistic::Squares).unwrap().download(&device).unwrap()
    };
    let device = Arc::new(open_with(Device::open_for_timing));
    let layer = DeviceLayer::upload(&device, &lent).unwrap();
    let mut parts = RowParts::allocate(&layer).unwrap();
    let mut squares = WindowStatistic::allocate(&layer, Statistic::Squares).unwrap();
    let recorded = device
        .record(|| {
            attend::enqueue_rows(&layer, &mut parts)?;
            attend::enqueue_columns(&layer, &parts, &mut squares)
        })
        .unwrap();
    assert!(recorded.median_milliseconds(3, 2).unwrap() > 0.0);
    assert_eq!(squares.download(&device).unwrap(), expected);
}

#[test]
fn what_is_refused_while_it_is_recorded_is_told() {
    let device = Arc::new(open_with(Device::open_for_timing));
    let [short, long] = [60, 900].map(|n| Problem::alive(Sizes::with_context(n), Format::Bf16, 3));
    let [short, long] = [&short, &long].map(Problem::layer_problem);
    let [short, long] = [&short, &long].map(|lent| DeviceLayer::upload(&device, lent).unwrap());
    let mut parts = RowParts::allocate(&short).unwrap();
    let Err(refusal) = device.record(|| attend::enqueue_rows(&long, &mut parts)) else {
        panic!("not refused")
    };
    assert!(refusal.to_string().contains("splits of the keys"), "{refusal}");
    // The stream records no more.
    attend::enqueue_rows(&short, &mut parts).unwrap();
}

#[test]
fn copies_take_time() {
    let device = open_with(Device::open_for_timing);
    assert!(device.copy_rate(1 << 16).unwrap() > 0.0);
}
