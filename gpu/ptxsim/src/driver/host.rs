//! Host memory by address, and pinned allocations. Copies read and write these when they are done.

use std::alloc::{self, Layout};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Pinned allocations: their addresses and sizes.
static PINNED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// The driver's alignment.
const ALIGN: usize = 4096;

fn pinned() -> std::sync::MutexGuard<'static, BTreeMap<usize, usize>> {
    PINNED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len.max(1), ALIGN).ok()
}

/// Allocates pinned memory. `None` if there is no memory left.
pub(super) fn allocate(len: usize) -> Option<usize> {
    // SAFETY: the layout has at least one byte.
    let address = unsafe { alloc::alloc_zeroed(layout(len)?) } as usize;
    (address != 0).then(|| pinned().insert(address, len))?;
    Some(address)
}

/// Frees pinned memory. False if the address is not that of an allocation.
///
/// # Safety
/// Nothing uses it any more.
pub(super) unsafe fn free(address: usize) -> bool {
    let Some(layout) = pinned().remove(&address).and_then(layout) else { return false };
    // SAFETY: `allocate` made it with this layout, it is not in the list any more, and the caller does not use it.
    unsafe { alloc::dealloc(address as *mut u8, layout) };
    true
}

/// Whether all these bytes are pinned.
pub(super) fn is_pinned(address: usize, len: usize) -> bool {
    let below = pinned().range(..=address).next_back().map(|(&base, &size)| base + size);
    below.is_some_and(|end| address.checked_add(len).is_some_and(|last| last <= end))
}

/// Copies bytes out of host memory.
///
/// # Safety
/// There are `len` readable bytes at the address.
pub(super) unsafe fn read(address: usize, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    // SAFETY: the caller promises `len` readable bytes, and the data has as many.
    unsafe { std::ptr::copy_nonoverlapping(address as *const u8, data.as_mut_ptr(), len) };
    data
}

/// Copies bytes into host memory.
///
/// # Safety
/// There are as many writable bytes at the address.
pub(super) unsafe fn write(address: usize, data: &[u8]) {
    // SAFETY: the caller promises as many writable bytes as the data has.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), address as *mut u8, data.len()) };
}
