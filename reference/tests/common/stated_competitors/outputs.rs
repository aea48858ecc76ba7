//! Scores of how far the output moves without an entry.

use super::{Scores, group_mean, group_sum, minus, squared, sum};
use crate::common::compare::{Stated, norm};
use crate::common::problem::Problem;
use crate::common::stated_scores::window_weights;
use crate::common::statement::{PerKey, Rows, projected, stated_logits, weights};

/// `o_{h,t}`, `[H][w][d]`: attention times values, unprojected.
fn outputs(problem: &Problem, weights: &PerKey<f64>) -> PerKey<Stated> {
    let channel = |h: usize, row: &[f64], c: usize| {
        let value = |i| problem.value_at(h / problem.sizes.group_size, i)[c];
        sum(row.iter().enumerate().map(|(i, &a)| Stated::of(a * value(i))))
    };
    let row = |h: usize, row: &Vec<f64>| (0..problem.sizes.head_dim).map(|c| channel(h, row, c)).collect();
    weights.iter().enumerate().map(|(h, rows)| rows.iter().map(|r| row(h, r)).collect()).collect()
}

/// `norm2(v_i)^2`, `norm2(v_i - o_t)^2` and `norm2(v_i)^2 - <v_i, o_t>`.
fn distances(value: &[f64], output: &[Stated]) -> [Stated; 3] {
    let pairs = || value.iter().map(|&v| Stated::of(v)).zip(output.iter().copied());
    let norm = sum(pairs().map(|(v, _)| squared(v)));
    let away = sum(pairs().map(|(v, o)| squared(minus(v, o))));
    let inner = sum(pairs().map(|(v, o)| v.product(o)));
    [norm, away, minus(norm, inner)]
}

/// The three OBCache scores, by the published formulas: value, key, joint.
#[must_use]
pub fn obcache(problem: &Problem) -> [Scores; 3] {
    let weights = window_weights(problem);
    let outputs = outputs(problem, &weights);
    let score = |pick: fn([Stated; 3], Stated) -> Stated| {
        group_sum(problem, |h, i| {
            let value = problem.value_at(h / problem.sizes.group_size, i);
            sum((0..problem.sizes.window_len).map(|t| {
                let logit = stated_logits(problem, h, t)[i];
                let squared_weight = squared(Stated::of(weights[h][t][i]));
                squared_weight.product(pick(distances(value, &outputs[h][t]), logit))
            }))
        })
    };
    [
        score(|[norm, _, _], _| norm),
        score(|[_, away, _], z| squared(z).product(away)),
        score(|[norm, away, cross], z| norm.plus(squared(z).product(away)).plus(z.product(cross).times(2.0))),
    ]
}

/// `sum_t (A / (1 - A + eps))^2 norm2(o_t - v_i)^2` over the rows from `first` on.
#[must_use]
pub fn dropkv(problem: &Problem, first: usize, eps: f64) -> Scores {
    let weights = window_weights(problem);
    let outputs = outputs(problem, &weights);
    group_mean(problem, |h, i| {
        let value = problem.value_at(h / problem.sizes.group_size, i);
        sum((first..problem.sizes.window_len).map(|t| {
            let weight = weights[h][t][i];
            let [_, away, _] = distances(value, &outputs[h][t]);
            away.times((weight / (1.0 - weight + eps)).powi(2))
        }))
    })
}

/// `A / (1 - A) * norm2(o - v_i)` of the last row; needs `A` away from 1.
#[must_use]
pub fn caote_formula(problem: &Problem) -> Scores {
    let weights = window_weights(problem);
    let outputs = outputs(problem, &weights);
    let last = problem.sizes.window_len - 1;
    group_mean(problem, |h, i| {
        let value = problem.value_at(h / problem.sizes.group_size, i);
        let away = value.iter().zip(&outputs[h][last]).map(|(&v, &o)| minus(o, Stated::of(v)));
        let weight = weights[h][last][i];
        norm(&away.collect::<Vec<_>>()).times(weight / (1.0 - weight))
    })
}

/// The same by its meaning: how far the last row's output moves without the slot.
#[must_use]
pub fn caote_meaning(problem: &Problem) -> Scores {
    let before = window_weights(problem);
    let last = problem.sizes.window_len - 1;
    group_mean(problem, |h, i| {
        let kv_head = h / problem.sizes.group_size;
        let after = weights(problem, Rows::Window, &problem.all_but(kv_head, i));
        let channel = |c: usize| {
            sum((0..problem.sizes.context_len()).map(|j| {
                let (new, old) = (after[h][last][j], before[h][last][j]);
                let moved = Stated { value: new - old, magnitude: new + old };
                moved.times(problem.value_at(kv_head, j)[c])
            }))
        };
        norm(&(0..problem.sizes.head_dim).map(channel).collect::<Vec<_>>())
    })
}

/// `a / (1 - a) * norm2((o - v_i) W_h)`, `a` the moving average of the rows, `o` the candidates' sum; needs `a` away from 1.
#[must_use]
pub fn restkv(problem: &Problem, smooth: f64) -> Scores {
    let weights = window_weights(problem);
    let average = |h: usize, i: usize| {
        let rows = &weights[h];
        rows[1..].iter().fold(rows[0][i], |average, row| (1.0 - smooth) * average + smooth * row[i])
    };
    group_mean(problem, |h, i| {
        let hidden = |k: usize| {
            let output =
                sum((0..problem.sizes.candidate_len)
                    .map(|j| projected(problem, h, j)[k].times(average(h, j))));
            minus(output, projected(problem, h, i)[k])
        };
        let weight = average(h, i);
        norm(&(0..problem.sizes.hidden_dim).map(hidden).collect::<Vec<_>>()).times(weight / (1.0 - weight))
    })
}
