//! Pinned host memory that activations pass through on their way to the device.

use std::sync::Arc;

use cudarc::driver::{CudaContext, PinnedHostSlice, ValidAsZeroBits};

use crate::error::Result;
use crate::launch::{self, Plain};

/// Numbers per chunk.
pub(crate) const CHUNK: usize = 1 << 16;

/// Two pinned buffers per width.
pub(crate) struct Staging {
    halves: [PinnedHostSlice<u16>; 2],
    singles: [PinnedHostSlice<f32>; 2],
}

impl Staging {
    pub fn new(context: &Arc<CudaContext>) -> Result<Self> {
        let halves = || launch::allocate_pinned(context, CHUNK);
        let singles = || launch::allocate_pinned(context, CHUNK);
        Ok(Self { halves: [halves()?, halves()?], singles: [singles()?, singles()?] })
    }
}

/// Numbers that are uploaded through [`Staging`].
pub(crate) trait Staged: Plain + ValidAsZeroBits {
    fn buffers(staging: &mut Staging) -> &mut [PinnedHostSlice<Self>; 2]
    where
        Self: Sized;
}

impl Staged for u16 {
    fn buffers(staging: &mut Staging) -> &mut [PinnedHostSlice<Self>; 2] {
        &mut staging.halves
    }
}

impl Staged for f32 {
    fn buffers(staging: &mut Staging) -> &mut [PinnedHostSlice<Self>; 2] {
        &mut staging.singles
    }
}
