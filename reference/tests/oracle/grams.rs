//! The quadratic form against `M` by its definition.

use laprox_reference::oracle::gram::indicator;
use laprox_reference::oracle::{PairGram, Rows, StackedGram, Stop};
use laprox_reference::{Form, LayerOrdinal, PreparedLayer, ReferenceLayer};
use nalgebra::DMatrix;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::hostile::{hostile, layer, sizes, some_candidates, window_gram, without};
use crate::common::problem::{Problem, Sizes};
use crate::problems::{FORMS, Rounding, dropped};

/// `E(e_i)`, entry by entry: for the layer, or head after head.
fn removed(layer: &ReferenceLayer, form: Form, candidate: usize) -> Vec<f64> {
    let (shape, candidate_len) = (layer.shape, layer.shape.candidate_len());
    let (kv_head, i) = (candidate / candidate_len, candidate % candidate_len);
    let mut entries = Vec::new();
    for row in 0..shape.window_len {
        for channel in 0..shape.hidden_dim {
            let of = |head: usize| {
                if head / shape.group_size() != kv_head {
                    return 0.0;
                }
                let projection = &layer.output_projection[head];
                let projected: f64 = (0..shape.head_dim)
                    .map(|k| layer.values[kv_head][(i, k)] * projection[(k, channel)])
                    .sum();
                layer.attention.weights[head][(row, i)] * projected
            };
            match form {
                Form::LayerWise => entries.push((0..shape.query_heads).map(of).sum()),
                Form::HeadWise => entries.extend((0..shape.query_heads).map(of)),
            }
        }
    }
    entries
}

/// `M_ij = <E(e_i), E(e_j)>`.
fn naive(layer: &ReferenceLayer, form: Form) -> DMatrix<f64> {
    let candidates = layer.shape.kv_heads * layer.shape.candidate_len();
    let removed: Vec<Vec<f64>> = (0..candidates).map(|candidate| removed(layer, form, candidate)).collect();
    DMatrix::from_fn(candidates, candidates, |i, j| {
        removed[i].iter().zip(&removed[j]).map(|(one, two)| one * two).sum()
    })
}

#[track_caller]
fn assert_near(what: &str, found: f64, expected: f64, allowed: f64) {
    assert!(
        allowed.is_finite() && (found - expected).abs() <= allowed,
        "{what}: {found} for {expected}, {allowed:e}"
    );
}

fn problems() -> impl Iterator<Item = (ReferenceLayer, ChaCha8Rng)> {
    (0..150).map(|seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let candidates = rng.random_range(1..=20);
        (layer(&hostile(sizes(candidates, &mut rng), seed)), rng)
    })
}

#[test]
fn product_is_m_times_x() {
    for (layer, mut rng) in problems() {
        let rounding = Rounding::of(&layer, Rows::Window).of_any();
        for form in FORMS {
            let (gram, matrix) = (window_gram(&layer, form), naive(&layer, form));
            let x: Vec<f64> = (0..gram.candidates()).map(|_| rng.random_range(0.0..1.0)).collect();
            let product = gram.product(&x);
            assert_eq!(product.values.len(), gram.candidates());
            for (i, &value) in product.values.iter().enumerate() {
                let expected: f64 = x.iter().enumerate().map(|(j, share)| matrix[(i, j)] * share).sum();
                assert_near("(M x)_i", value, expected, rounding);
            }
            let expected: f64 = x.iter().zip(&product.values).map(|(share, value)| share * value).sum();
            assert_near("x^T M x", product.value, expected, rounding);
            assert!(product.squared_norm >= product.value);
        }
    }
}

#[test]
fn diagonal_and_blocks_are_parts_of_m() {
    for (layer, mut rng) in problems() {
        let rounding = Rounding::of(&layer, Rows::Window).of_any();
        for form in FORMS {
            let (gram, matrix) = (window_gram(&layer, form), naive(&layer, form));
            for (i, &entry) in gram.diagonal().iter().enumerate() {
                assert!(entry >= 0.0);
                assert_near("M_ii", entry, matrix[(i, i)], rounding);
            }
            let mut candidates =
                some_candidates(gram.candidates(), rng.random_range(0..=gram.candidates()), &mut rng);
            candidates.sort_unstable();
            let [block] = gram.blocks(&candidates).try_into().unwrap();
            assert_eq!(block.shape(), (candidates.len(), candidates.len()));
            for (row, &i) in candidates.iter().enumerate() {
                for (column, &j) in candidates.iter().enumerate() {
                    assert_near("M_ij", block[(row, column)], matrix[(i, j)], rounding);
                }
            }
        }
    }
}

#[test]
fn the_form_is_the_squared_drop_error() {
    for (layer, mut rng) in problems() {
        let rounding = Rounding::of(&layer, Rows::Window);
        for form in FORMS {
            let gram = window_gram(&layer, form);
            let evicted =
                some_candidates(gram.candidates(), rng.random_range(0..=gram.candidates()), &mut rng);
            let errors = layer.evaluate(without(&layer, &evicted).layer(LayerOrdinal(0))).unwrap();
            let value = gram.product(&indicator(gram.candidates(), &evicted)).value;
            assert_near("x^T M x", value, dropped(&errors, form).squared_error, rounding.of_set(&evicted));
        }
    }
}

/// Two heads whose projections are opposite cancel, layer-wise, and only there.
#[test]
fn head_wise_drops_the_products_of_different_heads() {
    let sizes = Sizes {
        kv_heads: 1,
        group_size: 2,
        head_dim: 1,
        hidden_dim: 1,
        candidate_len: 3,
        window_len: 1,
        future_len: 0,
    };
    let mut problem = Problem::zero(sizes);
    problem.value = vec![4.0, 8.0, 12.0, 16.0];
    problem.projection = vec![1.0, -1.0];
    let layer = layer(&problem);
    assert_eq!(window_gram(&layer, Form::LayerWise).diagonal(), [0.0; 3]);
    assert_eq!(window_gram(&layer, Form::HeadWise).diagonal(), [2.0, 8.0, 18.0]);
    assert_eq!(window_gram(&layer, Form::HeadWise).product(&[1.0, 1.0, 0.0]).values, [6.0, 12.0, 18.0]);
}

#[test]
fn a_stack_is_block_diagonal() {
    let layers: Vec<ReferenceLayer> = problems().skip(40).take(3).map(|(layer, _)| layer).collect();
    for form in FORMS {
        let grams: Vec<_> = layers.iter().map(|layer| window_gram(layer, form)).collect();
        let stack = StackedGram::new(
            layers.iter().map(|layer| layer.gram(form, Rows::Window, Stop::NEVER).unwrap()).collect(),
        );
        let candidates = grams.iter().map(PairGram::candidates).sum();
        assert_eq!(stack.candidates(), candidates);
        let diagonal: Vec<f64> = grams.iter().flat_map(|gram| gram.diagonal().to_vec()).collect();
        assert_eq!(stack.diagonal(), diagonal);

        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let x: Vec<f64> = (0..candidates).map(|_| rng.random_range(0.0..1.0)).collect();
        let product = stack.product(&x).unwrap();
        let chosen: Vec<usize> = (0..candidates).step_by(2).collect();
        let blocks = stack.blocks(&chosen);
        assert_eq!(blocks.len(), layers.len());
        let (mut first, mut squared_norm) = (0, 0.0);
        for (gram, block) in grams.iter().zip(blocks) {
            let range = first..first + gram.candidates();
            let alone = gram.product(&x[range.clone()]);
            assert_eq!(product.values[range.clone()], alone.values);
            assert_eq!(product.errors[range.clone()], alone.errors);
            let inside: Vec<usize> = chosen
                .iter()
                .filter(|candidate| range.contains(candidate))
                .map(|candidate| candidate - first)
                .collect();
            assert_eq!(vec![block], gram.blocks(&inside));
            squared_norm += alone.squared_norm;
            first = range.end;
        }
        assert!(product.squared_norm >= squared_norm);
        assert!(product.squared_norm <= squared_norm * (1.0 + 1e-14));
    }
}
