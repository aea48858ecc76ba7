//! Branching against trying every set.

use std::time::Instant;

use laprox_reference::Form;
use laprox_reference::oracle::{PairGram, Rows, exhaustive};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::hostile::{hostile, layer, sizes, some_candidates, window_gram};
use crate::common::problem::{Problem, Sizes};
use crate::problems::{FORMS, Rounding, TOLERANCE, certify, to_the_end};

/// Every 40th problem has 20 candidates, every 8th 16; the others up to 12.
fn candidate_count(problem: u64, rng: &mut ChaCha8Rng) -> usize {
    match problem {
        problem if problem % 40 == 0 => 20,
        problem if problem % 8 == 0 => 16,
        _ => rng.random_range(1..=12),
    }
}

/// Every count of evictions in turn, none and all included.
fn count(problem: u64, candidates: usize, rng: &mut ChaCha8Rng) -> usize {
    match problem % 16 {
        1 => 0,
        2 => candidates,
        _ => rng.random_range(0..=candidates),
    }
}

/// Up to twelve candidates every set is branched on; with more, those of the last few candidates are tried out.
#[test]
fn branch_and_bound_equals_exhaustive() {
    for problem in 0..2400_u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(problem);
        let candidates = candidate_count(problem, &mut rng);
        let count = count(problem, candidates, &mut rng);
        let layer = layer(&hostile(sizes(candidates, &mut rng), problem));
        let gram = window_gram(&layer, FORMS[rng.random_range(0..2)]);
        let start = some_candidates(candidates, count, &mut rng);

        let (optimum, _) = exhaustive(&gram, count).unwrap();
        let limits = to_the_end(if candidates > 12 { 64 } else { 1 });
        let found = certify(&gram, count, &start, limits, &mut |_| true);
        let what = format!("problem {problem}: {count} of {candidates} candidates, {} nodes", found.nodes);

        let rounding = Rounding::of(&layer, Rows::Window);
        let (least, error) = (optimum.squared_error, found.eviction.squared_error);
        assert_eq!((optimum.evicted.len(), found.eviction.evicted.len()), (count, count), "{what}");
        let allowed = rounding.of_set(&optimum.evicted) + rounding.of_set(&found.eviction.evicted);
        assert!((error - least).abs() <= allowed + TOLERANCE * least, "{what}: {error:e} for {least:e}");

        let bound = found.squared_lower_bound;
        assert!(bound <= least + rounding.of_set(&optimum.evicted), "{what}: bound {bound} above {least}");
        let lost = rounding.of_a_bound() + TOLERANCE * least;
        assert!(least - bound <= lost + allowed, "{what}: bound {bound} leaves {least} open");
    }
}

/// The sixty candidates of three KV heads, under an attention that is a softmax with sinks.
#[test]
fn sixty_candidates_are_solved_to_the_optimum() {
    let sizes = Sizes {
        kv_heads: 3,
        group_size: 3,
        head_dim: 8,
        hidden_dim: 24,
        candidate_len: 20,
        window_len: 8,
        future_len: 0,
    };
    let layer = layer(&Problem::alive(sizes, 0));
    let rounding = Rounding::of(&layer, Rows::Window);
    for count in [15, 30, 45] {
        let gram = window_gram(&layer, Form::LayerWise);
        let start: Vec<usize> = (0..count).collect();
        let started = Instant::now();
        let found = certify(&gram, count, &start, to_the_end(4096), &mut |_| true);
        println!(
            "{count} of {} candidates: {} nodes, {:?}",
            gram.candidates(),
            found.nodes,
            started.elapsed()
        );
        let (error, bound) = (found.eviction.squared_error, found.squared_lower_bound);
        assert!(error > 0.0, "the problem is alive");
        assert!(error - bound <= rounding.of_a_bound() + TOLERANCE * error, "{bound} leaves {error} open");
    }
}
