//! The stand-in's streams: work is done when it is waited for, in the order that events give it, and no sooner.

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use laprox_ptxsim::driver::api::*;
use laprox_ptxsim::driver::{Status, last_failure};

type Handle = *mut c_void;

/// Calls an entry point that gives a handle.
fn given<T>(empty: T, call: impl FnOnce(*mut T) -> Status) -> T {
    let mut place = empty;
    assert_eq!(call(&raw mut place), 0);
    place
}

/// Some calls do the work of all streams: tests that make one, or say what has not been done yet, take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stream() -> Handle {
    given(ptr::null_mut(), |place| cuStreamCreate(place, 1))
}

fn event() -> Handle {
    given(ptr::null_mut(), |place| cuEventCreate(place, 0))
}

fn allocate(words: usize) -> u64 {
    given(0, |place| cuMemAllocAsync(place, 4 * words, ptr::null_mut()))
}

fn copy_in(to: u64, words: &[u32], stream: Handle) {
    assert_eq!(cuMemcpyHtoDAsync_v2(to, words.as_ptr().cast(), size_of_val(words), stream), 0);
}

/// Reads words back; what it had to wait for failed if the status is not 0.
fn copy_out(from: u64, count: usize, stream: Handle) -> Result<Vec<u32>, String> {
    let mut words = vec![0; count];
    let status = cuMemcpyDtoHAsync_v2(words.as_mut_ptr().cast(), from, 4 * count, stream);
    if status == 0 { Ok(words) } else { Err(last_failure()) }
}

/// `k(from, to)`: `to = from + 1`.
const PTX: &str = ".visible .entry k(.param .u64 from, .param .u64 to) {
    .reg .b32 %r<2>; .reg .b64 %rd<2>;
    ld.param.u64 %rd0, [from]; ld.param.u64 %rd1, [to];
    ld.global.u32 %r0, [%rd0]; add.u32 %r1, %r0, 1; st.global.u32 [%rd1], %r1; ret;
}";

fn function() -> Handle {
    let text = CString::new(PTX).unwrap();
    let module = given(ptr::null_mut(), |place| cuModuleLoadData(place, text.as_ptr().cast()));
    given(ptr::null_mut(), |place| cuModuleGetFunction(place, module, c"k".as_ptr()))
}

fn launch(function: Handle, mut from: u64, mut to: u64, shared: u32, stream: Handle) -> Status {
    let mut parameters = [(&raw mut from).cast::<c_void>(), (&raw mut to).cast()];
    cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, shared, stream, parameters.as_mut_ptr(), ptr::null_mut())
}

#[test]
fn work_in_a_stream_is_done_in_order() {
    let (stream, function, a, b) = (stream(), function(), allocate(1), allocate(1));
    copy_in(a, &[41], stream);
    assert_eq!(launch(function, a, b, 0, stream), 0);
    assert_eq!(launch(function, b, a, 0, stream), 0);
    assert_eq!(copy_out(a, 1, stream), Ok(vec![43]));
}

/// A launch that reads what another stream was to write, without an event between them, finds nothing.
#[test]
fn streams_without_an_event_do_not_order_each_other() {
    let _alone = alone();
    let (one, two, function, a, b) = (stream(), stream(), function(), allocate(1), allocate(1));
    copy_in(a, &[1], one);
    assert_eq!(launch(function, a, b, 0, two), 0);
    let report = copy_out(b, 1, two).unwrap_err();
    assert!(report.starts_with("kernel k, block (0, 0, 0), thread 0, PTX line 4"), "{report}");
    assert!(report.contains("that nobody wrote"), "{report}");
    // The stream goes on, and what the other one was to do is done.
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
    let pinned = given(ptr::null_mut(), |place| cuMemHostAlloc(place, 4, 0));
    copy_in(numbers, &[1, 2], stream);
    // Copies to pinned memory are waited for; then what lies there changes before it has been copied from.
    assert_eq!(cuMemcpyDtoHAsync_v2(pinned, numbers, 4, stream), 0);
    assert_eq!(cuStreamSynchronize(stream), 0);
    assert_eq!(cuMemcpyHtoDAsync_v2(a, pinned, 4, stream), 0);
    let other = self::stream();
    assert_eq!(cuMemcpyDtoHAsync_v2(pinned, numbers + 4, 4, other), 0);
    assert_eq!(cuStreamSynchronize(other), 0);
    let mut word = [1_u32];
    copy_in(a + 4, &word, stream);
    word[0] = 2;
    assert_eq!(word, [2]);
    assert_eq!(copy_out(a, 2, stream), Ok(vec![2, 1]));
    assert_eq!(cuMemFreeHost(pinned), 0);
    assert_ne!(cuMemFreeHost(pinned), 0);
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

/// Not to whoever waits for everything, for whom another thread's stream may have failed.
#[test]
fn a_fault_is_told_to_whoever_waits_for_its_stream() {
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
    let graph = given(ptr::null_mut(), |place| cuStreamEndCapture(stream, place));
    let exec = given(ptr::null_mut(), |place| cuGraphInstantiateWithFlags(place, graph, 0));
    assert_eq!(copy_out(a, 1, stream), Ok(vec![0]));
    for _ in 0..3 {
        assert_eq!(cuGraphLaunch(exec, stream), 0);
    }
    assert_eq!(copy_out(a, 1, stream), Ok(vec![6]));
}

/// Six instructions of one thread, a million to the millisecond.
#[test]
fn time_is_what_was_executed() {
    let (stream, function, a) = (stream(), function(), allocate(1));
    copy_in(a, &[0], stream);
    let (start, end) = (event(), event());
    assert_eq!(cuEventRecord(start, stream), 0);
    assert_eq!(launch(function, a, a, 0, stream), 0);
    assert_eq!(cuEventRecord(end, stream), 0);
    assert_eq!(cuEventSynchronize(end), 0);
    let milliseconds = given(0.0, |place| cuEventElapsedTime(place, start, end));
    // Other tests' launches may come between the two.
    assert!(milliseconds >= 6e-6, "{milliseconds}");
}

#[test]
fn what_does_not_exist_or_fit_is_refused() {
    let (stream, function, a) = (stream(), function(), allocate(1));
    let mut place = 0;
    assert_eq!(cuMemAlloc_v2(&raw mut place, 1 << 40), 2);
    assert!(last_failure().contains("out of memory"));
    assert_ne!(launch(function, a, a, 60_000, stream), 0);
    assert_eq!(cuFuncSetAttribute(function, 8, 60_000), 0);
    assert_ne!(cuFuncSetAttribute(function, 8, 300_000), 0);
    assert_ne!(cuEventRecord(ptr::null_mut(), stream), 0);
    let mut handle = ptr::null_mut();
    assert_eq!(cuModuleLoadData(&raw mut handle, c"nonsense".as_ptr().cast()), 218);
    assert!(last_failure().contains("PTX line 1"));
    assert_ne!(cuModuleGetFunction(&raw mut handle, ptr::null_mut(), c"k".as_ptr()), 0);
}
