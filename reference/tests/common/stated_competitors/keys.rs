//! Scores of keys and values.

use super::{Scores, minus, quotient, squared, sum};
use crate::common::compare::{Stated, norm};
use crate::common::problem::Problem;
use crate::common::stated_scores::{mean, per_slot};

/// `-norm2(k_i)`.
#[must_use]
pub fn knorm(problem: &Problem) -> Scores {
    let norm_of = |key: &[f64]| norm(&key.iter().map(|&x| Stated::of(x)).collect::<Vec<_>>());
    per_slot(problem, |group, i| norm_of(problem.key_at(group[0] / problem.sizes.group_size, i)).times(-1.0))
}

/// `-<u_i, a> / norm2(a)`, `a` the mean of the unit keys `u` of the whole context; 0 where they cancel.
///
/// `a` is off by the rounding times its magnitudes, and its norm by the rounding times theirs.
#[must_use]
pub fn keydiff(problem: &Problem) -> Scores {
    let context = problem.sizes.context_len();
    let unit = |kv_head: usize, i: usize| -> Vec<f64> {
        let key = problem.key_at(kv_head, i);
        let length = key.iter().map(|x| x * x).sum::<f64>().sqrt();
        key.iter().map(|x| x / length).collect()
    };
    per_slot(problem, |group, i| {
        let kv_head = group[0] / problem.sizes.group_size;
        let channel =
            |c: usize| mean(&(0..context).map(|j| Stated::of(unit(kv_head, j)[c])).collect::<Vec<_>>());
        let anchor: Vec<Stated> = (0..problem.sizes.head_dim).map(channel).collect();
        let length = norm(&anchor);
        if length.value == 0.0 {
            return Stated::default();
        }
        let dot = sum(unit(kv_head, i).iter().zip(&anchor).map(|(&u, &a)| a.times(u)));
        let cosine = dot.times(1.0 / length.value);
        Stated { value: -cosine.value, magnitude: cosine.magnitude + length.magnitude / length.value }
    })
}

fn key(problem: &Problem, kv_head: usize, i: usize) -> Vec<Stated> {
    problem.key_at(kv_head, i).iter().map(|&x| Stated::of(x)).collect()
}

fn value(problem: &Problem, kv_head: usize, i: usize) -> Vec<Stated> {
    problem.value_at(kv_head, i).iter().map(|&x| Stated::of(x)).collect()
}

/// `norm2(k_i - mean_j k_j)`, the mean over the `block` positions of the context around `i`.
#[must_use]
pub fn manifoldkv(problem: &Problem, block: usize) -> Scores {
    per_slot(problem, |group, i| {
        let kv_head = group[0] / problem.sizes.group_size;
        let first = i / block * block;
        let end = (first + block).min(problem.sizes.context_len());
        let channel = |c: usize| {
            let centre = mean(&(first..end).map(|j| key(problem, kv_head, j)[c]).collect::<Vec<_>>());
            minus(key(problem, kv_head, i)[c], centre)
        };
        norm(&(0..problem.sizes.head_dim).map(channel).collect::<Vec<_>>())
    })
}

/// `l(k_i) l(v_i)` over its sum in the head, `l` the squared norm over its sum among `block` positions.
#[must_use]
pub fn curdkv(problem: &Problem, block: usize) -> Scores {
    let context = problem.sizes.context_len();
    let square = |entries: &[Stated]| sum(entries.iter().map(|&x| squared(x)));
    let share = |of: &dyn Fn(usize) -> Vec<Stated>, i: usize| {
        let first = i / block * block;
        let all = sum((first..(first + block).min(context)).map(|j| square(&of(j))));
        quotient(square(&of(i)), all)
    };
    let product = |kv_head: usize, i: usize| {
        share(&|j| key(problem, kv_head, j), i).product(share(&|j| value(problem, kv_head, j), i))
    };
    per_slot(problem, |group, i| {
        let kv_head = group[0] / problem.sizes.group_size;
        quotient(product(kv_head, i), sum((0..context).map(|j| product(kv_head, j))))
    })
}

/// The number that ranks in `lagkv`, for the positions of all parts but the last: the mean over keys and values of the softmax
/// of the deviations over channels, `[Hkv][parts - 1][lag]`.
#[must_use]
pub fn lagkv_parts(problem: &Problem, lag: usize) -> Vec<Vec<Vec<f64>>> {
    let sizes = problem.sizes;
    let parts = (sizes.context_len() - 4) / lag;
    let softmax = |rows: &dyn Fn(usize) -> Vec<f64>, start: usize| -> Vec<f64> {
        let deviation = |row: Vec<f64>| -> f64 {
            let scaled: Vec<f64> = (0..sizes.head_dim)
                .map(|c| {
                    let next: Vec<f64> = (start + lag..start + 2 * lag).map(|j| rows(j)[c]).collect();
                    let least = next.iter().copied().fold(f64::INFINITY, f64::min);
                    let most = next.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    if most == least { 0.0 } else { (row[c] - least) / (most - least) }
                })
                .collect();
            let mean = scaled.iter().sum::<f64>() / scaled.len() as f64;
            let others = scaled.len() as f64 - 1.0;
            let squares: f64 = scaled.iter().map(|x| (x - mean) * (x - mean)).sum();
            if others == 0.0 { 0.0 } else { (squares / others).sqrt() }
        };
        let exponents: Vec<f64> = (start..start + lag).map(|i| deviation(rows(i)).exp()).collect();
        let all: f64 = exponents.iter().sum();
        exponents.iter().map(|x| x / all).collect()
    };
    let of_part = |kv_head: usize, part: usize| -> Vec<f64> {
        let start = 4 + part * lag;
        let keys = softmax(&|j| problem.key_at(kv_head, j).to_vec(), start);
        let values = softmax(&|j| problem.value_at(kv_head, j).to_vec(), start);
        keys.iter().zip(values).map(|(key, value)| (key + value) / 2.0).collect()
    };
    (0..sizes.kv_heads)
        .map(|kv_head| (0..parts.saturating_sub(1)).map(|part| of_part(kv_head, part)).collect())
        .collect()
}

/// The inverse by Gauss-Jordan elimination; the matrix is positive definite.
fn inverse(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let len = matrix.len();
    for (row, line) in matrix.iter_mut().enumerate() {
        line.extend((0..len).map(|column| f64::from(u8::from(row == column))));
    }
    for pivot in 0..len {
        let by = matrix[pivot][pivot];
        matrix[pivot].iter_mut().for_each(|x| *x /= by);
        let line = matrix[pivot].clone();
        for (_, other) in matrix.iter_mut().enumerate().filter(|(row, _)| *row != pivot) {
            let factor = other[pivot];
            other.iter_mut().zip(&line).for_each(|(x, y)| *x -= factor * y);
        }
    }
    matrix.into_iter().map(|line| line[len..].to_vec()).collect()
}

/// `x^T M x`.
fn quadratic(matrix: &[Vec<f64>], x: &[f64]) -> f64 {
    let products =
        matrix.iter().zip(x).map(|(line, a)| a * line.iter().zip(x).map(|(m, b)| m * b).sum::<f64>());
    products.sum()
}

/// `I a + sum of weighted squares`.
fn squares(diagonal: f64, rows: &[(f64, Vec<f64>)], len: usize) -> Vec<Vec<f64>> {
    let entry = |r: usize, c: usize| {
        let sum: f64 = rows.iter().map(|(weight, row)| weight * row[r] * row[c]).sum();
        if r == c { sum + diagonal } else { sum }
    };
    (0..len).map(|r| (0..len).map(|c| entry(r, c)).collect()).collect()
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The largest over the group of CapKV's scores, and per KV head what magnifies the rounding.
#[must_use]
pub fn capkv(problem: &Problem, tau: f64) -> (Scores, Vec<f64>) {
    const SINKS: usize = 4;
    let sizes = problem.sizes;
    let (context, dim) = (sizes.context_len(), sizes.head_dim);
    let of_head = |h: usize| -> (Vec<Stated>, f64) {
        let kv_head = h / sizes.group_size;
        let mean = |part: &dyn Fn(f64) -> f64, c: usize| {
            let rows = (0..sizes.window_len).map(|t| part(problem.query_at(h, t)[c]));
            rows.sum::<f64>() / sizes.window_len as f64
        };
        let query: Vec<f64> = (0..dim).map(|c| mean(&|x| x, c)).collect();
        let magnitudes: Vec<f64> = (0..dim).map(|c| mean(&f64::abs, c)).collect();
        let cosine = |i: usize| {
            let key = problem.key_at(kv_head, i);
            let dot: f64 = key.iter().zip(&query).map(|(k, q)| k * q).sum();
            let norms = length(key) * length(&query);
            if norms > 0.0 { dot / norms } else { 0.0 }
        };
        let largest = (SINKS..context).map(cosine).fold(f64::NEG_INFINITY, f64::max);
        let weight = |i: usize| (tau * (cosine(i) - largest).min(0.0)).exp();
        let rows: Vec<_> =
            (SINKS..context).map(|i| (weight(i) + 1e-6, problem.value_at(kv_head, i).to_vec())).collect();
        let capacity = squares(1.0, &rows, dim);
        let trace: f64 = (0..dim).map(|c| capacity[c][c]).sum();
        let inverse = inverse(capacity);
        let score = |i: usize| {
            let value = problem.value_at(kv_head, i);
            let span = quadratic(&inverse, value) * weight(i);
            // The inverse is at most 1.
            Stated { value: span, magnitude: weight(i) * length(value).powi(2) }
        };
        let cancelled = if length(&query) > 0.0 { length(&magnitudes) / length(&query) } else { 1.0 };
        ((0..sizes.candidate_len).map(score).collect(), trace + 4.0 * tau * cancelled)
    };
    let heads: Vec<_> = (0..sizes.query_heads()).map(of_head).collect();
    let most = |one: Stated, two: Stated| Stated {
        value: one.value.max(two.value),
        magnitude: one.magnitude.max(two.magnitude),
    };
    let scores =
        per_slot(problem, |group, i| group.iter().map(|&h| heads[h].0[i]).fold(Stated::default(), most));
    let groups = heads.chunks(sizes.group_size);
    (scores, groups.map(|group| group.iter().map(|head| head.1).fold(1.0, f64::max)).collect())
}

/// `x^T (X^T X + ridge tr(X^T X) / d)^-1 x` of the centred keys, and per KV head how much centring magnifies the rounding.
#[must_use]
pub fn leverage(problem: &Problem, ridge: f64) -> (Vec<Vec<f64>>, Vec<f64>) {
    let sizes = problem.sizes;
    let (context, dim) = (sizes.context_len(), sizes.head_dim);
    let of_head = |kv_head: usize| -> (Vec<f64>, f64) {
        let centre =
            |c: usize| (0..context).map(|j| problem.key_at(kv_head, j)[c]).sum::<f64>() / context as f64;
        let centre: Vec<f64> = (0..dim).map(centre).collect();
        let largest = |rows: &[Vec<f64>]| rows.iter().flatten().fold(0.0_f64, |most, x| most.max(x.abs()));
        let keys: Vec<Vec<f64>> = (0..context).map(|j| problem.key_at(kv_head, j).to_vec()).collect();
        let centred: Vec<Vec<f64>> =
            keys.iter().map(|key| key.iter().zip(&centre).map(|(x, c)| x - c).collect()).collect();
        let scale = largest(&centred);
        if scale == 0.0 {
            return (vec![0.0; sizes.candidate_len], 1.0);
        }
        let scaled: Vec<(f64, Vec<f64>)> =
            centred.iter().map(|row| (1.0, row.iter().map(|x| x / scale).collect())).collect();
        let plain = squares(0.0, &scaled, dim);
        let trace: f64 = (0..dim).map(|c| plain[c][c]).sum();
        let inverse = inverse(squares(ridge * trace / dim as f64, &scaled, dim));
        let scores = scaled[..sizes.candidate_len].iter().map(|(_, row)| quadratic(&inverse, row)).collect();
        (scores, 1.0 + largest(&keys) / scale)
    };
    (0..sizes.kv_heads).map(of_head).unzip()
}

/// The mean of `1 - cos` with three mean keys: of the context, of the `block` positions around `i`, of the last `trail` positions.
/// Beside it per KV head, how much an anchor that keys cancel in magnifies the rounding.
#[must_use]
pub fn nestedkv(problem: &Problem, block: usize, trail: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
    let context = problem.sizes.context_len();
    let of_head = |kv_head: usize| -> (Vec<f64>, f64) {
        let mut magnified = 1.0_f64;
        let mut anomaly = |i: usize, first: usize, end: usize| -> f64 {
            let part = |of: &dyn Fn(f64) -> f64, c: usize| {
                (first..end).map(|j| of(problem.key_at(kv_head, j)[c])).sum::<f64>() / (end - first) as f64
            };
            let channels = 0..problem.sizes.head_dim;
            let anchor: Vec<f64> = channels.clone().map(|c| part(&|x| x, c)).collect();
            let sizes: Vec<f64> = channels.map(|c| part(&f64::abs, c)).collect();
            let (key, size) = (problem.key_at(kv_head, i), length(&anchor));
            let norms = length(key) * size;
            if size > 0.0 {
                magnified = magnified.max(length(&sizes) / size);
            }
            let dot: f64 = key.iter().zip(&anchor).map(|(k, a)| k * a).sum();
            if norms > 0.0 { 1.0 - dot / norms } else { 1.0 }
        };
        let scores: Vec<f64> = (0..problem.sizes.candidate_len)
            .map(|i| {
                let first = i / block * block;
                let global = anomaly(i, 0, context);
                let local = anomaly(i, first, (first + block).min(context));
                let trailing = anomaly(i, context.saturating_sub(trail), context);
                (global + local + trailing) / 3.0
            })
            .collect();
        (scores, magnified)
    };
    (0..problem.sizes.kv_heads).map(of_head).unzip()
}
