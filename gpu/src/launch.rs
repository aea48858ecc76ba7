//! Everything that the compiler cannot check: launches, unwritten memory, the search for the driver.
//!
//! A launch is built from arguments with their extents. It goes to the driver only if the number and sizes of the arguments
//! are those of the kernel's `.param` list, and every buffer has exactly the elements of its extents.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig,
    PinnedHostSlice, PushKernelArg, SyncOnDrop, sys,
};

use crate::error::{DeviceError, Result, doing};

/// Numbers of which every bit pattern is one, on the host and on the device.
pub trait Plain: DeviceRepr + Copy + Default + Send + Sync {}

impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for f32 {}
impl Plain for f64 {}

/// Whether there is a driver library. Without one, every other call would panic.
#[must_use]
pub(crate) fn driver_is_present() -> bool {
    // SAFETY: it opens a library by the driver's name and runs only its initialisers.
    unsafe { sys::is_culib_present() }
}

/// Stops cudarc from recording an event at every use of a buffer. With such events no graph can be captured.
pub(crate) fn forget_events(context: &CudaContext) {
    // SAFETY: the caller's device has one stream, which orders all its work.
    unsafe { context.disable_event_tracking() };
}

/// Allocates device memory, not yet written.
pub(crate) fn allocate<T: Plain>(stream: &Arc<CudaStream>, len: usize) -> Result<CudaSlice<T>> {
    // SAFETY: every bit pattern is a `T`, and kernels write before they read.
    let memory = unsafe { stream.alloc(len) };
    doing(&format!("allocating {len} numbers of {} bytes", size_of::<T>()), memory)
}

/// Allocates pinned host memory of no particular content.
pub(crate) fn allocate_pinned<T: Plain>(
    context: &Arc<CudaContext>,
    len: usize,
) -> Result<PinnedHostSlice<T>> {
    // SAFETY: every bit pattern is a `T`.
    doing("allocating pinned memory", unsafe { context.alloc_pinned(len) })
}

/// Whether an address is one of the first device's memory. The context is current.
pub(crate) fn is_on_device(address: u64) -> bool {
    let attribute = |attribute| {
        let mut value = 0_u32;
        // SAFETY: both attributes are 32 bits wide, and the driver follows no address but that of the value.
        let status = unsafe { sys::cuPointerGetAttribute((&raw mut value).cast(), attribute, address) };
        (status == sys::CUresult::CUDA_SUCCESS).then_some(value)
    };
    let kind = attribute(sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
    let device = attribute(sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
    kind == Some(sys::CUmemorytype::CU_MEMORYTYPE_DEVICE as u32) && device == Some(0)
}

/// Numbers at an address of the device that this crate does not own. They are given back by [`CudaSlice::leak`].
pub(crate) fn borrowed<T: Plain>(stream: &Arc<CudaStream>, address: u64, len: usize) -> CudaSlice<T> {
    // SAFETY: every bit pattern is a `T`. The host never follows the address; a kernel or a copy that leaves the allocation is a
    // fault of the device, which the driver reports.
    unsafe { stream.upgrade_device_ptr(address, len) }
}

/// A kernel, and the bytes of each of its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub name: String,
    pub function: CudaFunction,
    pub signature: Vec<usize>,
}

/// The blocks of a launch, the threads per block, and the bytes of dynamic shared memory per block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub blocks: [usize; 3],
    pub threads: usize,
    pub shared: usize,
}

impl Grid {
    pub fn new(blocks: [usize; 3], threads: usize) -> Self {
        Self { blocks, threads, shared: 0 }
    }

    pub fn with_shared(self, shared: usize) -> Self {
        Self { shared, ..self }
    }
}

/// A kernel gets more dynamic shared memory than this only on request.
const DEFAULT_SHARED: usize = 48 * 1024;

/// An argument in the form that the driver takes.
enum Argument<'a> {
    Word(u32),
    /// A null address.
    Nothing,
    /// An address, and the guard that orders other streams' work on its memory behind this launch.
    Address(u64, #[allow(dead_code, reason = "works when it is dropped")] SyncOnDrop<'a>),
}

impl Argument<'_> {
    fn size(&self) -> usize {
        match self {
            Self::Word(_) => size_of::<u32>(),
            Self::Nothing | Self::Address(..) => size_of::<u64>(),
        }
    }
}

/// A launch under construction. [`Launch::run`] reports the first wrong argument.
pub(crate) struct Launch<'a> {
    stream: &'a CudaStream,
    kernel: &'a Kernel,
    grid: Grid,
    arguments: Vec<Argument<'a>>,
    wrong: Option<String>,
}

impl<'a> Launch<'a> {
    pub fn new(stream: &'a CudaStream, kernel: &'a Kernel, grid: Grid) -> Self {
        Self { stream, kernel, grid, arguments: Vec::new(), wrong: None }
    }

    /// A buffer that the kernel reads, with its extents.
    pub fn input<T>(mut self, buffer: &'a impl DevicePtr<T>, extents: &[usize]) -> Self {
        self.check_extents(buffer.len(), extents);
        let (address, order) = buffer.device_ptr(self.stream);
        self.arguments.push(Argument::Address(address, order));
        self
    }

    /// A buffer that the kernel reads, or a null address.
    pub fn optional<T>(mut self, buffer: Option<&'a impl DevicePtr<T>>, extents: &[usize]) -> Self {
        match buffer {
            Some(buffer) => self.input(buffer, extents),
            None => {
                self.arguments.push(Argument::Nothing);
                self
            }
        }
    }

    /// A buffer that the kernel writes, with its extents.
    pub fn output<T>(mut self, buffer: &'a mut impl DevicePtrMut<T>, extents: &[usize]) -> Self {
        self.check_extents(buffer.len(), extents);
        let (address, order) = buffer.device_ptr_mut(self.stream);
        self.arguments.push(Argument::Address(address, order));
        self
    }

    /// A size or an index.
    pub fn int(mut self, value: usize) -> Self {
        match i32::try_from(value) {
            Ok(value) => self.arguments.push(Argument::Word(value.cast_unsigned())),
            Err(_) => self.refuse(format!("{value} does not fit 31 bits")),
        }
        self
    }

    /// Sizes or indices.
    pub fn ints(self, values: &[usize]) -> Self {
        values.iter().fold(self, |launch, &value| launch.int(value))
    }

    /// A real number.
    pub fn real(mut self, value: f32) -> Self {
        self.arguments.push(Argument::Word(value.to_bits()));
        self
    }

    /// Hands the launch to the driver.
    pub fn run(self) -> Result<()> {
        self.check().map_err(|reason| DeviceError::Launch { kernel: self.kernel.name.clone(), reason })?;
        let extent = |axis: usize| self.grid.blocks[axis] as u32;
        let config = LaunchConfig {
            grid_dim: (extent(0), extent(1), extent(2)),
            block_dim: (self.grid.threads as u32, 1, 1),
            shared_mem_bytes: self.grid.shared as u32,
        };
        let mut builder = self.stream.launch_builder(&self.kernel.function);
        for argument in &self.arguments {
            match argument {
                Argument::Word(word) => builder.arg(word),
                Argument::Nothing => builder.arg(&0_u64),
                Argument::Address(address, _) => builder.arg(address),
            };
        }
        // SAFETY: the arguments have the number and the sizes of the kernel's parameters. Every buffer has the elements of
        // its extents, and the kernel's size arguments keep its accesses inside them.
        let launched = unsafe { builder.launch(config) };
        doing(&format!("launching {}", self.kernel.name), launched).map(|_| ())
    }

    fn refuse(&mut self, reason: String) {
        self.wrong.get_or_insert(reason);
    }

    fn check_extents(&mut self, found: usize, extents: &[usize]) {
        let expected = extents.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        let index = self.arguments.len();
        if expected != Some(found) {
            self.refuse(format!("argument {index}: expected {extents:?} elements, found {found}"));
        } else if found > i32::MAX as usize {
            self.refuse(format!("argument {index}: {extents:?} elements do not fit 31 bits"));
        }
    }

    fn check(&self) -> Result<(), String> {
        if let Some(reason) = &self.wrong {
            return Err(reason.clone());
        }
        let found: Vec<usize> = self.arguments.iter().map(Argument::size).collect();
        if found != self.kernel.signature {
            return Err(format!("expected parameters of {:?} bytes, found {found:?}", self.kernel.signature));
        }
        let Grid { blocks, threads, shared } = self.grid;
        if blocks.contains(&0) || blocks[0] > i32::MAX as usize || blocks[1].max(blocks[2]) > 65_535 {
            return Err(format!("a grid of {blocks:?} blocks"));
        }
        if threads == 0 || threads > 1024 {
            return Err(format!("blocks of {threads} threads"));
        }
        if shared > DEFAULT_SHARED {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let granted = self.kernel.function.set_attribute(attribute, shared as i32);
            return granted.map_err(|cause| format!("{shared} bytes of shared memory: {cause}"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "../tests/unit/launch.rs"]
mod tests;
