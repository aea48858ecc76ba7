//! `oracle:future` is `oracle:certified` with the later queries in the window's place.

use laprox_reference::Form;
use laprox_reference::oracle::{LayerGram, PairGram, Rows, exhaustive};
use laprox_reference::pipeline::search_together;
use laprox_reference::{Backend, CandidatesPerHead, LayerIndex, PreparedLayer, Reference};

use crate::common::hostile::layer;
use crate::common::policy;
use crate::common::problem::{Problem, Sizes};
use crate::problems::{FORMS, Rounding};

const SIZES: Sizes = Sizes {
    kv_heads: 2,
    group_size: 3,
    head_dim: 4,
    hidden_dim: 9,
    candidate_len: 7,
    window_len: 3,
    future_len: 4,
};

/// The same problem after its future has come: the later queries are the window's last. Its first rows, of the old
/// window, look at nothing but the first position of their own, with a logit a thousand above all others.
fn arrived(problem: &Problem) -> Problem {
    let Sizes { head_dim, window_len, future_len, .. } = SIZES;
    let sizes = Sizes { head_dim: head_dim + 1, window_len: window_len + future_len, future_len: 0, ..SIZES };
    let mut later = Problem { scale: problem.scale, ..Problem::zero(sizes) };
    for head in 0..SIZES.kv_heads {
        for position in 0..SIZES.cached_len() {
            let to = (head * sizes.cached_len() + position) * sizes.head_dim;
            later.key[to..to + head_dim].copy_from_slice(problem.key_at(head, position));
            later.value[to..to + head_dim].copy_from_slice(problem.value_at(head, position));
            later.key[to + head_dim] = f64::from(u8::from(position == SIZES.candidate_len));
        }
    }
    for head in 0..SIZES.query_heads() {
        for row in 0..sizes.window_len {
            let to = (head * sizes.window_len + row) * sizes.head_dim;
            if row < window_len {
                later.query[to + head_dim] = 1000.0 / problem.scale;
            } else {
                later.query[to..to + head_dim].copy_from_slice(problem.query_at(head, row));
            }
        }
        for channel in 0..SIZES.hidden_dim {
            for k in 0..head_dim {
                let to = channel * sizes.query_heads() * sizes.head_dim + head * sizes.head_dim + k;
                later.projection[to] = problem.projection_at(head, k, channel);
            }
        }
    }
    later
}

/// Both forms' parts are equal but for the order of their sums.
#[test]
fn the_form_of_later_queries_is_the_windows_after_they_arrived() {
    for seed in 0..20 {
        let problem = Problem::alive(SIZES, seed);
        let (before, after) = (layer(&problem), layer(&arrived(&problem)));
        let rounding = Rounding::of(&before, Rows::Future).of_any() * 1e3;
        for form in FORMS {
            let expected = LayerGram::of(&after, form, Rows::Window).unwrap();
            let gram = LayerGram::of(&before, form, Rows::Future).unwrap();
            let candidates: Vec<usize> = (0..gram.candidates()).collect();
            assert_eq!(gram.candidates(), expected.candidates());
            let difference = &gram.blocks(&candidates)[0] - &expected.blocks(&candidates)[0];
            assert!(difference.amax() <= rounding, "M differs by {}", difference.amax());
        }
    }
}

#[test]
fn the_future_oracle_is_the_certified_one_after_the_future_arrived() {
    for seed in 0..20 {
        let problem = Problem::alive(SIZES, seed);
        let later = arrived(&problem);
        let search = |problem: &Problem, oracle, per_head| {
            let layer = Reference.prepare(&problem.layer_problem(LayerIndex(0))).unwrap();
            let layers: [&dyn PreparedLayer; 1] = [layer.as_ref()];
            let per_head = CandidatesPerHead(per_head);
            let found = search_together(&Reference, &layers, &policy(oracle), per_head, &mut |_| true);
            found.unwrap().certified.unwrap()
        };
        let before = layer(&problem);
        let gram = LayerGram::of(&before, Form::LayerWise, Rows::Future).unwrap();
        let rounding = Rounding::of(&before, Rows::Future).of_any() * 1e3;
        for per_head in 0..=SIZES.candidate_len {
            let future = search(&problem, "oracle:future", per_head);
            let certified = search(&later, "oracle:certified", per_head);
            let evicted = future.eviction.evicted.len();
            assert_eq!(evicted, certified.eviction.evicted.len());
            let least = exhaustive(&gram, evicted).unwrap().0.squared_error;
            for found in [&future, &certified] {
                // Each ends within 0.1 % of its bound, which is below the optimum.
                let error = found.eviction.squared_error;
                assert!(error >= least - rounding && error <= least * 1.001_f64.powi(2) + rounding);
                assert!(found.squared_lower_bound <= least + rounding);
            }
        }
    }
}
