//! `shrunk` and the centred quadratic form, against dense matrices made by loops.

mod common;

use laprox_reference::oracle::centred::CentredForm;
use laprox_reference::shrink::ledoit_wolf;
use laprox_reference::{
    CandidatesPerHead, InMemory, InTurn, LayerIndex, Policy, Reference, ReferenceLayer, Searching, pipeline,
};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;

use common::problem::{Problem, Sizes, problems_with_candidates};
use common::statement::{Rows, projected, weights};
use common::{config, lists, policy, refusal};

const SIZES: Sizes = Sizes {
    kv_heads: 2,
    group_size: 3,
    head_dim: 5,
    hidden_dim: 9,
    candidate_len: 14,
    window_len: 6,
    future_len: 0,
};

/// `M_t` of every row: the inner products of `sum over the group of A_h[t,i] (b_{h,i} - o_{h,t})`.
fn dense(problem: &Problem) -> Vec<DMatrix<f64>> {
    let Sizes { kv_heads, group_size, candidate_len, hidden_dim, window_len, .. } = problem.sizes;
    let weights = weights(problem, Rows::Window, &problem.all_kept());
    let row = |t: usize| {
        let mut changes = DMatrix::zeros(hidden_dim, kv_heads * candidate_len);
        for (head, rows) in weights.iter().enumerate() {
            let weights = &rows[t];
            let keys = problem.sizes.context_len();
            let b: Vec<DVector<f64>> = (0..keys)
                .map(|i| {
                    DVector::from_iterator(hidden_dim, projected(problem, head, i).iter().map(|b| b.value))
                })
                .collect();
            let mut output = DVector::zeros(hidden_dim);
            (0..keys).for_each(|i| output += &b[i] * weights[i]);
            for i in 0..candidate_len {
                let mut change = changes.column_mut(head / group_size * candidate_len + i);
                change += (&b[i] - &output) * weights[i];
            }
        }
        changes.tr_mul(&changes)
    };
    (0..window_len).map(row).collect()
}

fn form(problem: &Problem) -> CentredForm {
    CentredForm::new(&ReferenceLayer::new(&problem.layer_problem(LayerIndex(0))).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(config(48, "tests/shrunk.proptest-regressions"))]

    #[test]
    fn rows_of_the_form_equal_dense_matrices(problem in problems_with_candidates(), seed in any::<u32>()) {
        let (rows, form) = (dense(&problem), form(&problem));
        let size = rows[0].ncols();
        let x = DVector::from_fn(size, |i, _| (i as f64 + f64::from(seed)).sin());
        let products = form.row_products(x.as_slice());
        let scale: f64 = rows.iter().map(DMatrix::trace).sum::<f64>().max(f64::MIN_POSITIVE) * size as f64;
        for (t, row) in rows.iter().enumerate() {
            let product = row * &x;
            for i in 0..size {
                prop_assert!((products[(t, i)] - product[i]).abs() <= 1e-10 * scale);
                prop_assert!((form.diagonals()[(t, i)] - row[(i, i)]).abs() <= 1e-10 * scale);
            }
        }
        let value: f64 = rows.iter().map(|row| x.dot(&(row * &x))).sum();
        prop_assert!((form.error(x.as_slice()).norm_squared() - value).abs() <= 1e-10 * scale * size as f64);
    }
}

/// Frank and Wolfe's steps on a dense matrix, and the candidates that the marginal errors keep, KV head by KV head.
fn descended(matrix: &DMatrix<f64>, rho: f64, steps: usize, retained: usize) -> Vec<Vec<u32>> {
    let size = matrix.nrows();
    let own = DMatrix::from_diagonal(&matrix.diagonal());
    let shrunk = matrix * (1.0 - rho) + &own * rho;
    let lowest = |numbers: &DVector<f64>| {
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&i, &j| numbers[i].partial_cmp(&numbers[j]).unwrap());
        let mut chosen = DVector::zeros(size);
        order[..size - retained].iter().for_each(|&i| chosen[i] = 1.0);
        chosen
    };
    let mut x = lowest(&matrix.diagonal());
    for _ in 0..steps {
        let slope = &shrunk * &x;
        let direction = lowest(&slope) - &x;
        let (fall, curvature) = (-direction.dot(&slope), direction.dot(&(&shrunk * &direction)));
        if fall > 0.0 {
            x += direction * (fall / curvature).min(1.0);
        }
    }
    let marginal =
        DVector::from_fn(size, |i, _| 2.0 * (shrunk.row(i) * &x)[0] + matrix[(i, i)] * (1.0 - 2.0 * x[i]));
    let gone = lowest(&marginal);
    let heads = size / SIZES.candidate_len;
    let kept = |head: usize| {
        let of_head = 0..SIZES.candidate_len as u32;
        of_head.filter(|&i| gone[head * SIZES.candidate_len + i as usize] == 0.0).collect()
    };
    (0..heads).map(kept).collect()
}

fn evicted(problems: &[Problem], text: &str, per_head: usize) -> Vec<Vec<u32>> {
    let layers = problems.iter().enumerate().map(|(index, problem)| problem.layer_problem(LayerIndex(index)));
    let layers = InMemory::new(&Reference, layers.collect(), InTurn).unwrap();
    let per_head = [CandidatesPerHead(per_head)];
    let sets = pipeline::evict(&Reference, &layers, &[policy(text)], &per_head, &Searching::FREE).unwrap();
    let window = |head: &Vec<u32>| head[..head.len() - SIZES.window_len].to_vec();
    lists(&sets[0][0]).iter().map(window).collect()
}

/// The matrix of several layers: blocks along the diagonal.
fn stacked(problems: &[Problem]) -> DMatrix<f64> {
    let blocks: Vec<DMatrix<f64>> = problems
        .iter()
        .map(|problem| dense(problem).into_iter().reduce(|sum, row| sum + row).unwrap())
        .collect();
    let size = blocks[0].nrows();
    let mut matrix = DMatrix::zeros(size * blocks.len(), size * blocks.len());
    for (place, block) in blocks.iter().enumerate() {
        matrix.view_mut((place * size, place * size), (size, size)).copy_from(block);
    }
    matrix
}

#[test]
fn shrunk_keeps_what_steps_on_a_dense_matrix_keep() {
    let problems: Vec<Problem> = (0..3).map(|seed| Problem::alive(SIZES, 20 + seed)).collect();
    let matrix = stacked(&problems);
    let mut seen = Vec::new();
    for (rho, steps) in [(1.0, 4), (0.8, 0), (0.8, 4), (0.5, 3), (0.0, 9)] {
        for per_head in [1, 5, 13] {
            let text = format!("shrunk:rho={rho},steps={steps}");
            let expected = descended(&matrix, rho, steps, 3 * SIZES.kv_heads * per_head);
            assert_eq!(evicted(&problems, &text, per_head), expected, "{text} {per_head}");
            seen.push(expected);
        }
    }
    seen.dedup();
    assert!(seen.len() > 8, "the problems tell the settings apart");
    assert_eq!(policy("shrunk"), policy("shrunk:rho=0.8,steps=4,allocation=model-raw"));
    for problem in &problems {
        let own = evicted(std::slice::from_ref(problem), "shrunk", 4);
        let place = problems.iter().position(|other| std::ptr::eq(other, problem)).unwrap();
        let by_layer = evicted(&problems, "shrunk:allocation=layer", 4);
        assert_eq!(by_layer[2 * place..2 * place + 2], own[..]);
    }
}

#[test]
fn a_budget_of_nothing_and_of_everything() {
    let problems = [Problem::alive(SIZES, 3)];
    assert!(evicted(&problems, "shrunk", 0).iter().all(Vec::is_empty));
    assert!(evicted(&problems, "shrunk", 14).iter().all(|head| head.len() == 14));
}

/// The sampling variances of the off-diagonal entries over their squares.
#[test]
fn ledoit_and_wolfs_rho_is_near_that_of_dense_matrices() {
    for seed in 0..6 {
        let problem = Problem::alive(SIZES, seed);
        let rows = dense(&problem);
        let count = rows.len() as f64;
        let sum = rows.iter().fold(DMatrix::zeros(28, 28), |sum, row| sum + row);
        let (mut variance, mut squares) = (0.0, 0.0);
        for i in 0..28 {
            for j in (0..28).filter(|&j| j != i) {
                let mean = sum[(i, j)] / count;
                let spread: f64 = rows.iter().map(|row| (row[(i, j)] - mean).powi(2)).sum();
                variance += count / (count - 1.0) * spread;
                squares += sum[(i, j)].powi(2);
            }
        }
        let (found, expected) = (ledoit_wolf(&form(&problem)), (variance / squares).min(1.0));
        assert!((found - expected).abs() < 0.25 * expected, "{found} against {expected}");
    }
}

#[test]
fn rho_is_a_share_or_a_formula() {
    assert_eq!(policy("shrunk:rho=ledoit-wolf").to_string(), "shrunk:rho=ledoit-wolf");
    assert_eq!(policy("shrunk:rho=.5").to_string(), "shrunk:rho=0.5");
    assert_eq!(
        refusal("shrunk:rho=2".parse::<Policy>()),
        "policy 'shrunk': rho: expected ledoit-wolf or a number from 0 to 1, found 2"
    );
}
