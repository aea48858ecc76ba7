//! A stand-in for the CUDA driver library, over the interpreter. It has the entry points that cudarc calls, and no others.
//!
//! A program that has loaded this shared library gets it again when it asks for `libcuda.so`. Work is done as late as the
//! rules of streams allow: when something waits for it. Without an event, one stream does not wait for another. So work that
//! a program forgot to wait for has not been done yet.
//!
//! It differs from a GPU in three ways. The next wait for a stream returns its fault as an error text and clears it, while a
//! real context is lost. All work of a process takes turns. A million executed instructions count as one millisecond.

pub mod api;
mod host;
mod install;
mod stream;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::finding::Fault;
use crate::memory::Memory;
use crate::program::Module;

pub use api::last_failure;
pub use install::{copied_in, install};
use stream::{Stream, Work};

/// The result of a call: 0, or one of the driver's error numbers.
pub type Status = i32;

/// An error number and its text.
#[derive(Clone, Debug)]
struct Failure {
    status: Status,
    text: String,
}

type Outcome<T> = Result<T, Failure>;

const INVALID_VALUE: Status = 1;
const OUT_OF_MEMORY: Status = 2;
const INVALID_PTX: Status = 218;
const INVALID_HANDLE: Status = 400;
const NOT_FOUND: Status = 500;
const LAUNCH_FAILED: Status = 719;
const NOT_SUPPORTED: Status = 801;

fn failure(status: Status, text: impl Into<String>) -> Failure {
    Failure { status, text: text.into() }
}

impl From<Box<Fault>> for Failure {
    fn from(fault: Box<Fault>) -> Self {
        failure(INVALID_VALUE, fault.to_string())
    }
}

/// The most bytes per allocation. The interpreter needs forty times as many.
const LARGEST_ALLOCATION: usize = 1 << 28;

/// A kernel gets more dynamic shared memory than this only on request.
const DEFAULT_SHARED: usize = 48 * 1024;

/// A kernel with the caller's settings.
struct Function {
    module: Arc<Module>,
    index: usize,
    most_dynamic_shared: usize,
}

/// A point in a stream.
#[derive(Clone, Copy, Debug)]
struct Point {
    stream: usize,
    /// The amount of the stream's work before it.
    position: u64,
}

/// An event: its last record, and the number of executed instructions when it happened.
#[derive(Clone, Copy, Debug, Default)]
struct Event {
    point: Option<Point>,
    executed: u64,
}

/// The state behind the entry points. A handle is an index plus 1.
#[derive(Default)]
struct Driver {
    memory: Memory,
    modules: HashMap<String, Arc<Module>>,
    loaded: Vec<Arc<Module>>,
    functions: Vec<Function>,
    streams: Vec<Stream>,
    events: Vec<Event>,
    graphs: Vec<Vec<Work>>,
    /// Bytes that copies have moved from the host to the device.
    copied_in: u64,
    /// Executed instructions, counted once per thread. This is the only clock.
    executed: u64,
}

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(Mutex::default);

/// Locks the driver. A panic while it was locked is a bug of this crate that has already been reported.
fn driver() -> MutexGuard<'static, Driver> {
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    fn load(&mut self, text: &str) -> Outcome<usize> {
        let module = match self.modules.get(text) {
            Some(module) => Arc::clone(module),
            None => {
                let module = Module::parse(text).map_err(|error| failure(INVALID_PTX, error.to_string()))?;
                Arc::clone(self.modules.entry(text.to_owned()).or_insert(Arc::new(module)))
            }
        };
        self.loaded.push(module);
        Ok(self.loaded.len())
    }

    fn function(&mut self, module: usize, name: &str) -> Outcome<usize> {
        let module = self.loaded.get(module.wrapping_sub(1));
        let module = Arc::clone(module.ok_or_else(|| failure(INVALID_HANDLE, "no such module"))?);
        let index = module.kernels.iter().position(|kernel| kernel.name == name);
        let index = index.ok_or_else(|| failure(NOT_FOUND, format!("no kernel '{name}'")))?;
        self.functions.push(Function { module, index, most_dynamic_shared: DEFAULT_SHARED });
        Ok(self.functions.len())
    }

    fn function_at(&mut self, handle: usize) -> Outcome<&mut Function> {
        self.functions
            .get_mut(handle.wrapping_sub(1))
            .ok_or_else(|| failure(INVALID_HANDLE, "no such function"))
    }

    fn allocate(&mut self, len: usize) -> Outcome<u64> {
        if len > LARGEST_ALLOCATION {
            return Err(failure(
                OUT_OF_MEMORY,
                format!("out of memory: {len} bytes, of at most {LARGEST_ALLOCATION}"),
            ));
        }
        Ok(self.memory.allocate(len))
    }

    /// The stream of a handle. The null stream is a stream of its own.
    fn stream_at(&mut self, handle: usize) -> &mut Stream {
        if self.streams.len() <= handle {
            self.streams.resize_with(handle + 1, Stream::default);
        }
        &mut self.streams[handle]
    }

    fn event_at(&mut self, handle: usize) -> Outcome<&mut Event> {
        self.events.get_mut(handle.wrapping_sub(1)).ok_or_else(|| failure(INVALID_HANDLE, "no such event"))
    }
}
