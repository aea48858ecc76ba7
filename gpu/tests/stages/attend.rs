//! Stage attend: norms, sums and maxima of the columns of the window's attention.

use laprox_gpu::attend::Statistic;
use laprox_gpu::{DeviceLayer, Format};

use crate::common::bounds::{Bounded, assert_within, wide};
use crate::common::expected::Expected;
use crate::common::problem::{Problem, Sizes};
use crate::common::{device, naive_device};
use crate::shapes::for_each_case;

/// Squares, sums and maxima of all columns, row tiles joined.
fn statistics(layer: &DeviceLayer<'_>, device: &laprox_gpu::Device) -> [Vec<f64>; 3] {
    let columns = layer.shape().query_heads * layer.shape().candidate_len();
    [
        (Statistic::Squares, (|a, b| a + b) as fn(f64, f64) -> f64),
        (Statistic::Sums, |a, b| a + b),
        (Statistic::Maxima, f64::max),
    ]
    .map(|(statistic, join)| {
        let found = layer.window_statistic(statistic).unwrap();
        let numbers = wide(&found.download(device).unwrap());
        assert_eq!(numbers.len(), found.row_tiles() * columns);
        let tiles = numbers.chunks_exact(columns.max(1));
        (0..columns).map(|column| tiles.clone().map(|tile| tile[column]).reduce(join).unwrap()).collect()
    })
}

fn square_sum(column: &[Bounded]) -> Bounded {
    Bounded::sum(&column.iter().map(|weight| weight.times(*weight)).collect::<Vec<_>>())
}

#[test]
fn window_statistics_agree_with_the_reference() {
    let mut most = 0.0_f64;
    for_each_case(|device, problem, format, what| {
        let lent = problem.layer_problem();
        let layer = DeviceLayer::upload(device, &lent).unwrap();
        assert_eq!(layer.format(), format, "{what}");
        let expected = Expected::new(problem, format);
        let [squares, sums, maxima] = statistics(&layer, device);
        for used in [
            assert_within(&format!("{what}: squares"), &squares, &expected.per_column(square_sum)),
            assert_within(&format!("{what}: sums"), &sums, &expected.per_column(Bounded::sum)),
            assert_within(&format!("{what}: maxima"), &maxima, &expected.per_column(Bounded::largest)),
        ] {
            most = most.max(used);
        }
    });
    println!("largest share of a bound used: {most:.3}");
}

#[test]
fn a_window_as_long_as_the_context_leaves_no_columns() {
    for device in [device(), naive_device()] {
        for format in [Format::Bf16, Format::F32] {
            let problem = Problem::alive(Sizes { context_len: 32, ..Sizes::with_context(32) }, format, 5);
            let lent = problem.layer_problem();
            let layer = DeviceLayer::upload(&device, &lent).unwrap();
            assert_eq!(statistics(&layer, &device), [Vec::<f64>::new(), Vec::new(), Vec::new()]);
            assert!(layer.projected_value_norms().unwrap().is_empty());
        }
    }
}

/// The two versions share nothing but the reading of the inputs.
#[test]
fn naive_and_shipped_kernels_agree() {
    let problem = Problem::alive(Sizes { head_dim: 128, ..Sizes::with_context(290) }, Format::Bf16, 7);
    let lent = problem.layer_problem();
    let [shipped, naive] = [device(), naive_device()].map(|device| {
        let layer = DeviceLayer::upload(&device, &lent).unwrap();
        let format = layer.format();
        (format, statistics(&layer, &device))
    });
    assert_eq!((shipped.0, naive.0), (Format::Bf16, Format::F32));
    let expected = Expected::new(&problem, Format::Bf16);
    let bounds = [
        expected.per_column(square_sum),
        expected.per_column(Bounded::sum),
        expected.per_column(Bounded::largest),
    ];
    for ((shipped, naive), bounds) in shipped.1.iter().zip(&naive.1).zip(bounds) {
        let around: Vec<Bounded> = naive
            .iter()
            .zip(bounds)
            .map(|(&value, bound)| Bounded { value, error: 2.0 * bound.error })
            .collect();
        assert_within("shipped against naive", shipped, &around);
    }
}

/// Halves are kept as they are; singles go into the narrowest format that holds every one of them.
#[test]
fn activations_lie_in_the_narrowest_format_that_holds_them() {
    let sizes = Sizes::with_context(40);
    let format_of = |problem: &Problem| {
        let lent = problem.layer_problem();
        DeviceLayer::upload(&device(), &lent).unwrap().format()
    };
    for format in [Format::Bf16, Format::F16, Format::F32] {
        assert_eq!(format_of(&Problem::alive(sizes, format, 1)), format);
    }
    let mut problem = Problem::alive(sizes, Format::Bf16, 1);
    problem.value[7] = 1.0 + f32::EPSILON;
    assert_eq!(format_of(&problem), Format::F32);
    let odd = Sizes { head_dim: 60, ..sizes };
    assert_eq!(format_of(&Problem::alive(odd, Format::Bf16, 1)), Format::F32);
}
