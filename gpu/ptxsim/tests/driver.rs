//! The stand-in's streams: work is done when it is waited for, in the order that events give it, and no sooner.

use std::ffi::{CStr, CString, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use laprox_ptxsim::driver::api::*;
use laprox_ptxsim::driver::{Status, last_failure};

/// Calls an entry point that gives a result.
fn given<T>(call: impl FnOnce(Place<'_, T>) -> Status) -> T {
    let mut place = MaybeUninit::uninit();
    assert_eq!(call(Some(&mut place)), 0);
    // SAFETY: a call that succeeds writes its result.
    unsafe { place.assume_init() }
}

/// Some calls do the work of all streams. Tests that make one take turns, and so do tests that claim that work is not done.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stream() -> Handle {
    given(|place| cuStreamCreate(place, 1))
}

fn event() -> Handle {
    given(|place| cuEventCreate(place, 0))
}

fn allocate(words: usize) -> u64 {
    given(|place| cuMemAllocAsync(place, 4 * words, ptr::null_mut()))
}

fn copy_in(to: u64, words: &[u32], stream: Handle) {
    // SAFETY: the words are readable, and not pinned.
    let status = unsafe { cuMemcpyHtoDAsync_v2(to, words.as_ptr().cast(), size_of_val(words), stream) };
    assert_eq!(status, 0);
}

/// Reads words back. If the status is not 0, the work before has failed.
fn copy_out(from: u64, count: usize, stream: Handle) -> Result<Vec<u32>, String> {
    let mut words = vec![0; count];
    // SAFETY: the words are writable, and not pinned.
    let status = unsafe { cuMemcpyDtoHAsync_v2(words.as_mut_ptr().cast(), from, 4 * count, stream) };
    if status == 0 { Ok(words) } else { Err(last_failure()) }
}

/// `k(from, to)`: `to = from + 1`.
const PTX: &str = ".visible .entry k(.param .u64 from, .param .u64 to) {
    .reg .b32 %r<2>; .reg .b64 %rd<2>;
    ld.param.u64 %rd0, [from]; ld.param.u64 %rd1, [to];
    ld.global.u32 %r0, [%rd0]; add.u32 %r1, %r0, 1; st.global.u32 [%rd1], %r1; ret;
}";

fn load(module: Place<'_, Handle>, text: &CStr) -> Status {
    // SAFETY: the text ends in a zero.
    unsafe { cuModuleLoadData(module, text.as_ptr().cast()) }
}

fn find(function: Place<'_, Handle>, module: Handle, name: &CStr) -> Status {
    // SAFETY: the name ends in a zero.
    unsafe { cuModuleGetFunction(function, module, name.as_ptr()) }
}

fn function() -> Handle {
    let text = CString::new(PTX).unwrap();
    let module = given(|place| load(place, &text));
    given(|place| find(place, module, c"k"))
}

fn launch(function: Handle, mut from: u64, mut to: u64, shared: u32, stream: Handle) -> Status {
    let mut parameters = [(&raw mut from).cast::<c_void>(), (&raw mut to).cast()];
    let (places, extra) = (parameters.as_mut_ptr(), ptr::null_mut());
    // SAFETY: the kernel has two parameters of 8 bytes.
    unsafe { cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, shared, stream, places, extra) }
}

#[test]
fn work_in_a_stream_is_done_in_order() {
    let (stream, function, a, b) = (stream(), function(), allocate(1), allocate(1));
    copy_in(a, &[41], stream);
    assert_eq!(launch(function, a, b, 0, stream), 0);
    assert_eq!(launch(function, b, a, 0, stream), 0);
    assert_eq!(copy_out(a, 1, stream), Ok(vec![43]));
}

/// Without an event, a launch does not find the words that another stream is to write.
#[test]
fn streams_without_an_event_do_not_order_each_other() {
    let _alone = alone();
    let (one, two, function, a, b) = (stream(), stream(), function(), allocate(1), allocate(1));
    copy_in(a, &[1], one);
    assert_eq!(launch(function, a, b, 0, two), 0);
    let report = copy_out(b, 1, two).unwrap_err();
    assert!(report.starts_with("kernel k, block (0, 0, 0), thread 0, PTX line 4"), "{report}");
    assert!(report.contains("that nobody wrote"), "{report}");
    // The stream goes on, and the other one's work can still be done.
    assert_eq!(copy_out(a, 1, one), Ok(vec![1]));
    assert_eq!(launch(function, a, b, 0, two), 0);
    assert_eq!(copy_out(b, 1, two), Ok(vec![2]));
}

#[test]
fn an_event_orders_what_comes_before_it() {
    let _alone = alone();
    let (one, two, function, a, b) = (stream(), stream(), function(), allocate(1), allocate(1));
    copy_in(a, &[5], one);
    let copied = event();
    assert_eq!(cuEventRecord(copied, one), 0);
    assert_eq!(cuStreamWaitEvent(two, copied, 0), 0);
    // Behind the event, so not waited for.
    copy_in(a, &[50], one);
    assert_eq!(launch(function, a, b, 0, two), 0);
    assert_eq!(copy_out(b, 1, two), Ok(vec![6]));
    assert_eq!(copy_out(a, 1, one), Ok(vec![50]));
}

/// The driver reads pinned memory when it copies it, and all other memory before it returns.
#[test]
fn pinned_memory_must_stay_until_it_is_copied() {
    let _alone = alone();
    let (stream, a, numbers) = (stream(), allocate(2), allocate(2));
    let pinned = given(|place| cuMemHostAlloc(place, 4, 0));
    // SAFETY: the four pinned bytes are freed when all copies are done.
    let copy_to_pinned = |from, stream| unsafe { cuMemcpyDtoHAsync_v2(pinned, from, 4, stream) };
    copy_in(numbers, &[1, 2], stream);
    // Copies to pinned memory are waited for. Then its content changes before it has been copied.
    assert_eq!(copy_to_pinned(numbers, stream), 0);
    assert_eq!(cuStreamSynchronize(stream), 0);
    // SAFETY: as above.
    assert_eq!(unsafe { cuMemcpyHtoDAsync_v2(a, pinned, 4, stream) }, 0);
    let other = self::stream();
    assert_eq!(copy_to_pinned(numbers + 4, other), 0);
    assert_eq!(cuStreamSynchronize(other), 0);
    let mut word = [1_u32];
    copy_in(a + 4, &word, stream);
    word[0] = 2;
    assert_eq!(word, [2]);
    assert_eq!(copy_out(a, 2, stream), Ok(vec![2, 1]));
    // SAFETY: all copies are done, and memory that is not pinned is refused.
    let free = || unsafe { cuMemFreeHost(pinned) };
    assert_eq!(free(), 0);
    assert_ne!(free(), 0);
}

#[test]
fn memory_is_given_back_in_stream_order() {
    let (stream, function, a, b) = (stream(), function(), allocate(1), allocate(1));
    copy_in(a, &[1], stream);
    assert_eq!(launch(function, a, b, 0, stream), 0);
    assert_eq!(cuMemFreeAsync(a, stream), 0);
    assert_eq!(copy_out(b, 1, stream), Ok(vec![2]));
    assert_eq!(launch(function, a, b, 0, stream), 0);
    assert!(copy_out(b, 1, stream).unwrap_err().contains("leaves every allocation"));
}

/// A wait for all streams does not return it: the fault may be another thread's.
#[test]
fn a_fault_is_returned_by_the_wait_for_its_stream() {
    let _alone = alone();
    let (stream, other, a) = (stream(), stream(), allocate(1));
    assert_eq!(launch(function(), a, a, 0, stream), 0);
    assert_eq!(cuCtxSynchronize(), 0);
    assert_eq!(cuStreamSynchronize(other), 0);
    assert_ne!(cuStreamSynchronize(stream), 0);
    assert!(last_failure().contains("that nobody wrote"), "{}", last_failure());
    assert_eq!(cuStreamSynchronize(stream), 0);
}

#[test]
fn a_captured_graph_is_replayed() {
    let (stream, function, a) = (stream(), function(), allocate(1));
    copy_in(a, &[0], stream);
    assert_eq!(cuStreamSynchronize(stream), 0);
    assert_eq!(cuStreamBeginCapture_v2(stream, 0), 0);
    assert_eq!(launch(function, a, a, 0, stream), 0);
    assert_eq!(launch(function, a, a, 0, stream), 0);
    let graph = given(|place| cuStreamEndCapture(stream, place));
    let exec = given(|place| cuGraphInstantiateWithFlags(place, graph, 0));
    assert_eq!(copy_out(a, 1, stream), Ok(vec![0]));
    for _ in 0..3 {
        assert_eq!(cuGraphLaunch(exec, stream), 0);
    }
    assert_eq!(copy_out(a, 1, stream), Ok(vec![6]));
}

/// Six instructions of one thread, a million to the millisecond.
#[test]
fn time_counts_executed_instructions() {
    let (stream, function, a) = (stream(), function(), allocate(1));
    copy_in(a, &[0], stream);
    let (start, end) = (event(), event());
    assert_eq!(cuEventRecord(start, stream), 0);
    assert_eq!(launch(function, a, a, 0, stream), 0);
    assert_eq!(cuEventRecord(end, stream), 0);
    assert_eq!(cuEventSynchronize(end), 0);
    let milliseconds = given(|place| cuEventElapsedTime(place, start, end));
    // Other tests' launches may come between the two.
    assert!(milliseconds >= 6e-6, "{milliseconds}");
}

#[test]
fn what_does_not_exist_or_fit_is_refused() {
    let (stream, function, a) = (stream(), function(), allocate(1));
    assert_eq!(cuMemAlloc_v2(Some(&mut MaybeUninit::uninit()), 1 << 40), 2);
    assert!(last_failure().contains("out of memory"));
    assert_ne!(launch(function, a, a, 60_000, stream), 0);
    assert_eq!(cuFuncSetAttribute(function, 8, 60_000), 0);
    assert_ne!(cuFuncSetAttribute(function, 8, 300_000), 0);
    assert_ne!(cuEventRecord(ptr::null_mut(), stream), 0);
    let mut place = MaybeUninit::uninit();
    assert_eq!(load(Some(&mut place), c"nonsense"), 218);
    assert!(last_failure().contains("PTX line 1"));
    assert_ne!(find(Some(&mut place), ptr::null_mut(), c"k"), 0);
    assert_eq!(cuDeviceGetCount(None), 1);
    // SAFETY: there is room for one byte, and nothing is written to less than the name's.
    assert_eq!(unsafe { cuDeviceGetName([0].as_mut_ptr(), 1, 0) }, 1);
    // SAFETY: as above.
    assert_eq!(unsafe { cuDeviceGetName([0].as_mut_ptr(), -1, 0) }, 1);
}
