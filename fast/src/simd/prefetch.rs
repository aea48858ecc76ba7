//! Prefetching: the processor's own guesses end at a page's end.
#![allow(unsafe_code)]

/// Prefetches the `len` numbers from `first` on. They may lie behind the slice.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub fn prefetch<T>(numbers: &[T], first: usize, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..(len * size_of::<T>()).div_ceil(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = numbers.as_ptr().wrapping_add(first).cast::<i8>().wrapping_add(64 * line);
        // SAFETY: every x86-64 processor has the instruction. It reads nothing that the program sees, and ignores an address that
        // cannot be read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
}
