//! Scores of the attention that the window pays.

use super::{Scores, group_mean, minus, quotient, rows_from, size, squared, sum};
use crate::common::compare::Stated;
use crate::common::problem::Problem;
use crate::common::stated_scores::{averaged, mean, per_slot, snapkv_mean, window_weights};
use crate::common::statement::{PerKey, projected};

/// `sum_t A_h[t, i]`.
#[must_use]
pub fn h2o(problem: &Problem) -> Scores {
    let weights = window_weights(problem);
    group_mean(problem, |h, i| sum(rows_from(&weights, h, 0, i).into_iter().map(Stated::of)))
}

/// `mean_t A_h[t, i]` of the rows from `first` on.
#[must_use]
pub fn snapkv_from(problem: &Problem, first: usize) -> Scores {
    let weights = window_weights(problem);
    group_mean(problem, |h, i| {
        mean(&rows_from(&weights, h, first, i).into_iter().map(Stated::of).collect::<Vec<_>>())
    })
}

/// `mean_t A + gamma sum_t (A - mean)^2 / (w - 1)`; one row has no variance.
#[must_use]
pub fn cake(problem: &Problem, gamma: f64) -> Scores {
    let weights = window_weights(problem);
    group_mean(problem, |h, i| {
        let column: Vec<Stated> = rows_from(&weights, h, 0, i).into_iter().map(Stated::of).collect();
        let mean = mean(&column);
        let squares = sum(column.iter().map(|&a| squared(minus(a, mean))));
        let others = column.len() as f64 - 1.0;
        if others > 0.0 { mean.plus(squares.times(gamma / others)) } else { mean }
    })
}

/// `max_j norm1(v_j) * max over the group of the mean attention, averaged over `kernel` neighbours`.
#[must_use]
pub fn lava(problem: &Problem, kernel: usize) -> Scores {
    let weights = window_weights(problem);
    let candidates = problem.sizes.candidate_len;
    let pooled_head = |h: usize| {
        let column = |i| mean(&rows_from(&weights, h, 0, i).into_iter().map(Stated::of).collect::<Vec<_>>());
        averaged(&(0..candidates).map(column).collect::<Vec<_>>(), kernel)
    };
    let pooled: Scores = (0..problem.sizes.query_heads()).map(pooled_head).collect();
    per_slot(problem, |group, i| {
        let kv_head = group[0] / problem.sizes.group_size;
        let largest = (0..candidates).map(|j| size(problem.value_at(kv_head, j)).value).fold(0.0, f64::max);
        let most = group.iter().map(|&h| pooled[h][i].value).fold(0.0, f64::max);
        Stated::of(most * largest)
    })
}

/// `norm1(v_i) * mean_t A`, the attention averaged over `kernel` neighbours first.
#[must_use]
pub fn vatp(problem: &Problem, kernel: usize) -> Scores {
    let attention = snapkv_mean(problem);
    let weigh = |(kv_head, scores): (usize, &Vec<Stated>)| {
        let pooled = averaged(scores, kernel).into_iter().enumerate();
        pooled.map(|(i, score)| score.times(size(problem.value_at(kv_head, i)).value)).collect()
    };
    attention.iter().enumerate().map(weigh).collect()
}

/// `mean over the group of norm1(v_i W_h)`.
#[must_use]
pub fn projected_sizes(problem: &Problem) -> Scores {
    group_mean(problem, |h, i| {
        let size = |x: Stated| Stated { value: x.value.abs(), magnitude: x.magnitude };
        sum(projected(problem, h, i).into_iter().map(size))
    })
}

/// `(base + eps) * mean over the group of norm1(v_i W_h)`, the base averaged over `kernel` neighbours.
#[must_use]
pub fn critical(problem: &Problem, base: &Scores, kernel: usize, eps: f64) -> Scores {
    let weigh = |(base, sizes): (&Vec<Stated>, Vec<Stated>)| {
        let scores = averaged(base, kernel).into_iter().zip(sizes);
        scores.map(|(score, size)| score.plus(Stated::of(eps)).product(size)).collect()
    };
    base.iter().zip(projected_sizes(problem)).map(weigh).collect()
}

/// The mean over `i`'s chunk of the candidates of the sum over KV heads of the window's mean attention.
#[must_use]
pub fn chunkkv(problem: &Problem, chunk: usize) -> Scores {
    let heads = snapkv_mean(problem);
    per_slot(problem, |_, i| {
        let first = i / chunk * chunk;
        let end = (first + chunk).min(problem.sizes.candidate_len);
        let sums: Vec<Stated> = (first..end).map(|j| sum(heads.iter().map(|head| head[j]))).collect();
        mean(&sums)
    })
}

/// DefensiveKV's score, and whether rounding could have marked other entries.
#[must_use]
pub fn defensivekv(problem: &Problem, kernel: usize, mass: f64, rounding: f64) -> (Scores, bool) {
    let weights = window_weights(problem);
    let sizes = projected_sizes(problem);
    let attention = snapkv_from(problem, 0);
    let mut scores: Scores = risks(problem, &weights, kernel);
    for head in &mut scores {
        let floor = mean(head);
        head.iter_mut().for_each(|risk| *risk = if risk.value < floor.value { floor } else { *risk });
    }
    for (head, own) in scores.iter_mut().zip(&sizes) {
        for (i, score) in head.iter_mut().enumerate() {
            *score = score.product(quotient(own[i], sum(sizes.iter().map(|other| other[i]))));
        }
    }
    let greater = |one: Stated, two: Stated| if two.value > one.value { two } else { one };
    let largest = scores.iter().flatten().copied().fold(Stated::default(), greater);
    let mut clear = true;
    for (head, attention) in scores.iter_mut().zip(&attention) {
        let (marked, is_clear) = marked(attention, mass, rounding);
        clear &= is_clear;
        marked.into_iter().for_each(|i| head[i] = largest.plus(attention[i]));
    }
    (scores, clear)
}

/// Row by row the attention to the candidates, averaged and scaled back to its sum; the largest of group and window.
fn risks(problem: &Problem, weights: &PerKey<f64>, kernel: usize) -> Scores {
    let candidates = problem.sizes.candidate_len;
    let row = |row: &Vec<f64>| -> Vec<f64> {
        let row: Vec<Stated> = row[..candidates].iter().map(|&a| Stated::of(a)).collect();
        let pooled = averaged(&row, kernel);
        let (before, after) = (sum(row.iter().copied()).value, sum(pooled.iter().copied()).value);
        pooled.iter().map(|a| if after > 0.0 { a.value * before / after } else { a.value }).collect()
    };
    let rows: PerKey<f64> = weights.iter().map(|rows| rows.iter().map(row).collect()).collect();
    per_slot(problem, |group, i| {
        let of_group = group.iter().flat_map(|&h| rows[h].iter().map(move |row| row[i]));
        Stated::of(of_group.fold(0.0, f64::max))
    })
}

/// The positions of most attention that stay, with the window's part, below `mass`; one after another.
fn marked(attention: &[Stated], mass: f64, rounding: f64) -> (Vec<usize>, bool) {
    let mut left: Vec<usize> = (0..attention.len()).collect();
    let mut reached = 1.0 - attention.iter().map(|a| a.value).sum::<f64>();
    let (mut marked, mut clear) = (Vec::new(), true);
    while !left.is_empty() {
        let most = *left.iter().max_by(|&&i, &&j| attention[i].value.total_cmp(&attention[j].value)).unwrap();
        let (next, margin) = (reached + attention[most].value, 8.0 * rounding);
        clear &= (next - mass).abs() > margin;
        if next >= mass {
            let ties = |&i: &usize| (attention[i].value - attention[most].value).abs() <= margin;
            clear &= !marked.iter().any(ties);
            break;
        }
        reached = next;
        marked.push(most);
        left.retain(|&i| i != most);
    }
    (marked, clear)
}
