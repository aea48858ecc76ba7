//! Registers' lanes, and their sums.

use std::any::Any;

use bytemuck::cast;
use pulp::Simd;
#[cfg(target_arch = "x86_64")]
use pulp::x86::V4;

/// A multiple of every register's lanes.
pub(super) const LANES: usize = 16;

/// The sums of the lanes of each of eight registers.
#[inline(always)]
pub(super) fn lane_sums<S: Simd>(simd: S, numbers: &[S::f32s; 8]) -> [f32; 8] {
    let mut sums = [0.0; 8];
    #[cfg(target_arch = "x86_64")]
    if let Some(V4 { avx512f, .. }) = (&simd as &dyn Any).downcast_ref() {
        // Half of a register is added to the other, for two registers at once, until every sum is one lane.
        let mut halves = [avx512f._mm512_setzero_ps(); 4];
        for (half, [a, b]) in halves.iter_mut().zip(numbers.as_chunks().0) {
            let [a, b] = [cast(*a), cast(*b)];
            let low = avx512f._mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
            *half = avx512f._mm512_add_ps(low, avx512f._mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
        }
        let mut quarters = [avx512f._mm512_setzero_ps(); 2];
        for (quarter, &[a, b]) in quarters.iter_mut().zip(halves.as_chunks().0) {
            let low = avx512f._mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
            *quarter = avx512f._mm512_add_ps(low, avx512f._mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
        }
        let [a, b] = quarters;
        let low = avx512f._mm512_shuffle_ps::<0b01_00_01_00>(a, b);
        let pairs = avx512f._mm512_add_ps(low, avx512f._mm512_shuffle_ps::<0b11_10_11_10>(a, b));
        let swapped = avx512f._mm512_permute_ps::<0b10_11_00_01>(pairs);
        let all: [f32; 16] = cast(avx512f._mm512_add_ps(pairs, swapped));
        for (sum, lane) in sums.iter_mut().zip([0, 4, 8, 12, 2, 6, 10, 14]) {
            *sum = all[lane];
        }
        return sums;
    }
    for (sum, &numbers) in sums.iter_mut().zip(numbers) {
        *sum = simd.reduce_sum_f32s(numbers);
    }
    sums
}
