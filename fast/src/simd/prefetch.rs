//! Prefetching: the processor's own guesses end at a page's end.
#![allow(unsafe_code)]

/// Prefetches the `len` numbers from `first` on, as far as the slice goes.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub fn prefetch<T>(numbers: &[T], first: usize, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (first..numbers.len().min(first.saturating_add(len))).step_by(64 / size_of::<T>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has the instruction. `at` is below the length, so the address is inside the slice.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(numbers.as_ptr().add(at).cast()) };
    }
}
