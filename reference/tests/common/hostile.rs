//! Small problems that are hard on a search or a bound, and evictions of them.

use laprox_reference::layer::Layer;
use laprox_reference::oracle::{LayerGram, Rows};
use laprox_reference::{Form, LayerIndex, ReferenceLayer, RetainedSet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::problem::{Problem, Sizes};

/// Sizes with `kv_heads * candidate_len` candidates, any group size up to 4.
pub fn sizes(candidates: usize, rng: &mut ChaCha8Rng) -> Sizes {
    let heads: Vec<usize> =
        [1, 2, 3, 4].into_iter().filter(|&heads| candidates.is_multiple_of(heads)).collect();
    let kv_heads = heads[rng.random_range(0..heads.len())];
    Sizes {
        kv_heads,
        group_size: rng.random_range(1..=4),
        head_dim: rng.random_range(1..=6),
        hidden_dim: rng.random_range(1..=10),
        candidate_len: candidates / kv_heads,
        window_len: rng.random_range(1..=5),
        future_len: 0,
    }
}

/// An alive problem with some candidates made duplicates, opposites, near copies or zero.
#[must_use]
pub fn hostile(sizes: Sizes, seed: u64) -> Problem {
    let mut problem = Problem::alive(sizes, seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xdead);
    let density = [0.0, 0.2, 0.6][rng.random_range(0..3)];
    let d = sizes.head_dim;
    for head in 0..sizes.kv_heads {
        for position in 0..sizes.candidate_len {
            if !rng.random_bool(density) {
                continue;
            }
            let first = head * sizes.cached_len();
            let (from, to) = ((first + rng.random_range(0..sizes.candidate_len)) * d, (first + position) * d);
            problem.key.copy_within(from..from + d, to);
            problem.value.copy_within(from..from + d, to);
            let factor = [1.0, 1.0, -1.0, 1.0 + 1e-9, 0.0][rng.random_range(0..5)];
            problem.value[to..to + d].iter_mut().for_each(|value| *value *= factor);
        }
    }
    problem
}

#[must_use]
pub fn layer(problem: &Problem) -> ReferenceLayer {
    ReferenceLayer::new(&problem.layer_problem(LayerIndex(0))).unwrap()
}

#[must_use]
pub fn window_gram(layer: &Layer, form: Form) -> LayerGram<'_> {
    LayerGram::of(layer, form, Rows::Window).unwrap()
}

/// `count` candidates in random order.
#[must_use]
pub fn some_candidates(candidates: usize, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..candidates).collect();
    for last in (1..candidates).rev() {
        chosen.swap(last, rng.random_range(0..=last));
    }
    chosen.truncate(count);
    chosen
}

/// The retained set of a layer that has lost these candidates.
#[must_use]
pub fn without(layer: &Layer, evicted: &[usize]) -> RetainedSet {
    let (shape, candidate_len) = (layer.shape, layer.shape.candidate_len());
    let kept = |head: usize| {
        (0..candidate_len as u32)
            .filter(|&i| !evicted.contains(&(head * candidate_len + i as usize)))
            .collect()
    };
    let heads: Vec<Vec<u32>> = (0..shape.kv_heads).map(kept).collect();
    RetainedSet::from_candidates(shape.kv_heads, shape.context_len, shape.window_len, &heads).unwrap()
}
