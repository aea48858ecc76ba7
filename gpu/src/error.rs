//! The errors of this crate and its device.

use std::fmt::{Debug, Display};

use cudarc::driver::DriverError;
use laprox_reference::Error;

/// A device that is missing, or did not do as it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No driver library, or a driver without a device.
    #[error("no CUDA driver with a device on this machine")]
    NoDriver,
    /// A device that cannot run the kernels.
    #[error("{name}: compute capability {major}.{minor}, expected at least 8.0")]
    Capability {
        /// The device.
        name: String,
        /// Its major version.
        major: i32,
        /// Its minor version.
        minor: i32,
    },
    /// A driver call that failed.
    #[error("{doing}: {cause}")]
    Driver {
        /// The action that failed.
        doing: String,
        /// The driver's error.
        cause: DriverError,
    },
    /// A launch that does not fit its kernel.
    #[error("kernel {kernel}: {reason}")]
    Launch {
        /// The kernel.
        kernel: String,
        /// The rule that is broken.
        reason: String,
    },
    /// A request that the kernels cannot serve.
    #[error("{what}: expected {expected}, found {found}")]
    Request {
        /// The quantity.
        what: &'static str,
        /// The value that it should have.
        expected: String,
        /// The value that it has.
        found: String,
    },
}

/// A result of this crate.
pub type Result<T, E = DeviceError> = std::result::Result<T, E>;

impl DeviceError {
    /// [`DeviceError::Request`], both values in words.
    pub(crate) fn request(what: &'static str, expected: impl Display, found: impl Display) -> Self {
        Self::Request { what, expected: expected.to_string(), found: found.to_string() }
    }
}

/// Adds the action to the error of a driver call.
pub(crate) fn doing<T>(what: &str, result: Result<T, DriverError>) -> Result<T> {
    result.map_err(|cause| DeviceError::Driver { doing: what.to_owned(), cause })
}

/// Refuses a value that was made for another layer.
pub(crate) fn require<T: Copy + PartialEq + Debug>(what: &'static str, expected: T, found: T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(DeviceError::request(what, format_args!("{expected:?}"), format_args!("{found:?}")))
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        Self::Path { path: "gpu", reason: error.to_string() }
    }
}
