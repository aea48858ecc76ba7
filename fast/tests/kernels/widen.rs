//! Halves are widened exactly.

use half::f16;
use laprox_fast::Level;
use laprox_fast::simd::widen::widen_into;
use laprox_reference::Elements;
use pulp::{Simd, WithSimd};

struct Widen<'a>(&'a [f16], &'a mut [f32]);

impl WithSimd for Widen<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        widen_into(simd, Elements::F16(self.0), self.1);
    }
}

#[test]
fn every_finite_half_is_widened_exactly_at_every_level() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|half| half.is_finite()).collect();
    assert_eq!(halves.len(), 2 * 31 * 1024);
    let exact: Vec<u32> = halves.iter().map(|half| half.to_f32().to_bits()).collect();
    for level in Level::all() {
        let mut wide = vec![f32::NAN; halves.len()];
        level.run(Widen(&halves, &mut wide));
        assert_eq!(wide.iter().map(|wide| wide.to_bits()).collect::<Vec<_>>(), exact, "{level}");
    }
}
