//! Pooling is the reference's, to the bit.

use laprox_fast::Level;
use laprox_fast::pool::{outside, pool, reach};
use laprox_reference::Pooling;
use pulp::{Simd, WithSimd};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

struct Pool<'a>(Pooling, &'a [f64]);

impl WithSimd for Pool<'_> {
    type Output = Vec<f64>;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<f64> {
        let padding = vec![outside(self.0); reach(self.0)];
        let mut pooled = vec![f64::NAN; self.1.len()];
        pool(self.0, &[&padding, self.1, &padding].concat(), &mut pooled);
        pooled
    }
}

#[test]
fn every_level_pools_as_the_reference_does_to_the_bit() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let kernels = [1, 3, 7, 63, 129];
    let poolings = kernels.iter().flat_map(|&kernel| [Pooling::Average(kernel), Pooling::Max(kernel)]);
    for pooling in poolings.chain([Pooling::None]) {
        for len in [0, 1, 2, 7, 31, 32, 33, 100, 129] {
            let scores: Vec<f64> = (0..len).map(|_| random.random_range(-1.0..1.0)).collect();
            let expected = pooling.apply(scores.clone());
            for level in Level::all() {
                assert_eq!(level.run(Pool(pooling, &scores)), expected, "{level}: {pooling} of {len}");
            }
        }
    }
}
