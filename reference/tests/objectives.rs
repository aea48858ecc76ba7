//! Stage evaluate: the three objectives, layer-wise and head-wise, against loops and against the bounds they obey.

mod common;

use laprox_reference::{LayerOrdinal, ObjectiveError, OutputError, OutputErrors};
use proptest::prelude::*;

use common::compare::{Stated, assert_agrees, gamma};
use common::problem::{Problem, Sizes, evictions, problems};
use common::stated_scores::laprox_mean;
use common::statement::{
    PerKey, Rows, both_norms, difference, dropped, head_outputs, moved, plain, projected, weights,
};
use common::{config, output_norm, prepare};

fn errors(problem: &Problem, keeps: &[Vec<bool>]) -> OutputErrors {
    prepare(problem).evaluate(problem.retained(keeps).layer(LayerOrdinal(0))).unwrap()
}

fn assert_objective(
    what: &str,
    problem: &Problem,
    found: ObjectiveError,
    weights: &PerKey<f64>,
    change: &PerKey<Stated>,
) {
    let error = both_norms(&head_outputs(problem, change));
    let output = both_norms(&head_outputs(problem, &plain(weights)));
    for (form, found, i) in [("layer-wise", found.layer_wise, 0), ("head-wise", found.head_wise, 1)] {
        let rounding = problem.rounding();
        assert_agrees(&format!("{what} {form} error"), found.squared_error.sqrt(), error[i], rounding);
        assert_agrees(&format!("{what} {form} norm"), found.squared_norm.sqrt(), output[i], rounding);
    }
}

/// The weights of kept keys over their row's retained mass, and the least such mass.
fn divided_by_retained_mass(
    problem: &Problem,
    weights: &PerKey<f64>,
    keeps: &[Vec<bool>],
) -> (PerKey<f64>, f64) {
    let (mut after, mut least) = (weights.clone(), 1.0_f64);
    for (head, rows) in after.iter_mut().enumerate() {
        let keeps = &keeps[head / problem.sizes.group_size];
        for row in rows {
            row.iter_mut().zip(keeps).filter(|(_, keep)| !**keep).for_each(|(weight, _)| *weight = 0.0);
            let mass: f64 = row.iter().sum();
            row.iter_mut().for_each(|weight| *weight /= mass);
            least = least.min(mass);
        }
    }
    (after, least)
}

/// The sum over all pairs of evicted (query head, position) of `<a, a'> <b, b'>`.
fn quadratic_form(problem: &Problem, weights: &PerKey<f64>, keeps: &[Vec<bool>]) -> Stated {
    let mut pairs = Vec::new();
    for (head, rows) in weights.iter().enumerate() {
        for i in (0..problem.sizes.candidate_len).filter(|&i| !keeps[head / problem.sizes.group_size][i]) {
            let column: Vec<Stated> = rows.iter().map(|row| Stated::of(row[i])).collect();
            pairs.push((column, projected(problem, head, i)));
        }
    }
    let dot = |x: &[Stated], y: &[Stated]| {
        x.iter().zip(y).fold(Stated::default(), |sum, (&x, &y)| sum.plus(x.product(y)))
    };
    let entry = |one: &(Vec<Stated>, Vec<Stated>), two: &(Vec<Stated>, Vec<Stated>)| {
        dot(&one.0, &two.0).product(dot(&one.1, &two.1))
    };
    let row = |one| pairs.iter().map(|two| entry(one, two)).fold(Stated::default(), Stated::plus);
    pairs.iter().map(row).fold(Stated::default(), Stated::plus)
}

proptest! {
    #![proptest_config(config(192, "tests/objectives.proptest-regressions"))]

    #[test]
    fn drop_equals_loops((problem, keeps) in evictions()) {
        let weights = weights(&problem, Rows::Window, &problem.all_kept());
        let change = dropped(&problem, &weights, &keeps);
        assert_objective("drop", &problem, errors(&problem, &keeps).drop.unwrap(), &weights, &change);
    }

    #[test]
    fn renormalised_equals_the_softmax_of_the_retained_keys((problem, keeps) in evictions()) {
        let weights = weights(&problem, Rows::Window, &problem.all_kept());
        let change = moved(&problem, Rows::Window, &keeps);
        assert_objective("renormalised", &problem, errors(&problem, &keeps).renormalised, &weights, &change);
    }

    #[test]
    fn renormalised_divides_each_row_by_its_retained_mass((problem, keeps) in evictions()) {
        let weights = weights(&problem, Rows::Window, &problem.all_kept());
        let (after, least_mass) = divided_by_retained_mass(&problem, &weights, &keeps);
        // Below that a mass has lost digits, and this division says nothing.
        prop_assume!(least_mass > 1e-280);
        let change = difference(&after, &weights);
        assert_objective("renormalised", &problem, errors(&problem, &keeps).renormalised, &weights, &change);
    }

    #[test]
    fn future_renormalises_the_later_queries_rows((problem, keeps) in evictions()) {
        let found = errors(&problem, &keeps).future;
        prop_assert_eq!(found.is_some(), problem.sizes.future_len > 0);
        if let Some(found) = found {
            let weights = weights(&problem, Rows::Future, &problem.all_kept());
            let change = moved(&problem, Rows::Future, &keeps);
            assert_objective("future", &problem, found, &weights, &change);
        }
    }

    #[test]
    fn keeping_everything_costs_exactly_nothing(problem in problems()) {
        let errors = errors(&problem, &problem.all_kept());
        for objective in [errors.drop, Some(errors.renormalised), errors.future].into_iter().flatten() {
            for form in [objective.layer_wise, objective.head_wise] {
                prop_assert_eq!(form.squared_error, 0.0);
                prop_assert_eq!(form.relative(), 0.0);
                prop_assert!(form.squared_norm > 0.0);
            }
        }
    }

    #[test]
    fn the_output_norm_is_that_of_the_objectives(problem in problems()) {
        let weights = weights(&problem, Rows::Window, &problem.all_kept());
        let stated = both_norms(&head_outputs(&problem, &plain(&weights)))[0];
        assert_agrees("norm(O)", output_norm(prepare(&problem).as_ref()), stated, problem.rounding());
    }

    /// B1; a slot stands for `G` pairs, and its score is their mean.
    #[test]
    fn the_drop_error_is_at_most_the_sum_of_evicted_scores((problem, keeps) in evictions()) {
        let evicted: f64 = laprox_mean(&problem).iter().flatten().zip(keeps.iter().flat_map(
            |head| &head[..problem.sizes.candidate_len],
        )).filter(|(_, keep)| !**keep).map(|(score, _)| score.value).sum();
        let bound = evicted * problem.sizes.group_size as f64;
        let error = errors(&problem, &keeps).drop.unwrap().layer_wise.squared_error.sqrt();
        let slots = (problem.sizes.kv_heads * problem.sizes.candidate_len) as f64;
        prop_assert!(error <= bound * (1.0 + problem.rounding() + gamma(slots)), "{error} above {bound}");
    }

    /// B2. An entry of the form is a product of two sums, off by twice the rounding; adding up `P * P` entries row
    /// by row adds `2 P` more.
    #[test]
    fn the_squared_drop_error_is_a_quadratic_form((problem, keeps) in evictions()) {
        let weights = weights(&problem, Rows::Window, &problem.all_kept());
        let stated = quadratic_form(&problem, &weights, &keeps);
        let pairs = (problem.sizes.query_heads() * problem.sizes.candidate_len) as f64;
        let rounding = 2.0 * problem.rounding() * (1.0 + problem.rounding()) + gamma(2.0 * pairs);
        let found = errors(&problem, &keeps).drop.unwrap().layer_wise.squared_error;
        assert_agrees("x^T M x", found, stated, rounding);
    }

    #[test]
    fn one_query_head_makes_both_forms_one(mut sizes in common::problem::sizes(1..=19_usize), seed: u64) {
        (sizes.kv_heads, sizes.group_size) = (1, 1);
        let problem = Problem::alive(sizes, seed);
        let errors = errors(&problem, &problem.all_but(0, 0));
        prop_assert_eq!(errors.drop.unwrap().layer_wise, errors.drop.unwrap().head_wise);
        prop_assert_eq!(errors.renormalised.layer_wise, errors.renormalised.head_wise);
    }
}

/// Eight keys of logit 0 weigh an eighth each; values, weights and norms are whole numbers over 8.
fn even(group_size: usize) -> Problem {
    let sizes = Sizes {
        kv_heads: 1,
        group_size,
        head_dim: 1,
        hidden_dim: 2,
        candidate_len: 7,
        window_len: 1,
        future_len: 0,
    };
    let mut problem = Problem::zero(sizes);
    problem.value = vec![8.0, 16.0, 24.0, 32.0, 40.0, 48.0, 56.0, 64.0];
    problem
}

fn squares(error: OutputError) -> (f64, f64) {
    (error.squared_error, error.squared_norm)
}

/// `W = (3, 4)`: `O = 36 * (3, 4)`, evicting positions 1 and 4 drops `(2 + 5) * (3, 4)`.
#[test]
fn drop_on_whole_numbers_is_exact() {
    let mut problem = even(1);
    problem.projection = vec![3.0, 4.0];
    let mut keeps = problem.all_but(0, 1);
    keeps[0][4] = false;
    let drop = errors(&problem, &keeps).drop.unwrap();
    assert_eq!(squares(drop.layer_wise), (35.0 * 35.0, 180.0 * 180.0));
    assert_eq!(drop.layer_wise.relative(), 35.0 / 180.0);
}

/// The last four positions weigh a quarter each: `(5 + 6 + 7 + 8) * 2 = 52` in place of 36.
#[test]
fn renormalised_on_whole_numbers_is_exact() {
    let mut problem = even(1);
    problem.projection = vec![3.0, 4.0];
    let mut keeps = problem.all_kept();
    keeps[0][..4].fill(false);
    let renormalised = errors(&problem, &keeps).renormalised;
    assert_eq!(squares(renormalised.layer_wise), (80.0 * 80.0, 180.0 * 180.0));
}

/// Heads with `W_0 = (3, 4)` and `W_1 = (-3, 4)` cancel in the first channel: 8 * 36 against twice 180 squared.
#[test]
fn the_head_wise_form_is_blind_to_what_heads_cancel() {
    let mut problem = even(2);
    problem.projection = vec![3.0, -3.0, 4.0, 4.0];
    let drop = errors(&problem, &problem.all_but(0, 0)).drop.unwrap();
    assert_eq!(squares(drop.layer_wise), (64.0, 288.0 * 288.0));
    assert_eq!(squares(drop.head_wise), (50.0, 2.0 * 180.0 * 180.0));
}

/// A weight of 1 to the last bit is evicted: the retained mass is 0 in f64, yet seven even weights are left.
#[test]
fn a_retained_mass_that_underflows_still_renormalises() {
    let mut problem = even(1);
    problem.projection = vec![3.0, 4.0];
    problem.query = vec![1.0];
    problem.key[0] = 2000.0;
    problem.value = vec![8.0, 7.0, 14.0, 21.0, 28.0, 35.0, 42.0, 49.0];
    let keeps = {
        let mut keeps = problem.all_but(0, 0);
        keeps[0][1..4].fill(false);
        keeps
    };
    let errors = errors(&problem, &keeps);
    // O = 8 * (3, 4); afterwards (28 + 35 + 42 + 49) / 4 = 38.5.
    assert_eq!(squares(errors.drop.unwrap().layer_wise), (1600.0, 1600.0));
    assert_eq!(squares(errors.renormalised.layer_wise), (152.5 * 152.5, 1600.0));
}

#[test]
fn errors_of_layers_add_as_squares() {
    let one = OutputError { squared_error: 9.0, squared_norm: 100.0 };
    let two = OutputError { squared_error: 16.0, squared_norm: 525.0 };
    assert_eq!((one + two).relative(), 0.2);
    let both = |error| ObjectiveError { layer_wise: error, head_wise: error };
    let layer = |error, future| OutputErrors { drop: Some(both(error)), renormalised: both(error), future };
    let total = OutputErrors::total([layer(one, Some(both(one))), layer(two, Some(both(two)))]).unwrap();
    assert_eq!(total.future, Some(both(one + two)));
    assert_eq!(OutputErrors::total([layer(one, Some(both(one))), layer(two, None)]).unwrap().future, None);
    assert_eq!(OutputErrors::total([]), None);
}

#[test]
fn only_an_error_of_a_zero_output_is_infinite() {
    let relative = |squared_error| OutputError { squared_error, squared_norm: 0.0 }.relative();
    assert_eq!((relative(0.0), relative(1.0)), (0.0, f64::INFINITY));
}
