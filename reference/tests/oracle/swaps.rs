//! The best swap is the best of all pairs, however many were applied before. Whole numbers: every change is exact.

use laprox_reference::oracle::block::{Block, Swaps};
use nalgebra::DMatrix;
use proptest::prelude::*;

use crate::common::config;

/// Blocks `A^T A`, and for each candidate whether it is evicted and half its gradient.
type Case = (Vec<DMatrix<f64>>, Vec<(bool, i32)>);

fn cases() -> impl Strategy<Value = Case> {
    prop::collection::vec(1..=5_usize, 1..=4).prop_flat_map(|sizes| {
        let block = |size: usize| {
            let entries = prop::collection::vec(-3..=3_i32, 3 * size);
            entries.prop_map(move |entries| {
                let columns = DMatrix::from_iterator(3, size, entries.into_iter().map(f64::from));
                columns.tr_mul(&columns)
            })
        };
        let candidates = prop::collection::vec((any::<bool>(), -20..=20_i32), sizes.iter().sum::<usize>());
        (sizes.into_iter().map(block).collect::<Vec<_>>(), candidates)
    })
}

/// The least change of any swap, where one lowers the value.
fn least_change(block: &Block, evicted: &[bool], gradient: &[f64]) -> Option<f64> {
    let candidates = || 0..evicted.len();
    let pairs = candidates().flat_map(|evict| candidates().map(move |retain| (evict, retain)));
    let changes = pairs
        .filter(|&(evict, retain)| !evicted[evict] && evicted[retain])
        .map(|(evict, retain)| change(block, gradient, evict, retain));
    changes.reduce(f64::min).filter(|&change| change < 0.0)
}

fn change(block: &Block, gradient: &[f64], evict: usize, retain: usize) -> f64 {
    2.0 * (gradient[evict] - gradient[retain]) + block.curvature(evict, retain)
}

proptest! {
    #![proptest_config(config(512, "tests/oracle/swaps.proptest-regressions"))]

    #[test]
    fn the_best_swap_is_the_best_of_all_pairs((blocks, candidates) in cases()) {
        let block = Block::new(blocks);
        let mut evicted: Vec<bool> = candidates.iter().map(|candidate| candidate.0).collect();
        let mut gradient: Vec<f64> = candidates.iter().map(|candidate| f64::from(candidate.1)).collect();
        let mut swaps = Swaps::new(&block, evicted.clone(), gradient.clone());
        loop {
            let best = swaps.best();
            prop_assert_eq!(best.map(|swap| swap.2), least_change(&block, &evicted, &gradient));
            let Some((evict, retain, lowered)) = best else { break };
            prop_assert!(!evicted[evict] && evicted[retain]);
            prop_assert_eq!(change(&block, &gradient, evict, retain), lowered);
            swaps.apply(evict, retain);
            block.shift(&mut gradient, evict, 1.0);
            block.shift(&mut gradient, retain, -1.0);
            (evicted[evict], evicted[retain]) = (true, false);
            prop_assert_eq!(&swaps.evicted, &evicted);
        }
    }
}
