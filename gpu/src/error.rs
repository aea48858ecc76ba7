//! What can go wrong between this crate and a device.

use cudarc::driver::DriverError;
use laprox_reference::Error;

/// A device that is not there, or did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No driver library, or a driver without a device.
    #[error("no CUDA driver with a device on this machine")]
    NoDriver,
    /// A device that the kernels were not compiled for.
    #[error("{name}: compute capability {major}.{minor}, expected at least 8.0")]
    Capability {
        /// The device.
        name: String,
        /// What it has.
        major: i32,
        /// What it has, behind the point.
        minor: i32,
    },
    /// A call of the driver that failed.
    #[error("{doing}: {cause}")]
    Driver {
        /// What was being done.
        doing: String,
        /// What the driver said.
        cause: DriverError,
    },
    /// A launch that does not fit its kernel.
    #[error("kernel {kernel}: {reason}")]
    Launch {
        /// The kernel.
        kernel: String,
        /// What does not fit.
        reason: String,
    },
    /// A request that the kernels cannot serve.
    #[error("{what}: expected {expected}, found {found}")]
    Request {
        /// What was asked for.
        what: &'static str,
        /// What would do.
        expected: String,
        /// What it was.
        found: String,
    },
}

/// Says what was being done when a driver call failed.
pub(crate) fn doing<T>(what: &str, result: Result<T, DriverError>) -> Result<T, DeviceError> {
    result.map_err(|cause| DeviceError::Driver { doing: what.to_owned(), cause })
}

/// Refuses what was made for another layer.
pub(crate) fn require<T: Copy + PartialEq + std::fmt::Debug>(
    what: &'static str,
    expected: T,
    found: T,
) -> Result<(), DeviceError> {
    if found == expected {
        return Ok(());
    }
    Err(DeviceError::Request { what, expected: format!("{expected:?}"), found: format!("{found:?}") })
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        Self::Path { path: "gpu", reason: error.to_string() }
    }
}
