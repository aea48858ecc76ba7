//! The entry points. Each does what the CUDA driver API's documentation says of its name, as far as cudarc uses it.
#![allow(
    non_snake_case,
    clippy::missing_safety_doc,
    missing_docs,
    reason = "the driver's own names and contracts"
)]
#![allow(clippy::not_unsafe_ptr_arg_deref, reason = "an extern function cannot be called from safe code")]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};

use super::stream::Work;
use super::{
    DEFAULT_SHARED, Driver, Event, INVALID_VALUE, LARGEST_ALLOCATION, LAUNCH_FAILED, OUT_OF_MEMORY, Outcome,
    Status, driver, failure, host,
};
use crate::launch::MOST_SHARED;

type Handle = *mut c_void;

/// The one device's one context.
const CONTEXT: usize = 0x5157;

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    /// The text of the last failure on this thread.
    static TEXT: RefCell<CString> = RefCell::default();
}

/// Runs a call on the driver and remembers why it failed.
fn call(action: impl FnOnce(&mut Driver) -> Outcome<()>) -> Status {
    let outcome = action(&mut driver());
    let Err(failure) = outcome else { return 0 };
    let text = CString::new(failure.text.replace('\0', " ")).unwrap_or_default();
    TEXT.with_borrow_mut(|last| *last = text);
    failure.status
}

/// Why the last call on this thread failed that did.
#[must_use]
pub fn last_failure() -> String {
    TEXT.with_borrow(|last| last.to_string_lossy().into_owned())
}

/// Puts a result where the caller wants it.
fn give<T>(place: *mut T, value: T) -> Outcome<()> {
    if place.is_null() {
        return Err(failure(INVALID_VALUE, "no place for the result"));
    }
    // SAFETY: the caller promises a writable place, and it is not null.
    unsafe { place.write(value) };
    Ok(())
}

fn handle(index: usize) -> Handle {
    index as Handle
}

fn text_at(text: *const c_char) -> Outcome<String> {
    if text.is_null() {
        return Err(failure(INVALID_VALUE, "no text"));
    }
    // SAFETY: the caller promises text that ends in a zero, and it is not null.
    Ok(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_flags: c_uint) -> Status {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorString(_status: Status, text: *mut *const c_char) -> Status {
    call(|_| give(text, TEXT.with_borrow(|last| last.as_ptr())))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorName(status: Status, text: *mut *const c_char) -> Status {
    let name = if status == LAUNCH_FAILED { c"CUDA_ERROR_LAUNCH_FAILED" } else { c"CUDA_ERROR" };
    call(|_| give(text, name.as_ptr()))
}

// ---- the device and its context --------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Status {
    call(|_| give(count, 1))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Status {
    call(|_| if ordinal == 0 { give(device, 0) } else { Err(failure(101, "no such device")) })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, _device: c_int) -> Status {
    let text = c"PTX interpreter".to_bytes_with_nul();
    if (len as usize) < text.len() {
        return INVALID_VALUE;
    }
    // SAFETY: the caller promises `len` writable bytes, and the text is no longer.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), text.len()) };
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, _device: c_int) -> Status {
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
pub extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> Status {
    call(|_| give(bytes, LARGEST_ALLOCATION))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    call(|_| give(version, 12040))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, _device: c_int) -> Status {
    call(|_| give(context, handle(CONTEXT)))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> Status {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetCurrent(context: *mut Handle) -> Status {
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
pub extern "C" fn cuMemAlloc_v2(address: *mut u64, len: usize) -> Status {
    call(|driver| give(address, driver.allocate(len)?))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocAsync(address: *mut u64, len: usize, _stream: Handle) -> Status {
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
    call(|driver| {
        driver.enqueue(stream as usize, Work::Free { address });
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostAlloc(address: *mut Handle, len: usize, _flags: c_uint) -> Status {
    call(|_| {
        let pinned =
            host::allocate(len).ok_or_else(|| failure(OUT_OF_MEMORY, format!("{len} pinned bytes")))?;
        give(address, handle(pinned))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(address: Handle) -> Status {
    call(|driver| {
        driver.finish();
        if host::free(address as usize) { Ok(()) } else { Err(failure(INVALID_VALUE, "not pinned")) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, len: usize, stream: Handle) -> Status {
    call(|driver| {
        let from = from as usize;
        let work = if host::is_pinned(from, len) {
            Work::CopyInPinned { to, from, len }
        } else {
            Work::CopyIn { to, data: host::read(from, len) }
        };
        driver.enqueue(stream as usize, work);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, len: usize, stream: Handle) -> Status {
    call(|driver| {
        let to = to as usize;
        if host::is_pinned(to, len) {
            driver.enqueue(stream as usize, Work::CopyOutPinned { from, to, len });
            return Ok(());
        }
        driver.synchronize(stream as usize)?;
        host::write(to, driver.memory.read(from, len)?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, len: usize, stream: Handle) -> Status {
    call(|driver| {
        driver.enqueue(stream as usize, Work::CopyInside { from, to, len });
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8Async(to: u64, value: u8, len: usize, stream: Handle) -> Status {
    call(|driver| {
        driver.enqueue(stream as usize, Work::Fill { to, value, len });
        Ok(())
    })
}

// ---- modules and launches --------------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoadData(module: *mut Handle, image: *const c_void) -> Status {
    call(|driver| {
        let loaded = driver.load(&text_at(image.cast())?)?;
        give(module, handle(loaded))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(_module: Handle) -> Status {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char) -> Status {
    call(|driver| {
        let found = driver.function(module as usize, &text_at(name)?)?;
        give(function, handle(found))
    })
}

/// Only the most dynamic shared memory is an attribute that is known.
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

#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchKernel(
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
            // SAFETY: the caller promises one address for each parameter of the kernel.
            let place = unsafe { parameters.add(index).read() };
            buffer.resize(parameter.offset, 0);
            buffer.extend(host::read(place as usize, parameter.size));
        }
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        driver.enqueue(
            stream as usize,
            Work::Launch { function, grid, block, dynamic_shared, parameters: buffer },
        );
        Ok(())
    })
}

// ---- streams, events, graphs -----------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamCreate(stream: *mut Handle, _flags: c_uint) -> Status {
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
pub extern "C" fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) -> Status {
    call(|driver| {
        let captured = driver.end_capture(stream as usize)?;
        give(graph, handle(captured))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphInstantiateWithFlags(
    exec: *mut Handle,
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
pub extern "C" fn cuGraphExecDestroy(_exec: Handle) -> Status {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDestroy(_graph: Handle) -> Status {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventCreate(event: *mut Handle, _flags: c_uint) -> Status {
    call(|driver| {
        driver.events.push(Event::default());
        give(event, handle(driver.events.len()))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(_event: Handle) -> Status {
    0
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
pub extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle) -> Status {
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
