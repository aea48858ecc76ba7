//! Two scores mean an error: that of evicting their slot alone.

mod common;

use laprox_reference::LayerOrdinal;
use laprox_reference::OutputErrors;
use proptest::prelude::*;

use common::compare::{Stated, assert_agrees, assert_heads_agree};
use common::problem::{Problem, Sizes, problems_with_candidates};
use common::stated_scores::{centred_formula, centred_meaning, laprox_exact};
use common::statement::{Rows, weights};
use common::{config, prepare, scores};

/// The cost of evicting each slot alone, `[Hkv][n - w]`.
fn single_slot_errors(problem: &Problem, squared: impl Fn(OutputErrors) -> f64) -> Vec<Vec<f64>> {
    let layer = prepare(problem);
    let error = |head, i| {
        let retained = problem.retained(&problem.all_but(head, i));
        squared(layer.evaluate(retained.layer(LayerOrdinal(0))).unwrap()).sqrt()
    };
    let head = |head| (0..problem.sizes.candidate_len).map(|i| error(head, i)).collect();
    (0..problem.sizes.kv_heads).map(head).collect()
}

/// Each score agrees with the crate's own error, within the rounding times the stated magnitude.
fn assert_scores_are_errors(problem: &Problem, text: &str, errors: &[Vec<f64>], stated: &[Vec<Stated>]) {
    let head = |(errors, stated): (&Vec<f64>, &Vec<Stated>)| -> Vec<Stated> {
        assert_eq!(errors.len(), stated.len());
        let slot = |(&value, stated): (&f64, &Stated)| Stated { value, magnitude: stated.magnitude };
        errors.iter().zip(stated).map(slot).collect()
    };
    let expected: Vec<_> = errors.iter().zip(stated).map(head).collect();
    assert_heads_agree(text, &scores(problem, text), &expected, problem.rounding());
}

fn assert_exact_is_the_drop_error(problem: &Problem) {
    let errors = single_slot_errors(problem, |errors| errors.drop.unwrap().layer_wise.squared_error);
    assert_scores_are_errors(problem, "laprox:gqa=exact,pool=none", &errors, &laprox_exact(problem));
}

fn assert_centred_is_the_renormalised_error(problem: &Problem) {
    let errors = single_slot_errors(problem, |errors| errors.renormalised.layer_wise.squared_error);
    assert_scores_are_errors(problem, "centred", &errors, &centred_meaning(problem));
}

fn assert_centred_is_its_meaning(problem: &Problem) {
    let stated = centred_meaning(problem);
    assert_heads_agree("centred", &scores(problem, "centred"), &stated, problem.rounding());
}

/// `1 / (1 - A)` for the heaviest candidate: the factor by which `A / (1 - A)` magnifies the rounding of `A`.
fn magnification(problem: &Problem) -> f64 {
    let candidates = problem.sizes.candidate_len;
    let rows = weights(problem, Rows::Window, &problem.all_kept()).concat();
    let heaviest = rows.iter().flat_map(|row| &row[..candidates]).fold(0.0_f64, |most, &a| most.max(a));
    1.0 / (1.0 - heaviest)
}

proptest! {
    #![proptest_config(config(128, "tests/single_slots.proptest-regressions"))]

    #[test]
    fn exact_scores_are_single_slot_drop_errors(problem in problems_with_candidates()) {
        assert_exact_is_the_drop_error(&problem);
    }

    #[test]
    fn exact_scores_of_sharp_rows_are_single_slot_drop_errors(problem in problems_with_candidates()) {
        assert_exact_is_the_drop_error(&problem.sharpened(1000.0));
    }

    #[test]
    fn centred_scores_are_single_slot_renormalised_errors(problem in problems_with_candidates()) {
        assert_centred_is_the_renormalised_error(&problem);
    }

    #[test]
    fn centred_scores_of_sharp_rows_are_single_slot_renormalised_errors(
        problem in problems_with_candidates(),
    ) {
        assert_centred_is_the_renormalised_error(&problem.sharpened(1000.0));
    }

    #[test]
    fn centred_scores_equal_loops_over_the_renormalised_rows(problem in problems_with_candidates()) {
        assert_centred_is_its_meaning(&problem);
        assert_centred_is_its_meaning(&problem.sharpened(1000.0));
    }

    /// The formula itself where it can be computed; small scores keep their relative precision.
    #[test]
    fn centred_scores_equal_their_formula(problem in problems_with_candidates()) {
        let problem = problem.sharpened(0.05);
        let magnification = magnification(&problem);
        prop_assume!(magnification < 100.0);
        let rounding = problem.rounding() * 2.0 * magnification;
        assert_heads_agree("centred", &scores(&problem, "centred"), &centred_formula(&problem), rounding);
    }

    /// B7: a slot's removed block is at most the sum over the group of its pairs.
    #[test]
    fn the_exact_score_is_at_most_the_group_sum_of_pair_norms(problem in problems_with_candidates()) {
        let exact = scores(&problem, "laprox:gqa=exact,pool=none").concat();
        let mean = scores(&problem, "laprox:pool=none").concat();
        let group_size = problem.sizes.group_size as f64;
        for (exact, mean) in exact.into_iter().zip(mean) {
            prop_assert!(exact <= group_size * mean * (1.0 + problem.rounding()) + 1e-150);
        }
    }
}

/// One head of `W = (3, 4)` whose query weighs position 0 with 1 and the four others with exp(-2000) = 0.
fn one_hot() -> Problem {
    let sizes = Sizes {
        kv_heads: 1,
        group_size: 1,
        head_dim: 1,
        hidden_dim: 2,
        candidate_len: 4,
        window_len: 1,
        future_len: 0,
    };
    let mut problem = Problem::zero(sizes);
    problem.projection = vec![3.0, 4.0];
    problem.query = vec![1.0];
    problem.key[0] = 2000.0;
    problem.value = vec![7.0, 4.0, 8.0, 12.0, 16.0];
    problem
}

/// Without position 0 the output is `(4 + 8 + 12 + 16) / 4 * (3, 4)` in place of `7 * (3, 4)`.
#[test]
fn centred_is_exact_where_a_weight_is_one() {
    let problem = one_hot();
    assert_eq!(weights(&problem, Rows::Window, &problem.all_kept())[0][0], [1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(scores(&problem, "centred"), [[15.0, 0.0, 0.0, 0.0]]);
}

#[test]
fn exact_is_exact_where_a_weight_is_one() {
    assert_eq!(scores(&one_hot(), "laprox:gqa=exact,pool=none"), [[35.0, 0.0, 0.0, 0.0]]);
}

/// `A = 1 - 3 exp(-33)`: `A / (1 - A)` has lost a third of its digits, the score none.
#[test]
fn centred_keeps_its_digits_near_a_weight_of_one() {
    let mut problem = one_hot();
    problem.key = vec![33.0, 0.0, 0.0, 0.0, 0.0];
    let small = (-33.0_f64).exp();
    let output = (7.0 + 40.0 * small) / (1.0 + 4.0 * small);
    let score = scores(&problem, "centred")[0][0];
    assert_agrees("centred", score, Stated::of(5.0 * (10.0 - output)), problem.rounding());
}

/// Logits 0, 0, 0, 0 and ln(4): the window's own position weighs a half, each candidate an eighth.
#[test]
fn centred_of_an_even_row_is_a_seventh_of_the_distance() {
    let mut problem = one_hot();
    problem.key = vec![0.0, 0.0, 0.0, 0.0, 4.0_f64.ln()];
    let output = (7.0 + 4.0 + 8.0 + 12.0) / 8.0 + 8.0;
    let stated: Vec<Stated> =
        [7.0, 4.0, 8.0, 12.0].iter().map(|v: &f64| Stated::of(5.0 * (output - v).abs() / 7.0)).collect();
    for (found, stated) in scores(&problem, "centred")[0].iter().zip(&stated) {
        // The distance is up to three times smaller than the terms that cancel in it.
        assert_agrees("centred", *found, *stated, 4.0 * problem.rounding());
    }
}
