//! Memory on the device: this crate's own, or lent by another library in the same process.

use std::ops::Deref;

use cudarc::driver::CudaSlice;

use crate::device::Device;
use crate::error::{DeviceError, Result, doing};
use crate::launch::{self, Plain};

/// Kernels read 16 bytes at once.
const ALIGNMENT: u64 = 16;

/// Numbers on the device.
pub(crate) enum Memory<T> {
    Own(CudaSlice<T>),
    /// `None` once it is given back.
    Lent(Option<CudaSlice<T>>),
}

impl<T: Plain> Memory<T> {
    /// Takes numbers that another library has in the device's memory, where they lie. The lender keeps them until this is dropped,
    /// and has finished writing.
    ///
    /// # Errors
    /// [`DeviceError::Request`] when an address is misaligned or none of the device's memory.
    pub fn lent(device: &Device, what: &'static str, address: u64, len: usize) -> Result<Self> {
        if !address.is_multiple_of(ALIGNMENT) {
            let expected = format_args!("an address at a multiple of {ALIGNMENT} bytes");
            return Err(DeviceError::request(what, expected, format_args!("{address:#x}")));
        }
        doing("binding the context", device.compute.context().bind_to_thread())?;
        let last = (len * size_of::<T>()).checked_sub(1).and_then(|last| address.checked_add(last as u64));
        for byte in [Some(address), last] {
            if !byte.is_some_and(launch::is_on_device) {
                let found = format_args!("{} bytes at {address:#x}", len * size_of::<T>());
                return Err(DeviceError::request(what, "memory of the first device", found));
            }
        }
        Ok(Self::Lent(Some(launch::borrowed(&device.compute, address, len))))
    }
}

impl<T> Deref for Memory<T> {
    type Target = CudaSlice<T>;

    fn deref(&self) -> &CudaSlice<T> {
        match self {
            Self::Own(slice) => slice,
            Self::Lent(slice) => slice.as_ref().expect("it is given back when it is dropped"),
        }
    }
}

impl<T> Drop for Memory<T> {
    /// The lender may free its memory afterwards, so the kernels that read it are waited for.
    fn drop(&mut self) {
        if let Self::Lent(slice) = self
            && let Some(slice) = slice.take()
        {
            let stream = slice.stream().clone();
            slice.leak();
            // A failure here is a kernel's. The call that reads the kernel's results returns it.
            let _ = stream.synchronize();
        }
    }
}
