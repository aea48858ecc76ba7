//! Stage evaluate: the output's norm from the device, everything else from the reference.

use laprox_gpu::Format;
use laprox_reference::oracle::Stop;
use laprox_reference::{Backend, Form, LayerOrdinal, QueryHead, Reference, RetainedSet, Statistic};

use crate::common::bounds::{Bounded, U, assert_within, drift};
use crate::common::expected::Expected;
use crate::common::problem::{Problem, Sizes};
use crate::common::{self, device, prepared};
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
    let norm = Statistic::OutputNorm.of(layer, shape.window_len);
    Bounded { value: norm, error }.rounded(shape.window_len + 4, U)
}

#[test]
fn output_norms_agree_with_the_reference() {
    for_each_case(|device, problem, format, what| {
        let lent = problem.layer_problem();
        let found = common::output_norm(prepared(device, &lent).as_ref());
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
    let layer = prepared(&device(), &lent);
    let set = RetainedSet::from_candidates(1, 60, 32, &[vec![0, 3, 17, 27]]).unwrap();
    assert_eq!(
        layer.evaluate(set.layer(LayerOrdinal(0))).unwrap(),
        reference.evaluate(set.layer(LayerOrdinal(0))).unwrap()
    );
    for form in [Form::LayerWise, Form::HeadWise] {
        assert_eq!(
            layer.reference().unwrap().improve(form, set.layer(LayerOrdinal(0)), Stop::NEVER).unwrap(),
            reference.reference().unwrap().improve(form, set.layer(LayerOrdinal(0)), Stop::NEVER).unwrap()
        );
    }
    let other = RetainedSet::everything(1, 2, 60).unwrap();
    assert!(layer.evaluate(other.layer(LayerOrdinal(0))).is_err());
}

/// The rows that the device packs are those of the retained positions, to the bit, head after head.
#[test]
fn gathered_rows_are_the_retained_ones() {
    for format in [Format::Bf16, Format::F16, Format::F32] {
        let sizes = Sizes { kv_heads: 2, group_size: 1, head_dim: 64, ..Sizes::with_context(60) };
        let problem = Problem::alive(sizes, format, 5);
        let lent = problem.layer_problem();
        let heads = [vec![0, 3, 17, 27], vec![]];
        let set = RetainedSet::from_candidates(2, 60, 32, &heads).unwrap();
        let packed = prepared(&device(), &lent).gather(set.layer(LayerOrdinal(0))).unwrap().unwrap();
        let rows = |tensor: &laprox_reference::TensorView<'_, 3>| -> Vec<f32> {
            let head = |head: usize| {
                let numbers = tensor.outer(head).to_f64();
                let positions = set.layer(LayerOrdinal(0)).head(laprox_reference::KvHead(head)).to_vec();
                positions.into_iter().flat_map(move |i| numbers[i as usize * 64..][..64].to_vec())
            };
            (0..2).flat_map(head).map(|number| number as f32).collect()
        };
        assert_eq!(packed.keys, rows(&lent.activations().key), "{format:?}");
        assert_eq!(packed.values, rows(&lent.activations().value), "{format:?}");
        let other = RetainedSet::everything(1, 1, 60).unwrap();
        assert!(prepared(&device(), &lent).gather(other.layer(LayerOrdinal(0))).is_err());
    }
}
