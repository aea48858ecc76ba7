//! A search that has to end has a valid result, at whatever product that is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use laprox_reference::oracle::gram::Product;
use laprox_reference::oracle::renormalised::{Limits, improve_within};
use laprox_reference::oracle::{LayerGram, PairGram, Rows, Stop, exhaustive};
use laprox_reference::{Error, Form, LayerOrdinal};
use nalgebra::DMatrix;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::hostile::{hostile, layer, sizes, some_candidates, window_gram, without};
use crate::problems::{FORMS, Rounding, certify, early};

/// A form whose search has to end after some products.
struct Ending<'a> {
    inner: &'a LayerGram<'a>,
    left: AtomicUsize,
}

impl PairGram for Ending<'_> {
    fn candidates(&self) -> usize {
        self.inner.candidates()
    }

    fn product(&self, x: &[f64]) -> Result<Product, Error> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| Error::Stopped)?;
        Ok(self.inner.product(x))
    }

    fn diagonal(&self) -> &[f64] {
        self.inner.diagonal()
    }

    fn blocks(&self, candidates: &[usize]) -> Vec<DMatrix<f64>> {
        self.inner.blocks(candidates)
    }

    fn magnitudes(&self) -> Vec<f64> {
        self.inner.magnitudes()
    }
}

#[test]
fn a_search_that_ends_at_any_product_has_a_set_and_a_valid_bound() {
    for seed in 0..30 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let candidates = rng.random_range(6..=14);
        let layer = layer(&hostile(sizes(candidates, &mut rng), seed));
        let rounding = Rounding::of(&layer, Rows::Window).of_any();
        for form in FORMS {
            let gram = window_gram(&layer, form);
            let count = rng.random_range(1..candidates);
            let start = some_candidates(candidates, count, &mut rng);
            let least = exhaustive(&gram, count).unwrap().0.squared_error;
            let mut before = 0.0;
            for products in 0..24 {
                let ending = Ending { inner: &gram, left: products.into() };
                let found = certify(&ending, count, &start, early(64), &mut |_| true);
                assert_eq!(found.eviction.evicted.len(), count);
                assert!(found.eviction.squared_error >= least - rounding);
                assert!(found.squared_lower_bound <= least + rounding, "after {products} products");
                assert!(products > 0 || (found.nodes == 0 && !found.ended));
                assert!(found.squared_lower_bound >= before - rounding, "more products prove no less");
                before = found.squared_lower_bound;
            }
        }
    }
}

#[test]
fn a_flag_or_a_deadline_ends_a_search() {
    static SET: AtomicBool = AtomicBool::new(false);
    assert!(!Stop::NEVER.is_due() && !Stop::after(Some(Duration::from_secs(3600)), Some(&SET)).is_due());
    assert!(Stop::after(Some(Duration::ZERO), None).is_due());
    assert!(Stop::after(Some(Duration::from_secs(1)), None).is_within(Duration::from_secs(2)));
    assert!(!Stop::after(Some(Duration::MAX), None).is_due());
    let flagged = Stop::after(None, Some(&SET));
    SET.store(true, Ordering::Relaxed);
    assert_eq!(flagged.check(), Err(Error::Stopped));

    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let layer = layer(&hostile(sizes(12, &mut rng), 1));
    let kept = LayerGram::kept(&layer, Form::LayerWise, Rows::Window, flagged);
    assert!(matches!(kept, Err(Error::Stopped)));
    let start = without(&layer, &[0, 3, 5]);
    let limits = Limits { stop: flagged, ..Limits::default() };
    let improved = improve_within(&layer, Form::LayerWise, start.layer(LayerOrdinal(0)), limits);
    let retained: usize = improved.retained.iter().map(Vec::len).sum();
    assert_eq!((retained, improved.ended), (12 - 3, false));
}

/// A small problem inside a search is left at the deadline, not at its own end.
#[test]
fn no_loop_outlasts_a_deadline() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut sizes = sizes(600, &mut rng);
    (sizes.head_dim, sizes.hidden_dim, sizes.window_len) = (6, 10, 5);
    let layer = layer(&hostile(sizes, 3));
    let gram = window_gram(&layer, Form::LayerWise);
    let start = some_candidates(600, 300, &mut rng);
    let stop = Stop::after(Some(Duration::from_millis(200)), None);
    let mut limits = laprox_reference::oracle::Limits::exact(600);
    (limits.effort.stop, limits.convexify) = (stop, false);
    let begin = Instant::now();
    let mut sorted = start.clone();
    sorted.sort_unstable();
    let found = certify(&gram, 300, &sorted, limits, &mut |_| true);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert!(found.squared_lower_bound <= found.eviction.squared_error);
}
