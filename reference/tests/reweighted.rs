//! Reweighted sets: their errors against loops, and what is refused.

mod common;

use laprox_reference::bounds::{Case, Draws, LayerPairs};
use laprox_reference::oracle::Rows as GramRows;
use laprox_reference::{LayerIndex, LayerOrdinal, ReferenceLayer, RetainedSet, Reweighting};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use common::compare::{Stated, assert_agrees};
use common::problem::{Problem, evictions};
use common::statement::{PerKey, Rows, both_norms, head_outputs, plain, weights};
use common::{config, prepare, refusal};

/// A set with a bias up to 3 and values of half to twice the size for every entry, and its entries as (KV head, position).
fn reweighted(problem: &Problem, keeps: &[Vec<bool>], seed: u64) -> (RetainedSet, Vec<(usize, usize)>) {
    let set = problem.retained(keeps);
    let entries: Vec<(usize, usize)> = (0..problem.sizes.kv_heads)
        .flat_map(|head| {
            let kept = (0..problem.sizes.context_len()).filter(move |&i| keeps[head][i]);
            kept.map(move |i| (head, i))
        })
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let bias = entries.iter().map(|_| rng.random_range(0.0..3.0)).collect();
    let own = entries.iter().flat_map(|&(head, i)| problem.value_at(head, i));
    let values = own.map(|&value| value as f32 * rng.random_range(0.5..2.0_f32)).collect();
    (set.reweighted(Reweighting::new(bias, Some(values)).unwrap()).unwrap(), entries)
}

/// Each weight among the retained keys times `e^beta`, over the sum of its row.
fn biased(problem: &Problem, rows: Rows, keeps: &[Vec<bool>], beta: &[Vec<f64>]) -> PerKey<f64> {
    let mut weights = weights(problem, rows, keeps);
    for (head, rows) in weights.iter_mut().enumerate() {
        for row in rows {
            let beta = &beta[head / problem.sizes.group_size];
            row.iter_mut().zip(beta).for_each(|(weight, beta)| *weight *= beta.exp());
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|weight| *weight /= sum);
        }
    }
    weights
}

proptest! {
    #![proptest_config(config(128, "tests/reweighted.proptest-regressions"))]

    #[test]
    fn errors_equal_loops_over_biased_weights_and_replaced_values((problem, keeps) in evictions(), seed in any::<u64>()) {
        let (set, entries) = reweighted(&problem, &keeps, seed);
        let (reweighting, dim) = (set.reweighting().unwrap(), problem.sizes.head_dim);
        let mut beta = vec![vec![0.0; problem.sizes.cached_len()]; problem.sizes.kv_heads];
        let mut after = problem.clone();
        for (place, &(head, i)) in entries.iter().enumerate() {
            beta[head][i] = f64::from(reweighting.bias()[place]);
            let own = &mut after.value[(head * problem.sizes.cached_len() + i) * dim..][..dim];
            let values = &reweighting.values().unwrap()[place * dim..][..dim];
            own.iter_mut().zip(values).for_each(|(own, &value)| *own = f64::from(value));
        }
        let errors = prepare(&problem).evaluate(set.layer(LayerOrdinal(0))).unwrap();
        prop_assert!(errors.drop.is_none());
        for (rows, found) in [(Rows::Window, Some(errors.renormalised)), (Rows::Future, errors.future)] {
            let Some(found) = found else { continue };
            let outputs = head_outputs(&after, &plain(&biased(&problem, rows, &keeps, &beta)));
            let before = head_outputs(&problem, &plain(&weights(&problem, rows, &problem.all_kept())));
            let less = |(one, two): (&Vec<Stated>, &Vec<Stated>)| -> Vec<Stated> {
                one.iter().zip(two).map(|(one, two)| one.plus(two.times(-1.0))).collect()
            };
            let error = both_norms(&outputs.iter().zip(&before).map(less).collect::<Vec<_>>());
            for (found, stated) in [found.layer_wise, found.head_wise].iter().zip(error) {
                // Original values, at most twice the replaced ones, go through the sums, too.
                assert_agrees("error", found.squared_error.sqrt(), stated, 8.0 * problem.rounding());
            }
        }
    }

    #[test]
    fn zero_biases_and_own_values_are_the_plain_set((problem, keeps) in evictions()) {
        let problem = problem.in_halves();
        let set = problem.retained(&keeps);
        let plain = prepare(&problem).evaluate(set.layer(LayerOrdinal(0))).unwrap();
        let bias = vec![0.0; set.positions().len()];
        let heads = set.offsets().windows(2).enumerate();
        let own = heads.flat_map(|(head, ends)| {
            set.positions()[ends[0]..ends[1]].iter().flat_map(move |&i| [(head, i as usize)])
        });
        let values: Vec<f32> =
            own.flat_map(|(head, i)| problem.value_at(head, i).iter().map(|&value| value as f32)).collect();
        let values = (!values.is_empty()).then_some(values);
        let set = set.reweighted(Reweighting::new(bias, values).unwrap()).unwrap();
        let found = prepare(&problem).evaluate(set.layer(LayerOrdinal(0))).unwrap();
        prop_assert_eq!(found.renormalised, plain.renormalised);
        prop_assert_eq!(found.future, plain.future);
    }
}

#[test]
fn what_does_not_fit_a_set_is_refused() {
    let set = || RetainedSet::from_candidates(1, 4, 2, &[vec![1]]).unwrap();
    let biases = |count| Reweighting::new(vec![0.5; count], None).unwrap();
    assert_eq!(refusal(set().reweighted(biases(4))), "bias: expected 3, one per retained entry, found 4");
    assert_eq!(
        refusal(Reweighting::new(vec![0.0, f32::NAN], None)),
        "bias: expected finite numbers, found another one at 1"
    );
    assert_eq!(
        refusal(Reweighting::new(vec![0.0; 3], Some(vec![1.0; 7]))),
        "replaced values: expected rows of one width for 3 entries, found 7 numbers"
    );
    assert!(Reweighting::new(vec![0.0; 3], Some(Vec::new())).is_err());
    assert!(Reweighting::new(Vec::new(), Some(vec![1.0])).is_err());
}

#[test]
fn drop_errors_bounds_and_values_of_another_width_are_refused() {
    let sizes = common::problem::Sizes {
        kv_heads: 1,
        group_size: 2,
        head_dim: 3,
        hidden_dim: 4,
        candidate_len: 5,
        window_len: 2,
        future_len: 0,
    };
    let problem = Problem::alive(sizes, 7);
    let layer = ReferenceLayer::new(&problem.layer_problem(LayerIndex(0))).unwrap();
    let plain = || RetainedSet::from_candidates(1, 7, 2, &[vec![1, 4]]).unwrap();
    let set = plain().reweighted(Reweighting::new(vec![0.5; 4], None).unwrap()).unwrap();
    let retained = set.layer(LayerOrdinal(0));
    let expected = "retained set: expected one without biases and replaced values, for which drop errors and bounds are defined, found a \
                    reweighted one";
    assert_eq!(refusal(layer.drop_error(retained, GramRows::Window)), expected);
    let pairs = LayerPairs::new(&layer).unwrap();
    assert_eq!(refusal(Case::new(&pairs, retained, Draws { seed: 0, trials: 2 })), expected);
    let wide = plain().reweighted(Reweighting::new(vec![0.0; 4], Some(vec![0.0; 8])).unwrap()).unwrap();
    assert_eq!(
        refusal(prepare(&problem).evaluate(wide.layer(LayerOrdinal(0)))),
        "replaced values: expected 3 numbers per entry for layer 0, found 2"
    );
}
