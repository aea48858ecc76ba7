//! Panels that no memory holds are refused.

use laprox_fast::Level;
use laprox_fast::simd::Panels;

#[test]
#[should_panic(expected = "panels that memory holds")]
fn a_size_that_overflows_is_refused() {
    let _ = Panels::pack(Level::best(), 1 << (usize::BITS - 1), 2, |_, _| 0.0);
}
