//! Stage project: norms of projected values through triangular factors.

use laprox_gpu::factor::Factor;
use laprox_gpu::{DeviceLayer, Format};
use laprox_reference::layer::Layer;
use laprox_reference::{Elements, TensorView};

use crate::common::bounds::{assert_within, factor_rounding, wide};
use crate::common::expected::Expected;
use crate::common::problem::{Problem, Sizes};
use crate::shapes::for_each_case;

#[test]
fn projected_value_norms_agree_with_the_reference() {
    let mut most = 0.0_f64;
    for_each_case(|device, problem, format, what| {
        let lent = problem.layer_problem();
        let layer = DeviceLayer::upload(device, &lent).unwrap();
        let found = wide(&layer.projected_value_norms().unwrap());
        most = most.max(assert_within(what, &found, &Expected::new(problem, format).norms.concat()));
    });
    println!("largest share of a bound used: {most:.3}");
}

/// `norm2(v T)` in f64 for the factor of some columns of the weight.
fn norm_through(factor: &Factor, value: &[f64]) -> f64 {
    let column =
        |column: usize| -> f64 { value.iter().enumerate().map(|(k, v)| v * factor.entry(k, column)).sum() };
    (0..factor.rank()).map(|c| column(c).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn a_factor_keeps_every_norm_and_is_triangular() {
    for hidden_dim in [1, 5, 16, 40] {
        let sizes = Sizes { head_dim: 16, hidden_dim, ..Sizes::with_context(40) };
        let problem = Problem::alive(sizes, Format::F32, 3);
        let layer = Layer::new(&problem.layer_problem()).unwrap();
        let weight = problem.layer_problem().activations().output_projection;
        for (head, factor) in Factor::of_heads(&weight, problem.shape).iter().enumerate() {
            assert_eq!((factor.width(), factor.rank()), (16, hidden_dim.min(16)));
            assert!((0..16).all(|k| (k + 1..16).all(|column| factor.entry(k, column) == 0.0)));
            for value in layer.values[0].row_iter() {
                let value: Vec<f64> = value.iter().copied().collect();
                let exact =
                    (nalgebra::RowDVector::from_vec(value.clone()) * &layer.output_projection[head]).norm();
                let reach =
                    layer.output_projection[head].norm() * nalgebra::DVector::from_vec(value.clone()).norm();
                assert!((norm_through(factor, &value) - exact).abs() <= 1e3 * f64::EPSILON * reach);
            }
        }
    }
}

/// A projection whose rows are all the same has rank one; its Gram matrix is singular, its factor is not.
#[test]
fn a_projection_without_full_rank_has_a_factor() {
    let row: Vec<f64> = (0..20).map(|c| f64::from(c).sin()).collect();
    let weight: Vec<f64> = row.iter().flat_map(|&number| [number; 8]).collect();
    let view = TensorView::new([20, 8], Elements::F64(&weight)).unwrap();
    let factor = Factor::new(&view, 0..8);
    let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    let value: Vec<f64> = (0..8).map(|k| f64::from(k) - 2.5).collect();
    let exact = value.iter().sum::<f64>().abs() * length;
    assert!((norm_through(&factor, &value) - exact).abs() <= 1e3 * f64::EPSILON * 20.0 * length);
}

/// One part of a factor is too coarse for the bound that two have to keep, so the low parts are really there.
#[test]
fn one_bf16_part_would_not_pass() {
    let problem = Problem::alive(Sizes::with_context(100), Format::Bf16, 11);
    let layer = Layer::new(&problem.layer_problem()).unwrap();
    let weight = problem.layer_problem().activations().output_projection;
    let factor = &Factor::of_heads(&weight, problem.shape)[0];
    let bounds = &Expected::new(&problem, Format::Bf16).norms[0];
    let rounded = |value: &[f64], round: &dyn Fn(f64) -> f64| -> f64 {
        let column =
            |c: usize| -> f64 { value.iter().enumerate().map(|(k, v)| v * round(factor.entry(k, c))).sum() };
        (0..factor.rank()).map(|c| column(c).powi(2)).sum::<f64>().sqrt()
    };
    let high = |number: f64| half::bf16::from_f64(number).to_f64();
    let both = |number: f64| high(number) + high(number - high(number));
    let mut worst = [0.0_f64; 2];
    for (value, bound) in layer.values[0].row_iter().zip(bounds) {
        let value: Vec<f64> = value.iter().copied().collect();
        for (worst, round) in worst.iter_mut().zip([&high as &dyn Fn(f64) -> f64, &both]) {
            *worst = worst.max((rounded(&value, round) - bound.value).abs() / bound.error);
        }
    }
    assert!(worst[0] > 1.0 && worst[1] < 1.0, "{worst:?} of the bound");
}

#[test]
fn split_factors_hold_the_bits_that_the_bounds_count_on() {
    let problem =
        Problem::alive(Sizes { head_dim: 128, hidden_dim: 160, ..Sizes::with_context(40) }, Format::F32, 2);
    let weight = problem.layer_problem().activations().output_projection;
    let factor = &Factor::of_heads(&weight, problem.shape)[0];
    let largest = (0..128).flat_map(|k| (0..128).map(move |c| (k, c))).map(|(k, c)| factor.entry(k, c).abs());
    let largest = largest.fold(0.0, f64::max);
    for format in [Format::Bf16, Format::F16] {
        let split = factor.split(format);
        let number = |bits: u16| match format {
            Format::Bf16 => half::bf16::from_bits(bits).to_f64(),
            _ => half::f16::from_bits(bits).to_f64(),
        };
        // Tile by tile as the kernel reads them: 8 columns, 32 inner indices, high then low.
        let mut blocks = split.bits.chunks_exact(2 * 256);
        for tile in 0..16 {
            for chunk in tile / 4..4 {
                let (high, low) = blocks.next().unwrap().split_at(256);
                for (index, (&high, &low)) in high.iter().zip(low).enumerate() {
                    let (lane, inner) = (index / 8, index % 8);
                    let entry = factor.entry(32 * chunk + 8 * (lane % 4) + inner, 8 * tile + lane / 4);
                    let kept = (number(high) + number(low)) * f64::from(split.unscale);
                    let bound =
                        factor_rounding(format) * if format == Format::F16 { largest } else { entry.abs() };
                    assert!((kept - entry).abs() <= bound, "{format:?}: {kept} for {entry}");
                }
            }
        }
        assert!(blocks.next().is_none());
    }
}
