//! B10, from the formula alone: loops over stated weights, nothing of the crate.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::compare::Stated;
use crate::common::problem::{Problem, Sizes};
use crate::common::statement::{PerKey, Rows, both_norms, head_outputs, moved, plain, projected, weights};

/// The norms of the sum over heads and of the heads, of `sum over E of a_i (b_i - o)` and of `o_hat - o`.
fn centred_and_renormalised(problem: &Problem, keeps: &[Vec<bool>]) -> [[f64; 2]; 2] {
    let before = weights(problem, Rows::Window, &problem.all_kept());
    let outputs = head_outputs(problem, &plain(&before));
    let centred: Vec<Vec<Stated>> = (0..problem.sizes.query_heads())
        .map(|head| centred(problem, &before, keeps, head, &outputs[head]))
        .collect();
    let values = |norms: [Stated; 2]| norms.map(|norm| norm.value);
    let changes = head_outputs(problem, &moved(problem, Rows::Window, keeps));
    [values(both_norms(&centred)), values(both_norms(&changes))]
}

/// One head's `sum over E of a_i (b_i - o)`, row after row.
fn centred(
    problem: &Problem,
    weights: &PerKey<f64>,
    keeps: &[Vec<bool>],
    head: usize,
    output: &[Stated],
) -> Vec<Stated> {
    let (kv_head, hidden) = (head / problem.sizes.group_size, problem.sizes.hidden_dim);
    let mut sums = vec![Stated::default(); output.len()];
    for i in (0..problem.sizes.candidate_len).filter(|&i| !keeps[kv_head][i]) {
        let pair = projected(problem, head, i);
        for (place, sum) in sums.iter_mut().enumerate() {
            let (row, channel) = (place / hidden, place % hidden);
            let away = pair[channel].plus(output[place].times(-1.0));
            *sum = sum.plus(away.times(weights[head][row][i]));
        }
    }
    sums
}

#[test]
fn the_centred_form_is_at_most_the_heads_renormalised_error() {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 2,
        head_dim: 3,
        hidden_dim: 4,
        candidate_len: 12,
        window_len: 3,
        future_len: 0,
    };
    let (mut near, mut far) = (0, 0);
    for seed in 0..1000 {
        let problem = Problem::alive(sizes, seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let share = rng.random_range(0.05..0.95);
        let mut keeps = problem.all_kept();
        for keep in keeps.iter_mut().flat_map(|head| &mut head[..sizes.candidate_len]) {
            *keep = rng.random_bool(share);
        }
        let [[_, centred], [_, renormalised]] = centred_and_renormalised(&problem, &keeps);
        assert!(
            centred <= renormalised * (1.0 + 1e-9) + 1e-12,
            "seed {seed}: {centred} above {renormalised}"
        );
        near += usize::from(centred > 0.9 * renormalised);
        far += usize::from(centred < 0.5 * renormalised);
    }
    assert!(near > 50 && far > 50, "{near} are nearly equal, {far} are far apart");
}

/// Two heads, one candidate and one window position each, whose value is 0. The first head weighs them 1/2 and 1/2: its output
/// is 1 and becomes 0. The second weighs them 1/4 and 3/4: its output is -1 and becomes 0. So the layer's output does not
/// change, and the centred form is `|1/2 - 3/4|`.
#[test]
fn over_all_heads_together_the_centred_form_bounds_nothing() {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 1,
        head_dim: 1,
        hidden_dim: 1,
        candidate_len: 1,
        window_len: 1,
        future_len: 0,
    };
    let mut problem = Problem::zero(sizes);
    problem.query = vec![1.0, 1.0];
    problem.key = vec![0.0, 0.0, 0.0, 3.0_f64.ln()];
    problem.value = vec![2.0, 0.0, -4.0, 0.0];
    problem.projection = vec![1.0, 1.0];
    let [[centred, heads], [renormalised, heads_renormalised]] =
        centred_and_renormalised(&problem, &problem.all_evicted());
    assert!((centred - 0.25).abs() < 1e-12 && renormalised < 1e-12, "{centred}, {renormalised}");
    assert!(heads < heads_renormalised);
}
