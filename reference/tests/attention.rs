//! Stage attend: rows that sum to one, see the past and themselves, and equal plain loops.

mod common;

use laprox_reference::layer::Layer;
use laprox_reference::{Elements, LayerIndex, LayerProblem, Statistic, TensorView};
use proptest::prelude::*;

use common::compare::{Stated, assert_agrees, assert_all_agree};
use common::config;
use common::problem::{Problem, Sizes, problems};
use common::statement::{Rows, plain, weights};

fn layer(problem: &Problem) -> Layer {
    Layer::new(&problem.layer_problem(LayerIndex(0))).unwrap()
}

/// The crate's attention of one kind of rows, `[H][rows][keys]`; no rows where there is no future.
fn attention(problem: &Problem, rows: Rows) -> Vec<Vec<Vec<f64>>> {
    let layer = layer(problem);
    let attention = match rows {
        Rows::Window => Some(&layer.attention),
        Rows::Future => layer.future_attention.as_ref(),
    };
    let row = |row: usize, head: usize| -> Vec<f64> {
        attention.unwrap().weights[head].row(row).iter().copied().collect()
    };
    let count = attention.map_or(0, |attention| attention.weights[0].nrows());
    (0..problem.sizes.query_heads()).map(|head| (0..count).map(|r| row(r, head)).collect()).collect()
}

fn assert_equals_loops(problem: &Problem, rows: Rows) {
    let stated = plain(&weights(problem, rows, &problem.all_kept()));
    let found = attention(problem, rows);
    assert_eq!(found.len(), stated.len());
    for (found, stated) in found.iter().zip(&stated) {
        assert_eq!(found.len(), stated.len());
        for (found, stated) in found.iter().zip(stated) {
            assert_all_agree("attention row", found, stated, problem.rounding());
        }
    }
}

/// `-sum A ln A` and `sum over heads and candidates of sum_t (A - mean)^2 / (w - 1)`, of the rows from `first` on.
///
/// Off by a relative `r`, an `A` moves its term of the entropy by `r A (|ln A| + 1)`.
fn stated_spread(problem: &Problem, first: usize) -> (Stated, Stated) {
    let (mut entropy, mut variance) = (Stated::default(), Stated::default());
    for rows in weights(problem, Rows::Window, &problem.all_kept()) {
        for i in 0..problem.sizes.candidate_len {
            let column: Vec<f64> = rows[first..].iter().map(|row| row[i]).collect();
            for &a in column.iter().filter(|&&a| a > 0.0) {
                let term = Stated { value: -a * a.ln(), magnitude: a * (a.ln().abs() + 1.0) };
                entropy = entropy.plus(term);
            }
            let mean = column.iter().sum::<f64>() / column.len() as f64;
            let others = (column.len() as f64 - 1.0).max(1.0);
            for a in column {
                let square = |x: f64| x * x / others;
                variance = variance.plus(Stated { value: square(a - mean), magnitude: square(a + mean) });
            }
        }
    }
    (entropy, variance)
}

proptest! {
    #![proptest_config(config(256, "tests/attention.proptest-regressions"))]

    #[test]
    fn the_spread_is_the_entropy_and_the_variance_of_what_candidates_get(
        problem in problems(),
        window in 1..=5_usize,
    ) {
        let window = window.min(problem.sizes.window_len);
        let layer = layer(&problem);
        let [found_entropy, found_variance] = [Statistic::AttentionEntropy, Statistic::AttentionVariance]
            .map(|statistic| statistic.of(&layer, window));
        let (entropy, variance) = stated_spread(&problem, problem.sizes.window_len - window);
        assert_agrees("entropy", found_entropy, entropy, problem.rounding());
        assert_agrees("variance", found_variance, variance, 3.0 * problem.rounding());
    }

    #[test]
    fn attention_rows_equal_loops(problem in problems()) {
        assert_equals_loops(&problem, Rows::Window);
        assert_equals_loops(&problem, Rows::Future);
    }

    #[test]
    fn sharp_attention_rows_equal_loops(problem in problems()) {
        let problem = problem.sharpened(1000.0);
        assert_equals_loops(&problem, Rows::Window);
        assert_equals_loops(&problem, Rows::Future);
    }

    #[test]
    fn attention_rows_sum_to_one(problem in problems()) {
        for rows in [Rows::Window, Rows::Future] {
            for row in attention(&problem, rows).concat() {
                prop_assert!(row.iter().all(|&weight| (0.0..=1.0).contains(&weight)));
                assert_agrees("row sum", row.iter().sum(), Stated::of(1.0), problem.rounding());
            }
        }
    }

    #[test]
    fn a_row_sees_the_positions_up_to_its_own_and_none_behind(problem in problems()) {
        let Sizes { candidate_len, window_len, .. } = problem.sizes;
        for (rows, first, keys) in [
            (Rows::Window, candidate_len, problem.sizes.context_len()),
            (Rows::Future, candidate_len + window_len, problem.sizes.cached_len()),
        ] {
            for head in attention(&problem, rows) {
                for (r, row) in head.iter().enumerate() {
                    prop_assert_eq!(row.len(), keys);
                    prop_assert!(row[first + r + 1..].iter().all(|&weight| weight == 0.0));
                }
            }
        }
    }

    #[test]
    fn keys_behind_the_context_do_not_reach_the_window(problem in problems()) {
        let mut changed = problem.clone();
        let Sizes { kv_heads, head_dim, .. } = problem.sizes;
        for head in 0..kv_heads {
            let cached = problem.sizes.cached_len();
            changed.key[(head * cached + problem.sizes.context_len()) * head_dim..(head + 1) * cached * head_dim]
                .fill(9.0);
        }
        prop_assert_eq!(attention(&changed, Rows::Window), attention(&problem, Rows::Window));
    }
}

/// `w = n = 1`: the one row sees the one key.
#[test]
fn a_single_position_has_weight_one() {
    let sizes = Sizes {
        kv_heads: 1,
        group_size: 1,
        head_dim: 1,
        hidden_dim: 1,
        candidate_len: 0,
        window_len: 1,
        future_len: 0,
    };
    assert_eq!(attention(&Problem::alive(sizes, 1), Rows::Window), [[[1.0]]]);
}

#[test]
fn zero_queries_attend_exactly_evenly_to_what_they_see() {
    let sizes = Sizes {
        kv_heads: 1,
        group_size: 1,
        head_dim: 2,
        hidden_dim: 1,
        candidate_len: 2,
        window_len: 2,
        future_len: 1,
    };
    let problem = Problem::zero(sizes);
    let third = 1.0 / 3.0;
    assert_eq!(attention(&problem, Rows::Window), [[[third, third, third, 0.0], [0.25; 4]]]);
    assert_eq!(attention(&problem, Rows::Future), [[[0.2; 5]]]);
}

/// Query heads 0 and 1 read KV head 0, query heads 2 and 3 KV head 1: the block layout.
#[test]
fn query_head_h_reads_kv_head_h_over_g() {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 2,
        head_dim: 1,
        hidden_dim: 1,
        candidate_len: 1,
        window_len: 1,
        future_len: 0,
    };
    let mut problem = Problem::zero(sizes);
    problem.query.fill(1.0);
    problem.key = vec![2000.0, 0.0, 0.0, 2000.0];
    let (first, second) = ([[1.0, 0.0]], [[0.0, 1.0]]);
    assert_eq!(attention(&problem, Rows::Window), [first, first, second, second]);
}

/// Halves and singles that a double holds exactly give the doubles' attention to the bit.
#[test]
fn half_and_single_precision_are_widened_exactly() {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 3,
        head_dim: 4,
        hidden_dim: 5,
        candidate_len: 9,
        window_len: 3,
        future_len: 0,
    };
    let mut problem = Problem::alive(sizes, 5);
    for numbers in [&mut problem.query, &mut problem.key] {
        numbers.iter_mut().for_each(|x| *x = half::f16::from_f64(*x).to_f64());
    }
    let halves: Vec<half::f16> = problem.query.iter().map(|&x| half::f16::from_f64(x)).collect();
    let singles: Vec<f32> = problem.key.iter().map(|&x| x as f32).collect();
    let mut activations = problem.activations();
    activations.query = TensorView::new(activations.query.shape(), Elements::F16(&halves)).unwrap();
    activations.key = TensorView::new(activations.key.shape(), Elements::F32(&singles)).unwrap();
    let narrow = LayerProblem::new(LayerIndex(0), problem.scale, activations).unwrap();
    assert_eq!(Layer::new(&narrow).unwrap().attention.weights, layer(&problem).attention.weights);
}
