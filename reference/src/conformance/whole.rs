//! Problems whose every intermediate result is a whole number over a power of two, small enough for any float.
//!
//! - Each query head picks a class of 1, 2 or 4 candidates and weighs them alike: their logit is 4096, all others' is 0, and
//!   `exp(-4096)` is 0 in f64. Rows of a window of 1, 4 or 16 make columns of norm `sqrt(w)` over the class size.
//! - `W_h = 2^k T P_h`: `T` unit lower bidiagonal, the `P_h` of a group disjoint signed unit rows. So `T` is found exactly as the
//!   Cholesky factor, of each head and of the group.
//! - Values are `s e T^-1` with whole `s` and `e = (3, 4)`, or `(1)` if `d = 1`: projected, their norms are whole.
//! - Groups of 1 or 4 heads pick the same class, so that norms over the group are whole, too.

use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::problem::{Problem, Sizes};

/// A whole-number problem, and evictions of none or half of each class whose errors are whole, too.
#[derive(Clone, Debug)]
pub struct WholeProblem {
    /// The problem.
    pub problem: Problem,
    /// How many candidates a class has.
    pub class_len: usize,
    /// Which cached positions each KV head keeps, `[Hkv][n + t]`.
    pub keeps: Vec<Vec<bool>>,
}

/// Whole-number problems with up to `most` candidates.
pub fn whole_problems(most: usize) -> impl Strategy<Value = WholeProblem> {
    let sizes = (
        1..=3_usize,
        prop::sample::select(vec![1_usize, 4]),
        1..=9_usize,
        0..=7_usize,
        4..=most,
        prop::sample::select(vec![1_usize, 4, 16]),
        prop::sample::select(vec![0_usize, 1, 4]),
    );
    (sizes, 0..3_u32, any::<u64>()).prop_map(
        |((kv_heads, group_size, head_dim, more, candidates, window, future), class, seed)| {
            let sizes = Sizes {
                kv_heads,
                group_size,
                head_dim,
                hidden_dim: group_size * head_dim + more,
                candidate_len: candidates,
                window_len: window,
                future_len: future,
            };
            WholeProblem::new(sizes, 1 << class, seed)
        },
    )
}

impl WholeProblem {
    /// Draws one; a class has `class_len` candidates.
    #[must_use]
    pub fn new(sizes: Sizes, class_len: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut problem = Problem::zero(sizes);
        let mut keeps = problem.all_kept();
        let subdiagonal: Vec<f64> =
            (0..sizes.head_dim).map(|_| f64::from(rng.random_range(-1..=1))).collect();
        for (kv_head, keeps) in keeps.iter_mut().enumerate() {
            let classes = classes(sizes, class_len, &mut rng);
            write_keys(&mut problem, kv_head, &classes);
            write_values(&mut problem, kv_head, &subdiagonal, &mut rng);
            write_queries(&mut problem, kv_head, classes.len(), &mut rng);
            write_projection(&mut problem, kv_head, &subdiagonal, &mut rng);
            if class_len > 1 {
                let evicted =
                    classes.iter().filter(|_| rng.random()).flat_map(|class| &class[..class_len / 2]);
                evicted.for_each(|&position| keeps[position] = false);
            }
        }
        Self { problem, class_len, keeps }
    }
}

/// Up to `d` disjoint lists of candidates.
fn classes(sizes: Sizes, class_len: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let mut positions: Vec<usize> = (0..sizes.candidate_len).collect();
    positions.shuffle(rng);
    positions.chunks_exact(class_len).take(sizes.head_dim).map(<[usize]>::to_vec).collect()
}

/// Class `c` has the `c`-th unit vector, all other keys are zero.
fn write_keys(problem: &mut Problem, kv_head: usize, classes: &[Vec<usize>]) {
    let sizes = problem.sizes;
    for (channel, class) in classes.iter().enumerate() {
        for position in class {
            problem.key[(kv_head * sizes.cached_len() + position) * sizes.head_dim + channel] = 1.0;
        }
    }
}

/// All rows of the group ask for the same class.
fn write_queries(problem: &mut Problem, kv_head: usize, classes: usize, rng: &mut ChaCha8Rng) {
    let Sizes { group_size, head_dim, window_len, future_len, .. } = problem.sizes;
    for (queries, rows) in [(&mut problem.query, window_len), (&mut problem.future_query, future_len)] {
        let class = rng.random_range(0..classes);
        let group = &mut queries[kv_head * group_size * rows * head_dim..][..group_size * rows * head_dim];
        group.chunks_exact_mut(head_dim).for_each(|row| row[class] = 4096.0);
    }
}

/// `s e T^-1`: `x_k = y_k - x_(k+1) t_(k+1)`, from the last channel to the first.
fn write_values(problem: &mut Problem, kv_head: usize, subdiagonal: &[f64], rng: &mut ChaCha8Rng) {
    let (cached, d) = (problem.sizes.cached_len(), problem.sizes.head_dim);
    let mut channels: Vec<usize> = (0..d).collect();
    channels.shuffle(rng);
    for value in problem.value[kv_head * cached * d..][..cached * d].chunks_exact_mut(d) {
        let size = f64::from(rng.random_range(-8..=8));
        match channels[..] {
            [one, two, ..] => (value[one], value[two]) = (3.0 * size, 4.0 * size),
            _ => value[0] = size,
        }
        for k in (0..d - 1).rev() {
            value[k] -= value[k + 1] * subdiagonal[k + 1];
        }
    }
}

/// `W_h = 2^k T P_h`.
fn write_projection(problem: &mut Problem, kv_head: usize, subdiagonal: &[f64], rng: &mut ChaCha8Rng) {
    let Sizes { group_size, head_dim, hidden_dim, .. } = problem.sizes;
    let width = problem.sizes.query_heads() * head_dim;
    let power = f64::from(1 << rng.random_range(0..3));
    let mut channels: Vec<usize> = (0..hidden_dim).collect();
    channels.shuffle(rng);
    for head in 0..group_size {
        for row in 0..head_dim {
            let channel = channels[head * head_dim + row];
            let entry = if rng.random() { power } else { -power };
            let first = channel * width + (kv_head * group_size + head) * head_dim;
            problem.projection[first + row] = entry;
            if row + 1 < head_dim {
                problem.projection[first + row + 1] = entry * subdiagonal[row + 1];
            }
        }
    }
}
