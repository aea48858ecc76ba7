//! Naming the KV heads in another order renames the retained set and changes nothing else.

mod common;

use laprox_reference::{LayerOrdinal, Supplement};
use std::collections::BTreeSet;

use proptest::prelude::*;

use common::compare::{Stated, assert_agrees, assert_heads_agree};
use common::problem::{Problem, TYPICAL, evictions, problems, problems_with_candidates};
use common::statement::{PerKey, Rows, both_norms, dropped, head_outputs, moved, weights};
use common::{Cartesian, config, evicted, lists, prepare, ranking_policies, scores};

/// The problem whose KV head `i`, with its query group and projection block, is `order[i]` of this one.
fn permuted(problem: &Problem, order: &[usize]) -> Problem {
    let sizes = problem.sizes;
    let group_dim = sizes.group_size * sizes.head_dim;
    let blocks = |numbers: &[f64], len: usize| -> Vec<f64> {
        order.iter().flat_map(|&head| numbers[head * len..(head + 1) * len].to_vec()).collect()
    };
    Problem {
        query: blocks(&problem.query, group_dim * sizes.window_len),
        future_query: blocks(&problem.future_query, group_dim * sizes.future_len),
        key: blocks(&problem.key, sizes.cached_len() * sizes.head_dim),
        value: blocks(&problem.value, sizes.cached_len() * sizes.head_dim),
        projection: problem
            .projection
            .chunks(sizes.kv_heads * group_dim)
            .flat_map(|row| blocks(row, group_dim))
            .collect(),
        supplements: problem
            .supplements
            .iter()
            .map(|(which, numbers)| match which {
                Supplement::QueryRotation => (*which, numbers.clone()),
                _ => (*which, blocks(numbers, numbers.len() / sizes.kv_heads)),
            })
            .collect(),
        ..problem.clone()
    }
}

/// Every head moves where there is more than one.
fn rotation(problem: &Problem) -> Vec<usize> {
    let heads = problem.sizes.kv_heads;
    (0..heads).map(|head| (head + 1) % heads).collect()
}

fn reordered<T: Clone>(heads: &[T], order: &[usize]) -> Vec<T> {
    order.iter().map(|&head| heads[head].clone()).collect()
}

/// The positions that each head keeps.
fn kept(problem: &Problem, text: &str, per_head: usize) -> Vec<Vec<u32>> {
    lists(&evicted(std::slice::from_ref(problem), text, per_head))
}

/// Policies whose scores read their own query group alone; the others also add up numbers of other heads.
fn own_group() -> impl Iterator<Item = &'static str> {
    ranking_policies()
        .map(|entry| entry.name)
        .filter(|name| !["random", "tova", "defensivekv", "chunkkv"].contains(name))
}

/// Whether the flat order has a gap after its first `count` scores that no rounding closes.
fn cut_is_clear(scores: &[Vec<f64>], count: usize, rounding: f64) -> bool {
    let mut flat = scores.concat();
    flat.sort_by(|one, two| two.total_cmp(one));
    let largest = flat.iter().fold(0.0_f64, |largest, score| largest.max(score.abs()));
    count == 0 || count == flat.len() || flat[count - 1] - flat[count] > 4.0 * rounding * largest
}

fn assert_errors_agree(problem: &Problem, keeps: &[Vec<bool>], other: &Problem, other_keeps: &[Vec<bool>]) {
    let errors = |problem: &Problem, keeps: &[Vec<bool>]| {
        let errors = prepare(problem).evaluate(problem.retained(keeps).layer(LayerOrdinal(0))).unwrap();
        let forms = [errors.drop.unwrap().layer_wise, errors.drop.unwrap().head_wise]
            .into_iter()
            .chain([errors.renormalised.layer_wise, errors.renormalised.head_wise])
            .chain(errors.future.into_iter().flat_map(|future| [future.layer_wise, future.head_wise]));
        forms.map(|error| error.squared_error.sqrt()).collect::<Vec<_>>()
    };
    let magnitudes: Vec<f64> = changes(problem, keeps)
        .iter()
        .flat_map(|change| both_norms(&head_outputs(problem, change)))
        .map(|norm| norm.magnitude)
        .collect();
    let (found, expected) = (errors(other, other_keeps), errors(problem, keeps));
    assert_eq!((found.len(), expected.len()), (magnitudes.len(), magnitudes.len()));
    for ((found, value), magnitude) in found.into_iter().zip(expected).zip(magnitudes) {
        assert_agrees("error", found, Stated { value, magnitude }, problem.rounding());
    }
}

/// The change of weights of each objective that the problem has.
fn changes(problem: &Problem, keeps: &[Vec<bool>]) -> Vec<PerKey<Stated>> {
    let window = weights(problem, Rows::Window, &problem.all_kept());
    let mut changes = vec![dropped(problem, &window, keeps), moved(problem, Rows::Window, keeps)];
    if problem.sizes.future_len > 0 {
        changes.push(moved(problem, Rows::Future, keeps));
    }
    changes
}

proptest! {
    #![proptest_config(config(128, "tests/permutation.proptest-regressions"))]

    /// A slot's score reads its own group alone, so it does not even round differently.
    #[test]
    fn scores_move_with_their_kv_head(problem in problems()) {
        let order = rotation(&problem);
        for text in own_group().chain(["laprox:gqa=attention", "laprox:gqa=exact", "snapkv:gqa=max", "laprox:lookahead=2"]) {
            let moved = scores(&permuted(&problem, &order), text);
            prop_assert_eq!(moved, reordered(&scores(&problem, text), &order), "{}", text);
        }
    }

    /// `tova` and `chunkkv` add up all heads, and `defensivekv` all projected sizes of a position, in another order.
    #[test]
    fn scores_that_add_up_all_heads_stay_within_rounding(problem in problems()) {
        let order = rotation(&problem);
        for text in ["tova", "chunkkv", "defensivekv"] {
            let moved = scores(&permuted(&problem, &order), text);
            let stated = |head: Vec<f64>| head.into_iter().map(Stated::of).collect::<Vec<_>>();
            let stated: Vec<_> = reordered(&scores(&problem, text), &order).into_iter().map(stated).collect();
            assert_heads_agree(text, &moved, &stated, problem.rounding());
        }
    }

    /// Within a head ties go to the lower position, which does not move.
    #[test]
    fn retained_sets_of_heads_move_with_their_kv_head(
        problem in problems_with_candidates(),
        per_head: prop::sample::Index,
    ) {
        let order = rotation(&problem);
        let per_head = per_head.index(problem.sizes.candidate_len + 1);
        for (name, allocation) in own_group().cartesian(["head", "pyramid", "cake"]) {
            let text = &format!("{name}:allocation={allocation}");
            let moved = kept(&permuted(&problem, &order), text, per_head);
            prop_assert_eq!(moved, reordered(&kept(&problem, text, per_head), &order), "{}", text);
        }
    }

    /// Across heads a tie goes to the lower head, which does move: only clear cuts count.
    #[test]
    fn retained_sets_of_layers_move_with_their_kv_head(
        problem in problems_with_candidates(),
        per_head: prop::sample::Index,
    ) {
        let order = rotation(&problem);
        let per_head = per_head.index(problem.sizes.candidate_len + 1);
        for (name, allocation) in own_group().cartesian(["layer", "model", "model-raw"]) {
            let text = &format!("{name}:allocation={allocation}");
            let scores = scores(&problem, text);
            if cut_is_clear(&scores, per_head * problem.sizes.kv_heads, problem.rounding()) {
                let moved = kept(&permuted(&problem, &order), text, per_head);
                prop_assert_eq!(moved, reordered(&kept(&problem, text, per_head), &order), "{}", text);
            }
        }
    }

    /// Between an even share and the cut's, heads with the same part of the cut tie for the last place, too.
    #[test]
    fn retained_sets_between_heads_and_layers_move_with_their_kv_head(
        problem in problems_with_candidates(),
        per_head: prop::sample::Index,
    ) {
        let order = rotation(&problem);
        let per_head = per_head.index(problem.sizes.candidate_len + 1);
        for (name, allocation) in own_group().cartesian(["ada", "lava"]) {
            let scores = scores(&problem, name);
            let cut = kept(&problem, &format!("{name}:allocation=layer"), per_head);
            let counts: BTreeSet<usize> = cut.iter().map(Vec::len).collect();
            let clear = cut_is_clear(&scores, per_head * problem.sizes.kv_heads, problem.rounding());
            if clear && counts.len() == cut.len() {
                // No two parts of a cut leave the same remainder of this.
                let text = &format!("{name}:allocation={allocation},alpha=0.21370113");
                let moved = kept(&permuted(&problem, &order), text, per_head);
                prop_assert_eq!(moved, reordered(&kept(&problem, text, per_head), &order), "{}", text);
            }
        }
    }

    #[test]
    fn errors_stay_within_rounding((problem, keeps) in evictions()) {
        let order = rotation(&problem);
        assert_errors_agree(&problem, &keeps, &permuted(&problem, &order), &reordered(&keeps, &order));
    }
}

/// Scores of `keydiff` lie below 0 where all keys point one way.
#[test]
fn a_tie_below_0_is_no_clear_cut() {
    assert!(!cut_is_clear(&[vec![-1.0, -1.0], vec![-1.0, -1.0]], 2, 1e-15));
    assert!(cut_is_clear(&[vec![-1.0, -1.0], vec![-2.0, -2.0]], 2, 1e-15));
}

/// The claim about layers is not vacuous: nearly every cut is clear.
#[test]
fn most_cuts_are_clear() {
    let clear = |seed: &u64| {
        let problem = Problem::alive(TYPICAL, *seed);
        cut_is_clear(&scores(&problem, "laprox"), 12, problem.rounding())
    };
    assert!((0..100).filter(clear).count() > 90);
}
