//! Refits: the least squares behind them, and what they do to a set.

mod common;

use laprox_reference::refit::{non_negative, ridge};
use laprox_reference::{
    CandidatesPerHead, InMemory, InTurn, LayerIndex, OutputErrors, Reference, RetainedSet, Searching,
    pipeline,
};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use common::problem::{Problem, Sizes};
use common::{config, lists, policy};

const SIZES: Sizes = Sizes {
    kv_heads: 2,
    group_size: 3,
    head_dim: 5,
    hidden_dim: 9,
    candidate_len: 40,
    window_len: 8,
    future_len: 4,
};

fn random(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    DMatrix::from_fn(rows, columns, |_, _| rng.random_range(-1.0..1.0))
}

/// The least sum of squares over `u >= 0`, by solving for every set of unknowns that may be above 0.
fn by_trying(rows: &DMatrix<f64>, target: &DVector<f64>) -> f64 {
    let value = |u: &DVector<f64>| (rows * u - target).norm_squared();
    let mut least = target.norm_squared();
    for chosen in 1..1_usize << rows.ncols() {
        let columns: Vec<usize> = (0..rows.ncols()).filter(|j| chosen >> j & 1 == 1).collect();
        let solved = rows.select_columns(&columns).svd(true, true).solve(target, 1e-12).unwrap();
        if solved.iter().all(|&entry| entry >= 0.0) {
            let mut u = DVector::zeros(rows.ncols());
            columns.iter().zip(solved.iter()).for_each(|(&j, &entry)| u[j] = entry);
            least = least.min(value(&u));
        }
    }
    least
}

proptest! {
    #![proptest_config(config(64, "tests/refits.proptest-regressions"))]

    #[test]
    fn non_negative_least_squares_finds_the_least(columns in 1..=6_usize, more in 0..=4_usize, seed in any::<u64>()) {
        let rows = random(columns + more, columns, seed);
        let target = random(columns + more, 1, seed ^ 1).column(0).into_owned();
        let u = non_negative(&rows.tr_mul(&rows), &rows.tr_mul(&target));
        prop_assert!(u.iter().all(|&entry| entry >= 0.0));
        let (found, least) = ((&rows * &u - &target).norm_squared(), by_trying(&rows, &target));
        prop_assert!(found <= least + 1e-6 * target.norm_squared(), "{found} against {least}");
    }

    #[test]
    fn the_ridge_leaves_no_slope(count in 1..=5_usize, unknowns in 1..=8_usize, seed in any::<u64>()) {
        let (rows, target) = (random(count, unknowns, seed), random(count, 3, seed ^ 1));
        let x = ridge(&rows, &target, 0.1);
        let lambda = 0.1 * rows.norm_squared() / count as f64;
        let slope = rows.tr_mul(&(&rows * &x - &target)) + &x * lambda;
        prop_assert!(slope.norm() <= 1e-9 * (1.0 + target.norm()), "{slope}");
    }
}

fn evicted(problems: &[Problem], texts: [&str; 3], per_head: usize) -> Vec<(RetainedSet, OutputErrors)> {
    let layers = problems.iter().enumerate().map(|(index, problem)| problem.layer_problem(LayerIndex(index)));
    let layers = InMemory::new(&Reference, layers.collect(), InTurn).unwrap();
    let policies = texts.map(policy);
    let sets =
        pipeline::evict(&Reference, &layers, &policies, &[CandidatesPerHead(per_head)], &Searching::FREE);
    let sets = sets.unwrap().concat();
    let errors = pipeline::evaluate(&layers, &sets).unwrap();
    sets.into_iter().zip(errors.into_iter().map(|errors| OutputErrors::total(errors).unwrap())).collect()
}

#[test]
fn a_refit_keeps_the_set_and_brings_its_output_nearer() {
    let problems: Vec<Problem> = (0..2).map(|seed| Problem::alive(SIZES, seed)).collect();
    for score in ["laprox", "snapkv", "random", "oracle:certified"] {
        let texts = ["no", "bias", "values"].map(|refit| format!("{score}:refit={refit}"));
        let found = evicted(&problems, texts.each_ref().map(String::as_str), 12);
        let [plain, bias, values] = <[_; 3]>::try_from(found).unwrap();
        assert!(plain.0.reweighting().is_none());
        for (set, _) in [&bias, &values] {
            assert_eq!(lists(set), lists(&plain.0), "{score}");
            let reweighting = set.reweighting().unwrap();
            assert!(reweighting.bias().iter().all(|&bias| bias >= 0.0));
            assert!(reweighting.bias().iter().any(|&bias| bias > 0.0));
            for (ends, biases) in set.offsets().windows(2).map(|ends| (ends[0]..ends[1], reweighting.bias()))
            {
                let window = ends.end - SIZES.window_len..ends.end;
                assert!(biases[window].iter().all(|&bias| bias == 0.0), "the window keeps its logits");
            }
        }
        assert_eq!(values.0.reweighting().unwrap().bias(), bias.0.reweighting().unwrap().bias());
        let error = |one: &(RetainedSet, OutputErrors)| one.1.renormalised.head_wise.relative();
        assert!(error(&bias) < error(&plain), "{score}: {} {}", error(&bias), error(&plain));
        assert!(error(&values) < error(&bias), "{score}: {} {}", error(&values), error(&bias));
        assert!(bias.1.drop.is_none() && plain.1.drop.is_some());
    }
}

#[test]
fn nothing_is_refitted_where_nothing_is_missing() {
    let problems = [Problem::alive(SIZES, 5)];
    let found = evicted(&problems, ["laprox", "laprox:refit=bias", "laprox:refit=values"], 40);
    for (set, errors) in &found[1..] {
        assert!(set.reweighting().unwrap().bias().iter().all(|&bias| bias < 1e-6));
        assert!(errors.renormalised.layer_wise.relative() < 1e-5);
    }
    let empty = evicted(&problems, ["laprox", "laprox:refit=bias", "laprox:refit=values"], 0);
    assert_eq!(empty[0].1.renormalised, empty[1].1.renormalised);
}
