//! Every score, stated a second time: `[Hkv][n - w]`.

use super::compare::{Stated, norm};
use super::problem::Problem;
use super::statement::{PerKey, Rows, both_norms, head_outputs, moved, plain, projected, weights};

/// A score for each KV head and candidate; `score` gets the query heads of the group.
pub fn per_slot(problem: &Problem, score: impl Fn(&[usize], usize) -> Stated) -> Vec<Vec<Stated>> {
    let size = problem.sizes.group_size;
    let mut slots = Vec::new();
    for kv_head in 0..problem.sizes.kv_heads {
        let group: Vec<usize> = (kv_head * size..(kv_head + 1) * size).collect();
        slots.push((0..problem.sizes.candidate_len).map(|i| score(&group, i)).collect());
    }
    slots
}

#[must_use]
pub fn window_weights(problem: &Problem) -> PerKey<f64> {
    weights(problem, Rows::Window, &problem.all_kept())
}

fn column(weights: &PerKey<f64>, head: usize, position: usize) -> Vec<Stated> {
    weights[head].iter().map(|row| Stated::of(row[position])).collect()
}

#[must_use]
pub fn mean(numbers: &[Stated]) -> Stated {
    let sum = numbers.iter().fold(Stated::default(), |sum, &number| sum.plus(number));
    sum.times(1.0 / numbers.len() as f64)
}

/// `mean over the group of norm2(a_{h,i}) * norm2(b_{h,i})`.
#[must_use]
pub fn laprox_mean(problem: &Problem) -> Vec<Vec<Stated>> {
    laprox_mean_of_pooled(problem, 1)
}

/// The same with `norm2(a_{h,i})` averaged over `kernel` neighbours.
#[must_use]
pub fn laprox_mean_of_pooled(problem: &Problem, kernel: usize) -> Vec<Vec<Stated>> {
    let weights = window_weights(problem);
    let norms = |h: usize| -> Vec<Stated> {
        let norms: Vec<_> = (0..problem.sizes.candidate_len).map(|i| norm(&column(&weights, h, i))).collect();
        averaged(&norms, kernel)
    };
    let norms: Vec<Vec<Stated>> = (0..problem.sizes.query_heads()).map(norms).collect();
    per_slot(problem, |group, i| {
        let pair = |&h: &usize| norm(&projected(problem, h, i)).times(norms[h][i].value);
        mean(&group.iter().map(pair).collect::<Vec<_>>())
    })
}

/// `norm2(mean over the group of a_{h,i}) * mean over the group of norm2(b_{h,i})`.
#[must_use]
pub fn laprox_attention(problem: &Problem) -> Vec<Vec<Stated>> {
    laprox_attention_of_pooled(problem, 1)
}

/// The same with the norm of the mean attention averaged over `kernel` neighbours.
#[must_use]
pub fn laprox_attention_of_pooled(problem: &Problem, kernel: usize) -> Vec<Vec<Stated>> {
    let weights = window_weights(problem);
    let attention = per_slot(problem, |group, i| {
        let row = |t: usize| mean(&group.iter().map(|&h| Stated::of(weights[h][t][i])).collect::<Vec<_>>());
        norm(&(0..problem.sizes.window_len).map(row).collect::<Vec<_>>())
    });
    let attention: Vec<_> = attention.iter().map(|head| averaged(head, kernel)).collect();
    per_slot(problem, |group, i| {
        let values: Vec<Stated> = group.iter().map(|&h| norm(&projected(problem, h, i))).collect();
        mean(&values).times(attention[group[0] / problem.sizes.group_size][i].value)
    })
}

/// `norm_F(sum over the group of a_{h,i} b_{h,i}^T)`.
#[must_use]
pub fn laprox_exact(problem: &Problem) -> Vec<Vec<Stated>> {
    let weights = window_weights(problem);
    per_slot(problem, |group, i| {
        let values: Vec<Vec<Stated>> = group.iter().map(|&h| projected(problem, h, i)).collect();
        let mut block = Vec::new();
        for t in 0..problem.sizes.window_len {
            for c in 0..problem.sizes.hidden_dim {
                let pairs = group.iter().zip(&values).map(|(&h, value)| value[c].times(weights[h][t][i]));
                block.push(pairs.fold(Stated::default(), Stated::plus));
            }
        }
        norm(&block)
    })
}

/// The formula of `centred`, the root of `sum_t norm2(sum over the group of A/(1-A) (b - o))^2`; needs `A` away from 1.
#[must_use]
pub fn centred_formula(problem: &Problem) -> Vec<Vec<Stated>> {
    let weights = window_weights(problem);
    let outputs = head_outputs(problem, &plain(&weights));
    let width = problem.sizes.hidden_dim;
    per_slot(problem, |group, i| {
        let values: Vec<Vec<Stated>> = group.iter().map(|&h| projected(problem, h, i)).collect();
        let mut change = vec![Stated::default(); problem.sizes.window_len * width];
        for (&h, value) in group.iter().zip(&values) {
            for (t, row) in weights[h].iter().enumerate() {
                for c in 0..width {
                    let away = value[c].plus(outputs[h][t * width + c].times(-1.0));
                    let entry = &mut change[t * width + c];
                    *entry = entry.plus(away.times(row[i] / (1.0 - row[i])));
                }
            }
        }
        norm(&change)
    })
}

/// The same by its meaning: the `renormalised` error of evicting the slot alone.
#[must_use]
pub fn centred_meaning(problem: &Problem) -> Vec<Vec<Stated>> {
    per_slot(problem, |group, i| {
        let keeps = problem.all_but(group[0] / problem.sizes.group_size, i);
        both_norms(&head_outputs(problem, &moved(problem, Rows::Window, &keeps)))[0]
    })
}

/// `mean over the group of sum_t A_h[t, i] / w`.
#[must_use]
pub fn snapkv_mean(problem: &Problem) -> Vec<Vec<Stated>> {
    let weights = window_weights(problem);
    per_slot(problem, |group, i| {
        mean(&group.iter().map(|&h| mean(&column(&weights, h, i))).collect::<Vec<_>>())
    })
}

/// `max over the group of sum_t A_h[t, i] / w`.
#[must_use]
pub fn snapkv_max(problem: &Problem) -> Vec<Vec<Stated>> {
    let weights = window_weights(problem);
    per_slot(problem, |group, i| {
        let attention = group.iter().map(|&h| mean(&column(&weights, h, i)).value);
        Stated::of(attention.fold(0.0, f64::max))
    })
}

/// `mean over all query heads of A_h[w - 1, i]`, the same for every group.
#[must_use]
pub fn tova(problem: &Problem) -> Vec<Vec<Stated>> {
    let weights = window_weights(problem);
    let last = problem.sizes.window_len - 1;
    per_slot(problem, |_, i| mean(&weights.iter().map(|rows| Stated::of(rows[last][i])).collect::<Vec<_>>()))
}

/// `sum over |j - i| <= K/2 of s_j / K`, nothing where there is no candidate.
#[must_use]
pub fn averaged(scores: &[Stated], kernel: usize) -> Vec<Stated> {
    let near = |i: usize| neighbours(scores, kernel, i).fold(Stated::default(), Stated::plus);
    (0..scores.len()).map(|i| near(i).times(1.0 / kernel as f64)).collect()
}

/// `max over |j - i| <= K/2 of s_j`.
#[must_use]
pub fn maximal(scores: &[Stated], kernel: usize) -> Vec<Stated> {
    let larger = |one: Stated, two: Stated| Stated {
        value: one.value.max(two.value),
        magnitude: one.magnitude.max(two.magnitude),
    };
    let least = Stated { value: f64::NEG_INFINITY, magnitude: 0.0 };
    (0..scores.len()).map(|i| neighbours(scores, kernel, i).fold(least, larger)).collect()
}

fn neighbours(scores: &[Stated], kernel: usize, middle: usize) -> impl Iterator<Item = Stated> {
    let near = move |&(j, _): &(usize, &Stated)| j.abs_diff(middle) <= (kernel - 1) / 2;
    scores.iter().enumerate().filter(near).map(|(_, &score)| score)
}
