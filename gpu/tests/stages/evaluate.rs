//! Stage evaluate: the output's norm from the device, everything else from the reference.

use laprox_gpu::{Format, GpuLayer};
use laprox_reference::oracle::Form;
use laprox_reference::{Backend, PreparedLayer, QueryHead, Reference, RetainedSet};

use crate::common::bounds::{Bounded, U, assert_within, drift};
use crate::common::device;
use crate::common::expected::Expected;
use crate::common::problem::{Problem, Sizes};
use crate::shapes::for_each_case;

/// `| |X| - |O| | <= |X - O|`, and each head's part of that is the norm of its rows' errors times `norm_F(W_h)`.
fn output_norm(expected: &Expected) -> Bounded {
    let layer = &expected.layer;
    let shape = layer.shape;
    let theta = drift(shape.context_len + shape.query_heads * shape.head_dim + 8, U);
    let head = |head: QueryHead| {
        let row = |row: &Vec<Bounded>| -> f64 {
            let pairs = row.iter().zip(layer.values_of(head).row_iter());
            pairs.map(|(weight, value)| (weight.error + theta * weight.value) * value.norm()).sum()
        };
        let rows: f64 = expected.weights[head.0].iter().map(|weights| row(weights).powi(2)).sum();
        rows.sqrt() * layer.output_projection[head.0].norm()
    };
    let error = shape.query_heads().map(head).sum();
    let norm = laprox_reference::evaluate::output_norm(layer);
    Bounded { value: norm, error }.rounded(shape.window_len + 4, U)
}

#[test]
fn output_norms_agree_with_the_reference() {
    for_each_case(|device, problem, format, what| {
        let lent = problem.layer_problem();
        let found = GpuLayer::new(device, &lent).unwrap().output_norm();
        let bound = output_norm(&Expected::new(problem, format));
        assert!(bound.error < 0.05 * bound.value, "{what}: {bound:?}");
        assert_within(what, &[found], &[bound]);
    });
}

#[test]
fn errors_of_a_retained_set_are_the_reference_s() {
    let problem = Problem::alive(Sizes { future_len: 4, ..Sizes::with_context(60) }, Format::Bf16, 8);
    let lent = problem.layer_problem();
    let reference = Reference.prepare(&lent).unwrap();
    let layer = GpuLayer::new(&device(), &lent).unwrap();
    let set = RetainedSet::from_candidates(1, 60, 32, &[vec![0, 3, 17, 27]]).unwrap();
    assert_eq!(layer.evaluate(set.layer(0)).unwrap(), reference.evaluate(set.layer(0)).unwrap());
    for form in [Form::LayerWise, Form::HeadWise] {
        assert_eq!(
            layer.improve(form, set.layer(0)).unwrap(),
            reference.improve(form, set.layer(0)).unwrap()
        );
    }
    let other = RetainedSet::everything(1, 2, 60).unwrap();
    assert!(layer.evaluate(other.layer(0)).is_err());
}
