//! On problems as hostile as they come, every statement holds.

use std::collections::BTreeMap;

use laprox_reference::bounds::spectral::spectral_norm_from_above;
use laprox_reference::bounds::{Draws, Evidence};
use nalgebra::DMatrix;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::hostile::{hostile, layer, sizes, without};
use crate::{all, some_eviction};

#[test]
fn every_statement_holds_whatever_is_evicted() {
    let mut evaluated = BTreeMap::new();
    for seed in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let layer = layer(&hostile(sizes(rng.random_range(1..=20), &mut rng), seed));
        let retained = some_eviction(&layer, &mut rng);
        for bound in all(&layer, &retained, Draws { seed, trials: 24 }) {
            assert!(bound.holds(), "seed {seed}: {bound:?}");
            *evaluated.entry(bound.id).or_insert(0) += 1;
        }
    }
    let expected = [
        "B10", "B1a", "B1b", "B2a", "B2b", "B3a", "B3b", "B3c", "B4a", "B4b", "B4c", "B4d", "B4e", "B4f",
        "B5", "B6a", "B6b", "B6c", "B6d", "B7", "B8a", "B8b", "B9a", "B9b", "B9c",
    ];
    assert_eq!(evaluated.keys().copied().collect::<Vec<_>>(), expected);
    // Only where nothing is evicted, or no row keeps any mass, is there nothing to say.
    assert!(evaluated.values().all(|&times| times > 250), "{evaluated:?}");
}

/// With one query head and one evicted slot there is nothing to cancel: B1 and B7 are equalities.
#[test]
fn the_triangle_bounds_are_tight_for_a_single_pair() {
    let mut tight = 0;
    for seed in 0..50 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut sizes = sizes(6, &mut rng);
        sizes.group_size = 1;
        let layer = layer(&hostile(sizes, seed));
        let bounds = all(&layer, &without(&layer, &[rng.random_range(0..6)]), Draws { seed, trials: 2 });
        for bound in bounds.iter().filter(|bound| ["B1a", "B7"].contains(&bound.id)) {
            let Evidence::AtMost { rounding } = bound.evidence else {
                panic!("{bound:?} compares two numbers")
            };
            assert!(bound.slack().abs() <= rounding, "seed {seed}: {bound:?}");
            tight += usize::from(bound.left > 0.0);
        }
    }
    assert!(tight > 80, "{tight} of 100 are of something");
}

/// Never below the largest singular value, and above it by `rank^(2^-8 / 2)` at most.
#[test]
fn spectral_norms_are_bounded_from_above_and_nearly() {
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (rows, columns) = (rng.random_range(1..=12), rng.random_range(1..=12));
        let scale = 10.0_f64.powi(rng.random_range(-90..=90));
        let matrix = DMatrix::from_fn(rows, columns, |_, _| scale * rng.random_range(-1.0..1.0));
        let norm = matrix.singular_values().max();
        let above = spectral_norm_from_above(&matrix);
        let rank = rows.min(columns) as f64;
        // The singular values themselves are computed, to a few dozen roundings.
        assert!(above >= norm * (1.0 - 64.0 * f64::EPSILON), "seed {seed}: {above} for {norm}");
        assert!(
            above <= norm * rank.powf(0.5_f64.powi(9)) * (1.0 + 1e-10),
            "seed {seed}: {above} for {norm}"
        );
    }
    assert_eq!(spectral_norm_from_above(&DMatrix::zeros(3, 2)), 0.0);
    assert!(!spectral_norm_from_above(&DMatrix::from_element(2, 2, f64::NAN)).is_finite());
}
