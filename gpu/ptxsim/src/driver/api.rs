//! The entry points. Each follows the CUDA driver API's documentation, as far as cudarc uses it.
//!
//! A place for a result is an optional reference: for C, an address that may be null. A function that follows any other
//! address is unsafe.
#![allow(non_snake_case, missing_docs, reason = "the driver's own names and contracts")]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::mem::MaybeUninit;

use super::stream::{Queued, Work};
use super::{
    DEFAULT_SHARED, Driver, Event, INVALID_VALUE, LARGEST_ALLOCATION, LAUNCH_FAILED, OUT_OF_MEMORY, Outcome,
    Status, driver, failure, host,
};
use crate::launch::MOST_SHARED;

/// An index, as the caller holds it. It is never followed.
pub type Handle = *mut c_void;

/// The caller's place for a result. `None` is a null pointer.
pub type Place<'a, T> = Option<&'a mut MaybeUninit<T>>;

/// The one device's one context.
const CONTEXT: usize = 0x5157;

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    /// The text of the last failure on this thread.
    static TEXT: RefCell<CString> = RefCell::default();
}

/// Runs a call on the driver, and keeps the text of its failure.
fn call(action: impl FnOnce(&mut Driver) -> Outcome<()>) -> Status {
    let outcome = action(&mut driver());
    let Err(failure) = outcome else { return 0 };
    let text = CString::new(failure.text.replace('\0', " ")).unwrap_or_default();
    TEXT.with_borrow_mut(|last| *last = text);
    failure.status
}

/// The text of this thread's last failure.
#[must_use]
pub fn last_failure() -> String {
    TEXT.with_borrow(|last| last.to_string_lossy().into_owned())
}

/// Writes a result to the caller's place.
fn give<T>(place: Place<'_, T>, value: T) -> Outcome<()> {
    place.ok_or_else(|| failure(INVALID_VALUE, "no place for the result"))?.write(value);
    Ok(())
}

fn handle(index: usize) -> Handle {
    index as Handle
}

/// Puts work behind all other of a stream.
fn enqueue(stream: Handle, work: Work) -> Status {
    call(|driver| {
        driver.enqueue(stream as usize, work);
        Ok(())
    })
}

/// Entry points that have nothing to do and succeed.
macro_rules! nothing_to_do {
    ($($name:ident($argument:ty);)*) => {$(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(_: $argument) -> Status {
            0
        }
    )*};
}

nothing_to_do! {
    cuInit(c_uint);
    cuDevicePrimaryCtxRelease_v2(c_int);
    cuModuleUnload(Handle);
    cuGraphExecDestroy(Handle);
    cuGraphDestroy(Handle);
    cuEventDestroy_v2(Handle);
}

/// # Safety
/// `text` is null or the address of text that ends in a zero.
unsafe fn text_at(text: *const c_char) -> Outcome<String> {
    if text.is_null() {
        return Err(failure(INVALID_VALUE, "no text"));
    }
    // SAFETY: the caller's promise, and the address is not null.
    Ok(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorString(_status: Status, text: Place<'_, *const c_char>) -> Status {
    call(|_| give(text, TEXT.with_borrow(|last| last.as_ptr())))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorName(status: Status, text: Place<'_, *const c_char>) -> Status {
    let name = if status == LAUNCH_FAILED { c"CUDA_ERROR_LAUNCH_FAILED" } else { c"CUDA_ERROR" };
    call(|_| give(text, name.as_ptr()))
}

// ---- the device and its context --------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetCount(count: Place<'_, c_int>) -> Status {
    call(|_| give(count, 1))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGet(device: Place<'_, c_int>, ordinal: c_int) -> Status {
    call(|_| if ordinal == 0 { give(device, 0) } else { Err(failure(101, "no such device")) })
}

/// # Safety
/// `name` is the address of `len` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, _device: c_int) -> Status {
    let text = c"PTX interpreter".to_bytes_with_nul();
    if usize::try_from(len).map_or(true, |len| len < text.len()) {
        return INVALID_VALUE;
    }
    // SAFETY: the caller promises `len` writable bytes, and the text is no longer.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), text.len()) };
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetAttribute(value: Place<'_, c_int>, attribute: c_int, _device: c_int) -> Status {
    let known = match attribute {
        // Multiprocessors: one, so that the smallest problems fill it.
        16 => 1,
        // Bytes of L2.
        38 => 1 << 20,
        // Compute capability 9.0.
        75 => 9,
        76 => 0,
        97 => MOST_SHARED as c_int,
        // Memory pools.
        115 => 1,
        _ => 0,
    };
    call(|_| give(value, known))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceTotalMem_v2(bytes: Place<'_, usize>, _device: c_int) -> Status {
    call(|_| give(bytes, LARGEST_ALLOCATION))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDriverGetVersion(version: Place<'_, c_int>) -> Status {
    call(|_| give(version, 12040))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRetain(context: Place<'_, Handle>, _device: c_int) -> Status {
    call(|_| give(context, handle(CONTEXT)))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetCurrent(context: Place<'_, Handle>) -> Status {
    call(|_| give(context, handle(CURRENT.get())))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: Handle) -> Status {
    CURRENT.set(context as usize);
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> Status {
    call(|driver| {
        driver.finish();
        Ok(())
    })
}

// ---- memory ----------------------------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAlloc_v2(address: Place<'_, u64>, len: usize) -> Status {
    call(|driver| give(address, driver.allocate(len)?))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocAsync(address: Place<'_, u64>, len: usize, _stream: Handle) -> Status {
    cuMemAlloc_v2(address, len)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> Status {
    call(|driver| {
        driver.finish();
        Ok(driver.memory.free(address)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(address: u64, stream: Handle) -> Status {
    enqueue(stream, Work::Free { address })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostAlloc(address: Place<'_, Handle>, len: usize, _flags: c_uint) -> Status {
    call(|_| {
        let pinned =
            host::allocate(len).ok_or_else(|| failure(OUT_OF_MEMORY, format!("{len} pinned bytes")))?;
        give(address, handle(pinned))
    })
}

/// # Safety
/// The pinned memory at `address` is not used any more, nor by a recorded graph that is launched later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFreeHost(address: Handle) -> Status {
    call(|driver| {
        driver.finish();
        // SAFETY: the caller's promise, and all work that was queued is done.
        let freed = unsafe { host::free(address as usize) };
        if freed { Ok(()) } else { Err(failure(INVALID_VALUE, "not pinned")) }
    })
}

/// # Safety
/// `from` is the address of `len` bytes. They are readable until the call returns, and pinned ones until the copy is done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const c_void,
    len: usize,
    stream: Handle,
) -> Status {
    let from = from as usize;
    let work = if host::is_pinned(from, len) {
        Work::CopyInPinned { to, from, len }
    } else {
        // SAFETY: the caller's promise.
        Work::CopyIn { to, data: unsafe { host::read(from, len) } }
    };
    call(|driver| {
        driver.copied_in += len as u64;
        driver.enqueue(stream as usize, work);
        Ok(())
    })
}

/// The bytes that all copies so far have moved from the host to the device. It is no entry point of CUDA.
#[unsafe(no_mangle)]
pub extern "C" fn ptxsim_copied_in() -> u64 {
    driver().copied_in
}

/// The kind of the memory at an address, or its device.
#[unsafe(no_mangle)]
pub extern "C" fn cuPointerGetAttribute(value: Place<'_, u32>, attribute: c_int, address: u64) -> Status {
    const MEMORY_TYPE: c_int = 2;
    const DEVICE_ORDINAL: c_int = 9;
    const DEVICE_MEMORY: u32 = 2;
    call(|driver| {
        if !driver.memory.holds(address) {
            return Err(failure(INVALID_VALUE, format!("{address:#x} is not on the device")));
        }
        match attribute {
            MEMORY_TYPE => give(value, DEVICE_MEMORY),
            DEVICE_ORDINAL => give(value, 0),
            other => Err(failure(INVALID_VALUE, format!("pointer attribute {other}"))),
        }
    })
}

/// # Safety
/// `to` is the address of `len` bytes. They are writable until the call returns, and pinned ones until the copy is done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: u64,
    len: usize,
    stream: Handle,
) -> Status {
    call(|driver| {
        let to = to as usize;
        if host::is_pinned(to, len) {
            driver.enqueue(stream as usize, Work::CopyOutPinned { from, to, len });
            return Ok(());
        }
        driver.synchronize(stream as usize)?;
        let data = driver.memory.read(from, len)?;
        // SAFETY: the caller's promise, and there are `len` bytes of data.
        unsafe { host::write(to, data) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, len: usize, stream: Handle) -> Status {
    enqueue(stream, Work::CopyInside { from, to, len })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8Async(to: u64, value: u8, len: usize, stream: Handle) -> Status {
    enqueue(stream, Work::Fill { to, value, len })
}

// ---- modules and launches --------------------------------------------------------------------------------------------

/// # Safety
/// `image` is null or the address of text that ends in a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(module: Place<'_, Handle>, image: *const c_void) -> Status {
    // SAFETY: the caller's promise.
    let text = unsafe { text_at(image.cast()) };
    call(|driver| give(module, handle(driver.load(&text?)?)))
}

/// # Safety
/// `name` is null or the address of text that ends in a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(
    function: Place<'_, Handle>,
    module: Handle,
    name: *const c_char,
) -> Status {
    // SAFETY: the caller's promise.
    let name = unsafe { text_at(name) };
    call(|driver| give(function, handle(driver.function(module as usize, &name?)?)))
}

/// The only known attribute is the most dynamic shared memory.
#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(function: Handle, attribute: c_int, value: c_int) -> Status {
    call(|driver| {
        let bytes = usize::try_from(value).ok().filter(|&bytes| attribute == 8 && bytes <= MOST_SHARED);
        let bytes =
            bytes.ok_or_else(|| failure(INVALID_VALUE, format!("attribute {attribute} of {value}")))?;
        driver.function_at(function as usize)?.most_dynamic_shared = bytes.max(DEFAULT_SHARED);
        Ok(())
    })
}

/// # Safety
/// `parameters` is the address of one address for each parameter of the kernel, each of as many readable bytes as it has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    dynamic_shared: c_uint,
    stream: Handle,
    parameters: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> Status {
    call(|driver| {
        let (function, dynamic_shared) = (function as usize, dynamic_shared as usize);
        let known = driver.function_at(function)?;
        let kernel = &known.module.kernels[known.index];
        if dynamic_shared > known.most_dynamic_shared {
            let most = known.most_dynamic_shared;
            let text =
                format!("{}: {dynamic_shared} bytes of dynamic shared memory, {most} asked for", kernel.name);
            return Err(failure(INVALID_VALUE, text));
        }
        let mut buffer = Vec::new();
        for (index, parameter) in kernel.parameters.iter().enumerate() {
            buffer.resize(parameter.offset, 0);
            // SAFETY: the caller promises one address for each parameter of the kernel.
            let value = unsafe { parameters.add(index).read() };
            // SAFETY: the caller promises as many readable bytes as the parameter has.
            buffer.extend(unsafe { host::read(value as usize, parameter.size) });
        }
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let launch = Queued { function, grid, block, dynamic_shared, parameters: buffer };
        driver.enqueue(stream as usize, Work::Launch(launch));
        Ok(())
    })
}

// ---- streams, events, graphs -----------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamCreate(stream: Place<'_, Handle>, _flags: c_uint) -> Status {
    call(|driver| {
        let next = driver.streams.len().max(1);
        driver.stream_at(next);
        give(stream, handle(next))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: Handle) -> Status {
    cuStreamSynchronize(stream)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(stream: Handle) -> Status {
    call(|driver| driver.synchronize(stream as usize))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) -> Status {
    call(|driver| driver.wait(stream as usize, event as usize))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(stream: Handle, _mode: c_int) -> Status {
    call(|driver| {
        driver.begin_capture(stream as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamEndCapture(stream: Handle, graph: Place<'_, Handle>) -> Status {
    call(|driver| {
        let captured = driver.end_capture(stream as usize)?;
        give(graph, handle(captured))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphInstantiateWithFlags(
    exec: Place<'_, Handle>,
    graph: Handle,
    _flags: c_ulonglong,
) -> Status {
    call(|_| give(exec, graph))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphLaunch(exec: Handle, stream: Handle) -> Status {
    call(|driver| driver.replay(exec as usize, stream as usize))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventCreate(event: Place<'_, Handle>, _flags: c_uint) -> Status {
    call(|driver| {
        driver.events.push(Event::default());
        give(event, handle(driver.events.len()))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> Status {
    call(|driver| driver.record(event as usize, stream as usize))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(event: Handle) -> Status {
    call(|driver| match driver.event_at(event as usize)?.point {
        Some(point) => driver.reach(point),
        None => Ok(()),
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventElapsedTime(milliseconds: Place<'_, f32>, start: Handle, end: Handle) -> Status {
    call(|driver| {
        let start = driver.event_at(start as usize)?.executed;
        let executed = driver.event_at(end as usize)?.executed.saturating_sub(start);
        give(milliseconds, executed as f32 / 1e6)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(event: Handle) -> Status {
    cuEventSynchronize(event)
}
