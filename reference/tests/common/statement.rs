//! Attention and the three objectives, stated a second time.

use super::compare::{Stated, norm};
use super::problem::Problem;

/// Which query rows: the window's, or those of the positions behind the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    Window,
    Future,
}

/// A number for each query head, row and key: `[H][rows][keys]`.
pub type PerKey<T> = Vec<Vec<Vec<T>>>;

/// `softmax(q . k * scale)` over the keys up to each row's own position that `keeps` keeps; all others weigh zero.
#[must_use]
pub fn weights(problem: &Problem, rows: Rows, keeps: &[Vec<bool>]) -> PerKey<f64> {
    let sizes = problem.sizes;
    let (first_row, count, keys) = match rows {
        Rows::Window => (0, sizes.window_len, sizes.context_len()),
        Rows::Future => (sizes.window_len, sizes.future_len, sizes.cached_len()),
    };
    let row = |head: usize, row: usize| {
        let own_position = sizes.candidate_len + row;
        let sees = |i: usize| i <= own_position && keeps[head / sizes.group_size][i];
        softmax(&logits(problem, head, row), keys, sees)
    };
    (0..sizes.query_heads())
        .map(|head| (first_row..first_row + count).map(|r| row(head, r)).collect())
        .collect()
}

fn logits(problem: &Problem, head: usize, row: usize) -> Vec<f64> {
    stated_logits(problem, head, row).iter().map(|logit| logit.value).collect()
}

/// `q . k * scale` for all cached keys.
#[must_use]
pub fn stated_logits(problem: &Problem, head: usize, row: usize) -> Vec<Stated> {
    let query = problem.query_at(head, row);
    let mut logits = Vec::new();
    for position in 0..problem.sizes.cached_len() {
        let key = problem.key_at(head / problem.sizes.group_size, position);
        let mut dot = Stated::default();
        for k in 0..problem.sizes.head_dim {
            dot = dot.plus(Stated::of(query[k] * key[k]));
        }
        logits.push(dot.times(problem.scale));
    }
    logits
}

fn softmax(logits: &[f64], keys: usize, sees: impl Fn(usize) -> bool) -> Vec<f64> {
    let mut largest = f64::NEG_INFINITY;
    for i in (0..keys).filter(|&i| sees(i)) {
        largest = largest.max(logits[i]);
    }
    let mut weights = vec![0.0; keys];
    let mut sum = 0.0;
    for i in (0..keys).filter(|&i| sees(i)) {
        weights[i] = (logits[i] - largest).exp();
        sum += weights[i];
    }
    weights.iter().map(|weight| weight / sum).collect()
}

/// `b_{h,i} = v_i W_h`.
#[must_use]
pub fn projected(problem: &Problem, head: usize, position: usize) -> Vec<Stated> {
    let value = problem.value_at(head / problem.sizes.group_size, position);
    let channel = |c| {
        let mut sum = Stated::default();
        for (k, &v) in value.iter().enumerate() {
            sum = sum.plus(Stated::of(v * problem.projection_at(head, k, c)));
        }
        sum
    };
    (0..problem.sizes.hidden_dim).map(channel).collect()
}

/// `sum_i C_h[t, i] b_{h,i}` of each query head, rows one after another: `[H][rows * D]`.
#[must_use]
pub fn head_outputs(problem: &Problem, coefficients: &PerKey<Stated>) -> Vec<Vec<Stated>> {
    let width = problem.sizes.hidden_dim;
    let mut outputs = Vec::new();
    for (head, rows) in coefficients.iter().enumerate() {
        let mut output = vec![Stated::default(); rows.len() * width];
        for position in 0..rows.first().map_or(0, Vec::len) {
            let b = projected(problem, head, position);
            for (t, row) in rows.iter().enumerate() {
                for c in 0..width {
                    let entry = &mut output[t * width + c];
                    *entry = entry.plus(row[position].product(b[c]));
                }
            }
        }
        outputs.push(output);
    }
    outputs
}

/// `norm_F(sum_h X_h)` and the root of `sum_h norm_F(X_h)^2`.
#[must_use]
pub fn both_norms(heads: &[Vec<Stated>]) -> [Stated; 2] {
    let mut sum = vec![Stated::default(); heads[0].len()];
    for head in heads {
        for (total, entry) in sum.iter_mut().zip(head) {
            *total = total.plus(*entry);
        }
    }
    [norm(&sum), norm(&heads.concat())]
}

/// `A_h` as coefficients: every weight counts as itself.
#[must_use]
pub fn plain(weights: &PerKey<f64>) -> PerKey<Stated> {
    map(weights, |_, _, weight| Stated::of(weight))
}

/// `drop`: minus the weights of the evicted positions.
#[must_use]
pub fn dropped(problem: &Problem, weights: &PerKey<f64>, keeps: &[Vec<bool>]) -> PerKey<Stated> {
    map(weights, |head, i, weight| {
        if keeps[head / problem.sizes.group_size][i] {
            Stated::default()
        } else {
            Stated::of(weight).times(-1.0)
        }
    })
}

/// `renormalised`: the weights among the retained keys less those before.
#[must_use]
pub fn moved(problem: &Problem, rows: Rows, keeps: &[Vec<bool>]) -> PerKey<Stated> {
    let before = weights(problem, rows, &problem.all_kept());
    difference(&weights(problem, rows, keeps), &before)
}

/// Entry by entry, `after - before`.
#[must_use]
pub fn difference(after: &PerKey<f64>, before: &PerKey<f64>) -> PerKey<Stated> {
    let entry = |(&a, &b): (&f64, &f64)| Stated { value: a - b, magnitude: a + b };
    let row = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(entry).collect();
    after.iter().zip(before).map(|(a, b)| a.iter().zip(b).map(row).collect()).collect()
}

fn map(weights: &PerKey<f64>, entry: impl Fn(usize, usize, f64) -> Stated) -> PerKey<Stated> {
    let row =
        |head, row: &Vec<f64>| row.iter().enumerate().map(|(i, &weight)| entry(head, i, weight)).collect();
    weights.iter().enumerate().map(|(head, rows)| rows.iter().map(|r| row(head, r)).collect()).collect()
}
