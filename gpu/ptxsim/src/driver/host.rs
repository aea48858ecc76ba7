//! Host memory by address: pinned allocations, which device work reads and writes when it is done.

use std::alloc::{self, Layout};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Pinned allocations: where they begin, and their bytes.
static PINNED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// As the driver aligns them.
const ALIGN: usize = 4096;

fn pinned() -> std::sync::MutexGuard<'static, BTreeMap<usize, usize>> {
    PINNED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len.max(1), ALIGN).ok()
}

/// Allocates pinned memory; `None` where there is none.
pub(super) fn allocate(len: usize) -> Option<usize> {
    // SAFETY: the layout has at least one byte.
    let address = unsafe { alloc::alloc_zeroed(layout(len)?) } as usize;
    (address != 0).then(|| pinned().insert(address, len))?;
    Some(address)
}

/// Gives pinned memory back; false where there is none.
pub(super) fn free(address: usize) -> bool {
    let Some(layout) = pinned().remove(&address).and_then(layout) else { return false };
    // SAFETY: `allocate` made it with this layout, and it is not in the list any more.
    unsafe { alloc::dealloc(address as *mut u8, layout) };
    true
}

/// Whether all these bytes are pinned.
pub(super) fn is_pinned(address: usize, len: usize) -> bool {
    let below = pinned().range(..=address).next_back().map(|(&base, &size)| base + size);
    below.is_some_and(|end| address + len <= end)
}

/// Copies bytes out of host memory.
pub(super) fn read(address: usize, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    // SAFETY: the caller of the copy promised `len` readable bytes until the copy is done.
    unsafe { std::ptr::copy_nonoverlapping(address as *const u8, data.as_mut_ptr(), len) };
    data
}

/// Copies bytes into host memory.
pub(super) fn write(address: usize, data: &[u8]) {
    // SAFETY: the caller of the copy promised as many writable bytes until the copy is done.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), address as *mut u8, data.len()) };
}
