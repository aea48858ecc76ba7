//! The device: opened once, with every kernel loaded.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use cudarc::driver::sys::{CUdevice_attribute, CUresult};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DriverError};
use cudarc::nvrtc::Ptx;

use crate::error::{DeviceError, Result, doing};
use crate::launch::{self, Grid, Kernel, Launch, Plain};
use crate::ptx;
use crate::staging::Staging;

/// The version of the kernels that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one that explains the kernel: f32, any shape.
    Naive,
    /// The fast one. Shapes and formats without one run the naive version.
    Shipped,
}

/// The streams that order a device's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streams {
    /// Kernels and copies to the device have a stream each, with events between them.
    Two,
    /// One stream for all work, without events.
    One,
}

/// An open device. Kernels run on one stream, copies to the device on another.
pub struct Device {
    name: String,
    multiprocessors: usize,
    version: Version,
    streams: Streams,
    pub(crate) compute: Arc<CudaStream>,
    pub(crate) copy: Arc<CudaStream>,
    pub(crate) staging: Mutex<Staging>,
    kernels: HashMap<String, Kernel>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// Opens the first device with the kernels that ship. `None` without a driver or a device.
    ///
    /// # Errors
    /// [`DeviceError`] if the device cannot be used.
    pub fn open() -> Result<Option<Self>> {
        Self::open_with(ptx::TEXT)
    }

    /// The same with the kernels of another PTX text.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_with(text: &str) -> Result<Option<Self>> {
        if !launch::driver_is_present() {
            return Ok(None);
        }
        match CudaContext::device_count() {
            // A driver without a device refuses to start.
            Ok(..1) | Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(None),
            Ok(_) => Self::start(text, Streams::Two).map(Some),
            Err(cause) => Err(DeviceError::Driver { doing: "starting the driver".into(), cause }),
        }
    }

    /// The same with one stream for all work. Its launches can be recorded as a graph.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_for_timing() -> Result<Option<Self>> {
        match Self::open()? {
            Some(_) => Self::start(ptx::TEXT, Streams::One).map(Some),
            None => Ok(None),
        }
    }

    fn start(text: &str, streams: Streams) -> Result<Self> {
        let context = doing("opening the device", CudaContext::new(0))?;
        let name = doing("asking for the device's name", context.name())?;
        let capability = doing("asking for the compute capability", context.compute_capability())?;
        if capability < (8, 0) {
            let (major, minor) = capability;
            return Err(DeviceError::Capability { name, major, minor });
        }
        let count = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        let multiprocessors = doing("counting multiprocessors", count)?.max(1) as usize;
        let module = doing("loading the kernels", context.load_module(Ptx::from_src(text)))?;
        let mut kernels = HashMap::new();
        for (name, signature) in ptx::signatures(text) {
            let function = doing(&format!("loading {name}"), module.load_function(&name))?;
            kernels.insert(name.clone(), Kernel { name, function, signature });
        }
        let stream = || doing("creating a stream", context.new_stream());
        let compute = stream()?;
        let copy = match streams {
            Streams::Two => stream()?,
            Streams::One => Arc::clone(&compute),
        };
        let staging = Mutex::new(Staging::new(&context)?);
        if streams == Streams::One {
            launch::forget_events(&context);
        }
        Ok(Self {
            name,
            multiprocessors,
            version: Version::Shipped,
            streams,
            compute,
            copy,
            staging,
            kernels,
        })
    }

    /// The same device, running the naive versions.
    #[must_use]
    pub fn naive(self) -> Self {
        Self { version: Version::Naive, ..self }
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the kernels that runs.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn multiprocessors(&self) -> usize {
        self.multiprocessors
    }

    /// Waits for a copy from pinned memory, unless an event tells when it is done.
    pub(crate) fn settle(&self) -> Result<()> {
        match self.streams {
            Streams::Two => Ok(()),
            Streams::One => doing("waiting for a copy", self.copy.synchronize()),
        }
    }

    /// Begins a launch, whose arguments follow.
    pub(crate) fn launch(&self, name: &str, grid: Grid) -> Result<Launch<'_>> {
        let kernel = self.kernels.get(name);
        let missing = || DeviceError::Launch { kernel: name.to_owned(), reason: "not in the PTX".into() };
        Ok(Launch::new(&self.compute, kernel.ok_or_else(missing)?, grid))
    }

    /// Allocates memory, not yet written.
    pub(crate) fn allocate<T: Plain>(&self, extents: &[usize]) -> Result<CudaSlice<T>> {
        launch::allocate(&self.compute, extents.iter().product())
    }

    /// Copies numbers to the device while kernels run.
    pub(crate) fn copy_in<T: Plain>(&self, numbers: &[T]) -> Result<CudaSlice<T>> {
        doing("copying to the device", self.copy.clone_htod(numbers))
    }

    /// Waits for a buffer and copies it to the host.
    pub(crate) fn copy_out<T: Plain>(&self, buffer: &CudaSlice<T>) -> Result<Vec<T>> {
        let numbers = doing("copying from the device", self.compute.clone_dtoh(buffer))?;
        doing("waiting for the device", self.compute.synchronize())?;
        Ok(numbers)
    }
}
