//! B6, from the formula alone: loops over stated weights, nothing of the crate.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::problem::{Problem, Sizes};
use crate::common::statement::{Rows, weights};

/// Weights of one row before and after, beside the values: `o_hat - o` both ways, and the magnitude of the terms.
fn both_sides(
    before: &[f64],
    after: &[f64],
    values: &[f64],
    kept: impl Fn(usize) -> bool,
) -> (f64, f64, f64) {
    let (mut change, mut output, mut mass, mut magnitude) = (0.0, 0.0, 0.0, 0.0);
    for i in 0..before.len() {
        change += (after[i] - before[i]) * values[i];
        output += before[i] * values[i];
        magnitude += before[i] * values[i].abs();
        mass += if kept(i) { before[i] } else { 0.0 };
    }
    let mut evicted = 0.0;
    for i in (0..before.len()).filter(|&i| !kept(i)) {
        evicted += before[i] * (values[i] - output);
    }
    (change, -evicted / mass, magnitude / mass)
}

#[test]
fn renormalising_moves_the_output_as_the_identity_says() {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 3,
        head_dim: 5,
        hidden_dim: 4,
        candidate_len: 40,
        window_len: 6,
        future_len: 0,
    };
    let mut compared = 0;
    for seed in 0..200 {
        let problem = Problem::alive(sizes, seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut keeps = problem.all_kept();
        for keep in keeps.iter_mut().flat_map(|head| &mut head[..sizes.candidate_len]) {
            *keep = rng.random_bool(0.4);
        }
        let before = weights(&problem, Rows::Window, &problem.all_kept());
        let after = weights(&problem, Rows::Window, &keeps);
        for head in 0..sizes.query_heads() {
            let kv_head = head / sizes.group_size;
            for row in 0..sizes.window_len {
                for channel in 0..sizes.head_dim {
                    let values: Vec<f64> =
                        (0..sizes.context_len()).map(|i| problem.value_at(kv_head, i)[channel]).collect();
                    let kept = |i: usize| keeps[kv_head][i];
                    let (left, right, size) =
                        both_sides(&before[head][row], &after[head][row], &values, kept);
                    assert!((left - right).abs() <= 1e-12 * size, "seed {seed}: {left} for {right}");
                    compared += usize::from(left.abs() > 1e-6 * size);
                }
            }
        }
    }
    assert!(compared > 20_000, "{compared} changes are of something");
}
