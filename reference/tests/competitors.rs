//! Stage score: every competing policy's score equals its published formula in plain loops.

mod common;

use laprox_reference::{Error, InMemory, InTurn, LayerIndex, ModelScores, Reference, pipeline};
use proptest::prelude::*;

use common::compare::{Stated, assert_agrees, assert_heads_agree};
use common::problem::{Problem, Sizes, TYPICAL, problems, problems_with_candidates};
use common::stated_competitors::{attention, keys, outputs};
use common::stated_scores::{averaged, maximal, snapkv_mean, tova};
use common::{config, policy, prepare, scores};

/// The same formula squared: twice the relative rounding, and its square.
fn squared_rounding(problem: &Problem) -> f64 {
    problem.rounding() * (2.0 + problem.rounding())
}

/// How much `1 / (1 - A + eps)` magnifies the rounding of the heaviest `A` of a candidate.
fn magnification(problem: &Problem, eps: f64) -> f64 {
    let rows = common::stated_scores::window_weights(problem).concat();
    let candidates = problem.sizes.candidate_len;
    let heaviest = rows.iter().flat_map(|row| &row[..candidates]).fold(0.0_f64, |most, &a| most.max(a));
    1.0 + 1.0 / (1.0 - heaviest + eps)
}

fn pooled(
    scores: &[Vec<Stated>],
    pool: fn(&[Stated], usize) -> Vec<Stated>,
    kernel: usize,
) -> Vec<Vec<Stated>> {
    scores.iter().map(|head| pool(head, kernel)).collect()
}

/// The scores that fill the rest of a share, `[Hkv][n - w]`.
fn second_scores(problem: &Problem, text: &str) -> Vec<Vec<f64>> {
    let scores = common::scored(prepare(problem).as_ref(), &policy(text)).unwrap();
    let second = scores.second().unwrap();
    (0..problem.sizes.kv_heads).map(|head| second.head(head).to_vec()).collect()
}

proptest! {
    #![proptest_config(config(96, "tests/competitors.proptest-regressions"))]

    #[test]
    fn h2o_is_the_summed_attention(problem in problems()) {
        assert_heads_agree("h2o", &scores(&problem, "h2o"), &attention::h2o(&problem), problem.rounding());
    }

    #[test]
    fn pyramidkv_and_adakv_score_as_snapkv(problem in problems()) {
        let snapkv = scores(&problem, "snapkv");
        prop_assert_eq!(&scores(&problem, "pyramidkv"), &snapkv);
        prop_assert_eq!(&scores(&problem, "adakv"), &snapkv);
    }

    /// A variance squares the rounding of its differences.
    #[test]
    fn cake_adds_the_variance_to_the_mean(problem in problems(), gamma in 0..400_u32) {
        let text = format!("cake:gamma={gamma},pool=none");
        let stated = attention::cake(&problem, f64::from(gamma));
        assert_heads_agree(&text, &scores(&problem, &text), &stated, squared_rounding(&problem));
    }

    #[test]
    fn cake_averages_over_five(problem in problems()) {
        let stated = pooled(&attention::cake(&problem, 200.0), averaged, 5);
        assert_heads_agree("cake", &scores(&problem, "cake"), &stated, squared_rounding(&problem));
    }

    #[test]
    fn lava_weighs_the_groups_largest_attention_by_the_heads_largest_value(problem in problems()) {
        assert_heads_agree("lava", &scores(&problem, "lava"), &attention::lava(&problem, 7), problem.rounding());
    }

    #[test]
    fn lava_can_pool_after_the_groups_maximum(problem in problems()) {
        let stated = pooled(&attention::lava(&problem, 1), averaged, 7);
        let found = scores(&problem, "lava:pool=avg:7@score");
        assert_heads_agree("lava@score", &found, &stated, problem.rounding());
    }

    #[test]
    fn vatp_weighs_attention_by_the_values_size(problem in problems()) {
        assert_heads_agree("vatp", &scores(&problem, "vatp"), &attention::vatp(&problem, 1), problem.rounding());
        let found = scores(&problem, "vatp:pool=avg:3@attention");
        assert_heads_agree("vatp@attention", &found, &attention::vatp(&problem, 3), problem.rounding());
    }

    #[test]
    fn criticalkv_starts_from_its_bases_pooled_score(problem in problems()) {
        for (base, stated) in [("snapkv", snapkv_mean(&problem)), ("h2o", attention::h2o(&problem)), ("tova", tova(&problem))] {
            let found = scores(&problem, &format!("criticalkv:base={base}"));
            assert_heads_agree(base, &found, &pooled(&stated, averaged, 7), problem.rounding());
        }
    }

    #[test]
    fn criticalkv_weighs_the_rest_by_the_projected_values_size(problem in problems()) {
        let stated = attention::critical(&problem, &snapkv_mean(&problem), 7, 1e-4);
        let found = second_scores(&problem, "criticalkv");
        assert_heads_agree("criticalkv", &found, &stated, squared_rounding(&problem));
        let stated = attention::critical(&problem, &tova(&problem), 1, 0.5);
        let found = second_scores(&problem, "criticalkv:base=tova,pool=none,eps=0.5");
        assert_heads_agree("criticalkv on tova", &found, &stated, squared_rounding(&problem));
    }

    /// The key's formula squares a product of attention, logit and a difference; `joint` adds its cross term.
    #[test]
    fn obcache_equals_its_three_formulas(problem in problems()) {
        let stated = outputs::obcache(&problem);
        for (name, stated) in ["obcache_v", "obcache_k", "obcache_joint"].into_iter().zip(stated) {
            let found = scores(&problem, &format!("{name}:pool=none"));
            assert_heads_agree(name, &found, &stated, 2.0 * squared_rounding(&problem));
            let found = scores(&problem, name);
            assert_heads_agree(name, &found, &pooled(&stated, maximal, 7), 2.0 * squared_rounding(&problem));
        }
    }

    #[test]
    fn dropkv_squares_what_each_of_the_last_queries_would_lose(problem in problems(), window in 1..=5_usize) {
        let window = window.min(problem.sizes.window_len);
        let rounding = squared_rounding(&problem) * magnification(&problem, 1e-6);
        let stated = outputs::dropkv(&problem, problem.sizes.window_len - window, 1e-6);
        let text = format!("dropkv:window={window},pool=none");
        assert_heads_agree(&text, &scores(&problem, &text), &stated, rounding);
    }

    #[test]
    fn dropkv_of_soft_rows_keeps_its_digits(problem in problems()) {
        let problem = problem.sharpened(0.05);
        let rounding = squared_rounding(&problem) * magnification(&problem, 0.5);
        let stated = pooled(&outputs::dropkv(&problem, 0, 0.5), maximal, 11);
        assert_heads_agree("dropkv", &scores(&problem, "dropkv:eps=0.5"), &stated, rounding);
    }

    #[test]
    fn caote_is_how_far_the_last_output_moves(problem in problems()) {
        let stated = outputs::caote_meaning(&problem);
        assert_heads_agree("caote", &scores(&problem, "caote"), &stated, problem.rounding());
        let problem = problem.sharpened(1000.0);
        let stated = outputs::caote_meaning(&problem);
        assert_heads_agree("caote", &scores(&problem, "caote"), &stated, problem.rounding());
    }

    #[test]
    fn caote_equals_its_formula(problem in problems_with_candidates()) {
        let problem = problem.sharpened(0.05);
        let magnification = magnification(&problem, 0.0);
        prop_assume!(magnification < 100.0);
        let rounding = 2.0 * problem.rounding() * magnification;
        assert_heads_agree("caote", &scores(&problem, "caote"), &outputs::caote_formula(&problem), rounding);
    }

    #[test]
    fn knorm_is_minus_the_keys_norm(problem in problems()) {
        assert_heads_agree("knorm", &scores(&problem, "knorm"), &keys::knorm(&problem), problem.rounding());
    }

    #[test]
    fn keydiff_is_minus_the_cosine_with_the_mean_unit_key(problem in problems()) {
        assert_heads_agree("keydiff", &scores(&problem, "keydiff"), &keys::keydiff(&problem), problem.rounding());
    }

    #[test]
    fn manifoldkv_is_the_distance_from_the_mean_key(problem in problems(), block in 1..=5_usize) {
        let whole = keys::manifoldkv(&problem, problem.sizes.context_len());
        assert_heads_agree("manifoldkv", &scores(&problem, "manifoldkv"), &whole, problem.rounding());
        let text = format!("manifoldkv:block={block}");
        assert_heads_agree(&text, &scores(&problem, &text), &keys::manifoldkv(&problem, block), problem.rounding());
    }

    /// A product of two quotients of sums of squares, over a sum of such products: nothing cancels.
    #[test]
    fn curdkv_weighs_keys_and_values_against_their_blocks(problem in problems(), block in 1..=5_usize) {
        let rounding = 4.0 * squared_rounding(&problem);
        let text = format!("curdkv:block={block}");
        assert_heads_agree(&text, &scores(&problem, &text), &keys::curdkv(&problem, block), rounding);
    }

    /// Ranks within a part, where no two numbers are so near that rounding may swap them.
    #[test]
    fn lagkv_ranks_each_part_by_what_differs_from_the_next(problem in problems(), lag in 1..=3_usize) {
        prop_assume!(problem.sizes.context_len() >= 4 + 2 * lag);
        let found = scores(&problem, &format!("lagkv:lag={lag}"));
        for (head, parts) in found.iter().zip(keys::lagkv_parts(&problem, lag)) {
            let mut expected = vec![1.0; 4];
            for part in &parts {
                for &own in part {
                    prop_assume!(part.iter().all(|&x| x == own || (x - own).abs() > 1e-9));
                    let below = part.iter().filter(|&&x| x < own).count();
                    let equal_after = part.iter().skip_while(|&&x| x != own).skip(1).filter(|&&x| x == own).count();
                    prop_assume!(equal_after == 0);
                    expected.push(below as f64 / lag as f64);
                }
            }
            expected.resize(problem.sizes.context_len(), 1.0);
            expected.truncate(problem.sizes.candidate_len);
            prop_assert_eq!(head, &expected);
        }
    }

    #[test]
    fn chunkkv_averages_the_layers_attention_over_chunks(problem in problems(), chunk in 1..=5_usize) {
        let text = format!("chunkkv:chunk={chunk}");
        assert_heads_agree(&text, &scores(&problem, &text), &attention::chunkkv(&problem, chunk), problem.rounding());
    }

    #[test]
    fn restkv_equals_its_formula(problem in problems_with_candidates(), smooth in 0..=100_u32) {
        let problem = problem.sharpened(0.05);
        let magnification = magnification(&problem, 0.0);
        prop_assume!(magnification < 100.0);
        let smooth = f64::from(smooth) / 100.0;
        let text = format!("restkv:smooth={smooth},pool=none");
        let rounding = 2.0 * problem.rounding() * magnification;
        assert_heads_agree(&text, &scores(&problem, &text), &outputs::restkv(&problem, smooth), rounding);
    }

    /// Through an inverse by elimination. A solution is off by the rounding times the condition, at most the trace; a weight, by
    /// `tau` times what the cosine is off by.
    #[test]
    fn capkv_is_what_a_value_adds_to_the_span(problem in problems(), tau in 0..=8_u32) {
        let found = scores(&problem, &format!("capkv:tau={tau},gqa=max"));
        let (stated, conditions) = keys::capkv(&problem, f64::from(tau));
        for ((found, stated), condition) in found.iter().zip(&stated).zip(conditions) {
            let rounding = 8.0 * problem.rounding() * condition;
            prop_assume!(rounding < 0.1);
            for (&found, &stated) in found.iter().zip(stated) {
                assert_agrees("capkv", found, stated, rounding);
            }
        }
    }

    /// Through an inverse by elimination. The condition is at most `d / ridge + 1`, and centring magnifies the rounding.
    #[test]
    fn leverage_is_a_diagonal_of_a_projection(problem in problems()) {
        let found = scores(&problem, "leverage:ridge=0.01");
        let (stated, magnified) = keys::leverage(&problem, 0.01);
        let condition = problem.sizes.head_dim as f64 / 0.01 + 1.0;
        for ((found, stated), magnified) in found.iter().zip(&stated).zip(magnified) {
            let rounding = 8.0 * problem.rounding() * condition * magnified;
            prop_assume!(rounding < 0.1);
            for (&found, &stated) in found.iter().zip(stated) {
                assert_agrees("leverage", found, Stated::of(stated).plus(Stated { value: 0.0, magnitude: 1.0 }), rounding);
            }
        }
    }

    /// A score is a quotient of sums times a quotient of sums; where marks could move by rounding, nothing is claimed.
    #[test]
    fn defensivekv_equals_loops(problem in problems(), mass in 0..=100_u32) {
        let rounding = 4.0 * squared_rounding(&problem);
        let (stated, clear) = attention::defensivekv(&problem, 5, f64::from(mass) / 100.0, problem.rounding());
        prop_assume!(clear);
        let found = scores(&problem, &format!("defensivekv:mass={}", f64::from(mass) / 100.0));
        assert_heads_agree("defensivekv", &found, &stated, rounding);
    }

    #[test]
    fn a_shorter_window_reads_its_last_rows_alone(problem in problems(), window in 1..=5_usize) {
        prop_assume!(window <= problem.sizes.window_len);
        let first = problem.sizes.window_len - window;
        let found = scores(&problem, &format!("snapkv:window={window},pool=none"));
        assert_heads_agree("snapkv", &found, &attention::snapkv_from(&problem, first), problem.rounding());
        if window == problem.sizes.window_len {
            prop_assert_eq!(found, scores(&problem, "snapkv:pool=none"));
        }
    }

    /// The score of the last rows is that of a problem that has no others; its keys, values and candidates are the same.
    #[test]
    fn every_policy_that_reads_the_window_reads_only_its_last_rows(problem in problems(), seed: u64) {
        let window = problem.sizes.window_len.div_ceil(2);
        let mut other = problem.clone();
        let rows_before = problem.sizes.window_len - window;
        let mut noise = Problem::alive(problem.sizes, seed).query;
        for head in 0..problem.sizes.query_heads() {
            let rows = problem.sizes.window_len * problem.sizes.head_dim;
            let read = head * rows + rows_before * problem.sizes.head_dim..(head + 1) * rows;
            noise[read.clone()].copy_from_slice(&problem.query[read]);
        }
        other.query = noise;
        let reading = laprox_reference::POLICIES.iter().filter(|entry| {
            entry.rule.ranks() && entry.options.keys().iter().any(|option| option.name() == "window")
        });
        for entry in reading {
            let text = format!("{}:window={window}", entry.name);
            prop_assert_eq!(scores(&problem, &text), scores(&other, &text), "{}", text);
        }
    }
}

/// The condition of `defensivekv_equals_loops` is nearly always met.
#[test]
fn most_marks_are_clear() {
    let clear = |seed: &u64| {
        let problem = Problem::alive(TYPICAL, *seed);
        attention::defensivekv(&problem, 5, 0.9, problem.rounding()).1
    };
    assert!((0..100).filter(clear).count() > 90);
}

/// One KV head of two query heads; ten keys of logit 0 weigh a tenth each for both.
fn even() -> Problem {
    let sizes = Sizes {
        kv_heads: 1,
        group_size: 2,
        head_dim: 1,
        hidden_dim: 1,
        candidate_len: 9,
        window_len: 1,
        future_len: 0,
    };
    let mut problem = Problem::zero(sizes);
    problem.value = vec![10.0, 20.0, 30.0, -40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 130.0];
    problem.key = (1..=10).map(f64::from).collect();
    problem.projection = vec![1.0, -3.0];
    problem
}

fn assert_scores(text: &str, stated: [f64; 9]) {
    let problem = even();
    for (found, stated) in scores(&problem, text)[0].iter().zip(stated) {
        assert_agrees(text, *found, Stated::of(stated), 4.0 * problem.rounding());
    }
}

/// `o = (10 + 20 + 30 - 40 + 50 + 60 + 70 + 80 + 90 + 130) / 10 = 50`; `A / (1 - A) = 1 / 9`.
#[test]
fn scores_of_even_attention_can_be_written_down() {
    let by_value = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0];
    let away = [40.0, 30.0, 20.0, 90.0, 0.0, 10.0, 20.0, 30.0, 40.0];
    assert_scores("h2o", [0.1; 9]);
    assert_scores("cake:pool=none", [0.1; 9]);
    assert_scores("lava:pool=none", [9.0; 9]);
    assert_scores("vatp", by_value.map(|v| v / 10.0));
    assert_scores("obcache_v:pool=none", by_value.map(|v| 2.0 * v * v / 100.0));
    assert_scores("obcache_k", [0.0; 9]);
    assert_scores("caote", away.map(|distance| distance / 9.0));
    let eps = 1e-6;
    assert_scores("dropkv:pool=none", away.map(|distance| (0.1 / (0.9 + eps) * distance).powi(2)));
    assert_scores("knorm", [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -9.0]);
    assert_scores("keydiff", [-1.0; 9]);
    assert_scores("manifoldkv", [4.5, 3.5, 2.5, 1.5, 0.5, 0.5, 1.5, 2.5, 3.5]);
    assert_scores("manifoldkv:block=4", [1.5, 0.5, 0.5, 1.5, 1.5, 0.5, 0.5, 1.5, 0.5]);
    assert_scores(
        "leverage:ridge=0.1",
        [4.5, 3.5, 2.5, 1.5, 0.5, 0.5, 1.5, 2.5, 3.5].map(|x: f64| x * x / 82.5 / 1.1),
    );
    // Keys 1 to 10, values ten times as large but for the last: squares are 55 and 55 in the first block, 330 and 399 in the next.
    let fourth = |i: i32| f64::from(i.pow(4));
    let blocks = [
        [1, 2, 3, 4, 5].map(fourth).map(|x| x / (55.0 * 55.0)),
        [6, 7, 8, 9, 0].map(fourth).map(|x| x / (330.0 * 399.0)),
    ];
    let all = blocks.concat().iter().sum::<f64>() + 100.0 * 169.0 / (330.0 * 399.0);
    assert_scores("curdkv:block=5", std::array::from_fn(|i| blocks[i / 5][i % 5] / all));
    // No direction of the query: all weights are 1; the first four positions are not part of the sum.
    let span = 1.0 + (1.0 + 1e-6) * (2500.0 + 3600.0 + 4900.0 + 6400.0 + 8100.0 + 16900.0);
    assert_scores("capkv", by_value.map(|v| v * v / span));
    assert_scores("chunkkv", [0.1; 9]);
    // One channel has no deviation, so the earlier of two ranks higher; the last part has none after it.
    assert_scores("lagkv:lag=2", [1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.5, 0.0, 1.0]);
    assert_scores("lagkv", [1.0, 1.0, 1.0, 1.0, 0.0, 1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0, 4.0 / 6.0]);
    // The candidates' output is 37; the two heads project by 1 and -3.
    let from_37 = [27.0, 17.0, 7.0, 77.0, 13.0, 23.0, 33.0, 43.0, 53.0];
    assert_scores("restkv:pool=none", from_37.map(|distance| 2.0 * distance / 9.0));
    assert_scores("criticalkv:pool=none", [0.1; 9]);
    let second = second_scores(&even(), "criticalkv:pool=none");
    for (found, v) in second[0].iter().zip(by_value) {
        assert_agrees("criticalkv", *found, Stated::of(0.1001 * 2.0 * v), 4.0 * even().rounding());
    }
}

/// One head has all of every position's projected size; no entry has nine tenths of the mass before it but the last.
#[test]
fn defensivekv_of_even_attention_can_be_written_down() {
    // With a tenth in the window, the first seven candidates stay below 0.85, and rank by attention, which ties.
    let mut stated = [0.1; 9];
    stated[..7].fill(0.2);
    assert_scores("defensivekv:pool=none,mass=0.85", stated);
    assert_scores("defensivekv:pool=none,mass=0", [0.1; 9]);
}

#[test]
fn keys_without_direction_differ_from_all_others() {
    let mut problem = even();
    problem.key.fill(0.0);
    assert_eq!(scores(&problem, "keydiff"), [[0.0; 9]]);
    problem.key[3] = -2.0;
    assert_eq!(scores(&problem, "keydiff"), [[0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]);
}

/// The heaviest weight is 1 to the last bit: the formula is infinite, the score is not.
#[test]
fn caote_is_exact_where_a_weight_is_one() {
    let mut problem = even();
    problem.query = vec![1.0, 1.0];
    problem.key = vec![2000.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    // Without position 0 the other nine weigh a ninth each: 490 / 9 in place of 10.
    let found = scores(&problem, "caote");
    assert_agrees("caote", found[0][0], Stated::of(490.0 / 9.0 - 10.0), problem.rounding());
    assert_eq!(found[0][1..], [0.0; 8]);
}

/// The output without the only attended entry counts as 0, so that the score stays finite and the largest.
#[test]
fn restkv_is_finite_where_a_weight_is_one() {
    let mut problem = even();
    problem.query = vec![1.0, 1.0];
    problem.key = vec![2000.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let found = scores(&problem, "restkv:pool=none");
    assert_agrees("restkv", found[0][0], Stated::of(2.0 * 10.0), problem.rounding());
    assert_eq!(found[0][1..], [0.0; 8]);
}

#[test]
fn keys_and_values_of_zero_have_scores() {
    let mut problem = even();
    problem.key.fill(0.0);
    problem.value.fill(0.0);
    for text in ["manifoldkv", "leverage", "curdkv", "capkv", "restkv"] {
        assert_eq!(scores(&problem, text), [[0.0; 9]], "{text}");
    }
}

/// A policy's scores through the pipeline, which checks its options.
fn model_scored(problem: &Problem, text: &str) -> Result<ModelScores, Error> {
    let layers = InMemory::new(&Reference, vec![problem.layer_problem(LayerIndex(0))], InTurn)?;
    pipeline::scores(&layers, &policy(text))
}

#[test]
fn more_queries_than_the_window_has_are_refused_unless_they_are_the_default() {
    let problem = even();
    let message = common::refusal(model_scored(&problem, "laprox:window=2"));
    assert!(message.ends_with("window: expected at most the window's 1 queries, found 2"), "{message}");
    assert!(model_scored(&problem, "dropkv").is_ok());
    assert!(model_scored(&problem, "laprox:window=1").is_ok());
}
