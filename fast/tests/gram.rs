//! The oracles' operator agrees with the reference's within the rounding that both state, and exactly on whole numbers.

use laprox_fast::gram::FastGram;
use laprox_reference::Form;
use laprox_reference::LayerIndex;
use laprox_reference::conformance::compare::{Stated, assert_agrees};
use laprox_reference::conformance::problem::{Problem, problems_with_candidates};
use laprox_reference::conformance::whole::whole_problems;
use laprox_reference::layer::Layer;
use laprox_reference::oracle::{LayerGram, PairGram, Rows};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const FORMS: [Form; 2] = [Form::LayerWise, Form::HeadWise];

fn layer(problem: &Problem) -> Layer {
    Layer::new(&problem.layer_problem(LayerIndex(0))).unwrap()
}

/// Both operators of each form and kind of rows that the layer has.
fn grams(layer: &Layer) -> Vec<(LayerGram<'_>, FastGram)> {
    let kinds = FORMS.into_iter().flat_map(|form| [Rows::Window, Rows::Future].map(|rows| (form, rows)));
    kinds
        .filter_map(|(form, rows)| {
            Some((LayerGram::of(layer, form, rows).ok()?, FastGram::new(layer, form, rows).ok()?))
        })
        .collect()
}

/// Shares of candidates, a third of them 0 and a third 1.
fn shares(candidates: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut share = || match rng.random_range(0..3) {
        0 => 0.0,
        1 => 1.0,
        _ => rng.random::<f64>(),
    };
    (0..candidates).map(|_| share()).collect()
}

/// Every candidate with probability 2/3, ascending.
fn some_candidates(candidates: usize, seed: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..candidates).filter(|_| rng.random_bool(2.0 / 3.0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products_agree_within_their_own_bounds(problem in problems_with_candidates(), seed in any::<u64>()) {
        let layer = layer(&problem);
        for (reference, fast) in grams(&layer) {
            let x = shares(reference.candidates(), seed);
            let (one, two) = (reference.product(&x), fast.product(&x).unwrap());
            prop_assert_eq!((two.values.len(), two.errors.len(), two.root_loss), (x.len(), x.len(), 0.0));
            let drift = one.drift + two.drift;
            for candidate in 0..x.len() {
                // <E, E(e_i)> of two matrices E that are each within their drift of E(x).
                let bound = one.errors[candidate] + two.errors[candidate] + 1.01 * drift * reference.diagonal()[candidate].sqrt();
                let stated = Stated { value: one.values[candidate], magnitude: bound };
                assert_agrees("value", two.values[candidate], stated, 1.0);
            }
            let roots = [one.value.sqrt(), two.value.sqrt()];
            let rounding = 1e-13 * roots[0];
            assert_agrees("root", roots[1], Stated { value: roots[0], magnitude: drift + rounding }, 1.0);
            prop_assert!(two.squared_norm >= two.value && two.squared_norm <= two.value * (1.0 + 1e-9));
            assert_agrees("drift", two.drift, Stated { value: one.drift, magnitude: 1e-12 * one.drift }, 1.0);
        }
    }

    #[test]
    fn blocks_and_diagonal_agree_within_their_magnitudes(problem in problems_with_candidates(), seed in any::<u64>()) {
        let layer = layer(&problem);
        for (reference, fast) in grams(&layer) {
            let candidates = some_candidates(reference.candidates(), seed);
            let (one, two) = (reference.blocks(&candidates), fast.blocks(&candidates));
            prop_assert_eq!((one.len(), two.len()), (1, 1));
            let reach: Vec<f64> =
                reference.magnitudes().iter().zip(fast.magnitudes()).map(|(one, two)| one.max(two)).collect();
            for (i, &row) in candidates.iter().enumerate() {
                for (j, &column) in candidates.iter().enumerate() {
                    let stated = Stated { value: one[0][(i, j)], magnitude: 2.0 * reach[row] * reach[column] };
                    assert_agrees("entry", two[0][(i, j)], stated, 1.0);
                }
            }
            for (candidate, reach) in reach.iter().enumerate() {
                let stated = Stated { value: reference.diagonal()[candidate], magnitude: 2.0 * reach * reach };
                assert_agrees("diagonal", fast.diagonal()[candidate], stated, 1.0);
            }
        }
    }

    #[test]
    fn whole_numbers_are_equal_to_the_bit(whole in whole_problems(40), seed in any::<u64>()) {
        let layer = layer(&whole.problem);
        for (reference, fast) in grams(&layer) {
            let x: Vec<f64> = shares(reference.candidates(), seed).iter().map(|share| (share * 4.0).round() / 4.0).collect();
            let (one, two) = (reference.product(&x), fast.product(&x).unwrap());
            prop_assert_eq!((one.values, one.value), (two.values, two.value));
            let candidates = some_candidates(reference.candidates(), seed);
            prop_assert_eq!(reference.blocks(&candidates), fast.blocks(&candidates));
            prop_assert_eq!(reference.diagonal(), fast.diagonal());
        }
    }
}
