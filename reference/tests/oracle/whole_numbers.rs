//! Bounds against optima that are known exactly.
//!
//! Keys are zero and the window is one row, so that each of `n = 2^k` positions weighs `2^-k`; values and projections
//! are whole numbers. Then `n E(x)` is one, too, and the optimum of `n^2 norm_F(E)^2` is found without rounding.

use laprox_reference::Form;
use laprox_reference::oracle::bound::{Decision, lower_bound};
use laprox_reference::oracle::convexify::Convexified;
use laprox_reference::oracle::{PairGram, exhaustive};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::hostile::{layer, some_candidates, window_gram};
use crate::common::problem::{Problem, Sizes};
use crate::problems::{FORMS, certify, early, to_the_end};

/// One KV head with 7 or 15 candidates. Under an outlier, the first channel is a hundred million times the others.
fn even(seed: u64, outlier: bool) -> Problem {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let sizes = Sizes {
        kv_heads: 1,
        group_size: rng.random_range(1..=3),
        head_dim: rng.random_range(1..=4),
        hidden_dim: rng.random_range(1..=5),
        candidate_len: [7, 7, 15][rng.random_range(0..3)],
        window_len: 1,
        future_len: 0,
    };
    let mut problem = Problem::zero(sizes);
    for numbers in [&mut problem.value, &mut problem.projection] {
        numbers.iter_mut().for_each(|number| *number = f64::from(rng.random_range(-9..=9)));
    }
    if outlier {
        problem.value.chunks_exact_mut(sizes.head_dim).for_each(|value| value[0] *= 1e8);
    }
    problem
}

/// `n b_{h,i}` of each candidate: one row for the layer, or one for each query head.
fn rows(problem: &Problem, form: Form) -> Vec<Vec<i128>> {
    let Sizes { group_size, head_dim, hidden_dim, candidate_len, .. } = problem.sizes;
    let entry = |head: usize, i: usize, c: usize| -> i128 {
        let products = (0..head_dim)
            .map(|k| problem.value_at(0, i)[k] as i128 * problem.projection_at(head, k, c) as i128);
        products.sum()
    };
    let row = |i: usize| -> Vec<i128> {
        let of = |head: usize| (0..hidden_dim).map(move |c| entry(head, i, c));
        match form {
            Form::HeadWise => (0..group_size).flat_map(of).collect(),
            Form::LayerWise => {
                (0..hidden_dim).map(|c| (0..group_size).map(|head| entry(head, i, c)).sum()).collect()
            }
        }
    };
    (0..candidate_len).map(row).collect()
}

/// The least `n^2 norm_F(E(s))^2` over the sets of `count` that respect the decisions.
fn optimum(rows: &[Vec<i128>], decisions: &[Decision], count: usize) -> i128 {
    let admissible = |set: &u32| {
        set.count_ones() as usize == count
            && decisions.iter().enumerate().all(|(candidate, decision)| match decision {
                Decision::Open => true,
                Decision::Evicted => set >> candidate & 1 == 1,
                Decision::Retained => set >> candidate & 1 == 0,
            })
    };
    let square = |set: u32| -> i128 {
        let channel = |c: usize| -> i128 {
            rows.iter()
                .enumerate()
                .filter(|(candidate, _)| set >> candidate & 1 == 1)
                .map(|(_, row)| row[c])
                .sum()
        };
        (0..rows[0].len()).map(|c| channel(c).pow(2)).sum()
    };
    (0..1_u32 << rows.len()).filter(admissible).map(square).min().unwrap()
}

/// Whether `bound * n^2 <= least`, exactly: `n^2` is a power of two.
fn is_below(bound: f64, problem: &Problem, least: i128) -> bool {
    let scaled = bound * (problem.sizes.context_len() as f64).powi(2);
    assert!(scaled.is_finite(), "a bound of {bound}");
    // Rounded up to a whole number.
    scaled.ceil() as i128 <= least
}

/// Shares of a kind that only a careless solver would return: outside of 0 to 1, or of any other sum.
fn garbage(candidates: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let kind = rng.random_range(0..4);
    let share = |_| match kind {
        0 => f64::from(rng.random_range(0..2)),
        1 => rng.random_range(0.0..1.0),
        2 => rng.random_range(-2.0..3.0),
        _ => 0.0,
    };
    (0..candidates).map(share).collect()
}

/// Decisions that leave a set of `count`: some of a random one's candidates, some of the others.
fn decisions(candidates: usize, count: usize, rng: &mut ChaCha8Rng) -> Vec<Decision> {
    let evicted = some_candidates(candidates, count, rng);
    let decide = |candidate: usize| match (rng.random_bool(0.3), evicted.contains(&candidate)) {
        (false, _) => Decision::Open,
        (true, true) => Decision::Evicted,
        (true, false) => Decision::Retained,
    };
    (0..candidates).map(decide).collect()
}

#[test]
fn any_certificate_bounds_the_exact_optimum() {
    let mut tight = 0;
    for seed in 0..600 {
        let problem = even(seed, seed % 2 == 0);
        let layer = layer(&problem);
        let candidates = problem.sizes.candidate_len;
        let mut rng = ChaCha8Rng::seed_from_u64(!seed);
        for form in FORMS {
            let gram = window_gram(&layer, form);
            let count = rng.random_range(0..=candidates);
            let decisions = decisions(candidates, count, &mut rng);
            let least = optimum(&rows(&problem, form), &decisions, count);
            for convexified in [Convexified::plain(&gram), Convexified::new(&gram)] {
                for _ in 0..8 {
                    let bound = lower_bound(
                        &convexified.product(&garbage(candidates, &mut rng)).unwrap(),
                        &decisions,
                        count,
                    )
                    .value;
                    assert!(bound >= 0.0);
                    assert!(is_below(bound, &problem, least), "seed {seed}: {bound} is above {least}");
                    tight += usize::from(bound > 0.0);
                }
            }
        }
    }
    assert!(tight > 500, "bounds that say nothing prove nothing: {tight} are above 0");
}

#[test]
fn trying_every_set_bounds_the_exact_optimum() {
    for seed in 0..200 {
        let problem = even(seed, seed % 2 == 0);
        let layer = layer(&problem);
        let candidates = problem.sizes.candidate_len;
        let mut rng = ChaCha8Rng::seed_from_u64(!seed);
        for form in FORMS {
            let gram = window_gram(&layer, form);
            let count = rng.random_range(0..=candidates);
            let least = optimum(&rows(&problem, form), &vec![Decision::Open; candidates], count);
            let (eviction, bound) = exhaustive(&gram, count).unwrap();
            assert!(is_below(bound.value, &problem, least), "seed {seed}: {} is above {least}", bound.value);
            assert!(bound.value >= eviction.squared_error - 2.0 * bound.rounding);
        }
    }
}

#[test]
fn a_search_bounds_the_exact_optimum_wherever_it_ends() {
    for seed in 0..200 {
        let problem = even(seed, seed % 2 == 0);
        let layer = layer(&problem);
        let candidates = problem.sizes.candidate_len;
        let mut rng = ChaCha8Rng::seed_from_u64(!seed);
        for form in FORMS {
            let gram = window_gram(&layer, form);
            let count = rng.random_range(0..=candidates);
            let least = optimum(&rows(&problem, form), &vec![Decision::Open; candidates], count);
            let start = some_candidates(candidates, count, &mut rng);
            for limits in [early(1), early(4), to_the_end(1)] {
                let found = certify(&gram, count, &start, limits, &mut |_| true);
                // A best set's own error, with its rounding, may stand in for the bound.
                let bound = found.squared_lower_bound;
                let proven = bound < found.eviction.squared_error;
                assert!(
                    !proven || is_below(bound, &problem, least),
                    "seed {seed}: {bound} is above {least}, {} nodes",
                    found.nodes
                );
            }
        }
    }
}
