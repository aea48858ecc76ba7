//! The scores of the competing policies, stated a second time: `[Hkv][n - w]`, unpooled unless said.

use super::compare::{Stated, norm};
use super::problem::Problem;
use super::stated_scores::{averaged, mean, per_slot, window_weights};
use super::statement::{PerKey, Rows, projected, stated_logits, weights};

type Scores = Vec<Vec<Stated>>;

/// `mean over the group of f(h, i)`.
fn group_mean(problem: &Problem, of_head: impl Fn(usize, usize) -> Stated) -> Scores {
    per_slot(problem, |group, i| mean(&group.iter().map(|&h| of_head(h, i)).collect::<Vec<_>>()))
}

fn group_sum(problem: &Problem, of_head: impl Fn(usize, usize) -> Stated) -> Scores {
    per_slot(problem, |group, i| sum(group.iter().map(|&h| of_head(h, i))))
}

fn sum(terms: impl Iterator<Item = Stated>) -> Stated {
    terms.fold(Stated::default(), Stated::plus)
}

fn squared(x: Stated) -> Stated {
    x.product(x)
}

fn minus(x: Stated, y: Stated) -> Stated {
    x.plus(y.times(-1.0))
}

fn size(numbers: &[f64]) -> Stated {
    Stated::of(numbers.iter().map(|x| x.abs()).sum())
}

/// The window's rows are those from `first` on.
fn rows_from(weights: &PerKey<f64>, head: usize, first: usize, position: usize) -> Vec<f64> {
    weights[head].iter().skip(first).map(|row| row[position]).collect()
}

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
    let attention = super::stated_scores::snapkv_mean(problem);
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

/// The mean over `i`'s chunk of the candidates of the sum over KV heads of the window's mean attention.
#[must_use]
pub fn chunkkv(problem: &Problem, chunk: usize) -> Scores {
    let heads = super::stated_scores::snapkv_mean(problem);
    per_slot(problem, |_, i| {
        let first = i / chunk * chunk;
        let end = (first + chunk).min(problem.sizes.candidate_len);
        let sums: Vec<Stated> = (first..end).map(|j| sum(heads.iter().map(|head| head[j]))).collect();
        mean(&sums)
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

/// `x / y` of numbers above zero, each off by the rounding times its magnitude.
fn quotient(x: Stated, y: Stated) -> Stated {
    if y.value == 0.0 {
        return Stated::default();
    }
    Stated {
        value: x.value / y.value,
        magnitude: x.magnitude / y.value + x.value * y.magnitude / (y.value * y.value),
    }
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
