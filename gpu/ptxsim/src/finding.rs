//! Errors of a launch, with their places.

use std::fmt;

/// A rule that a launch broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An access that leaves its allocation, or hits none.
    #[error("{access} of {size} {space} bytes at {address}, which leaves {bounds}")]
    OutOfBounds {
        /// The kind of access.
        access: Access,
        /// `global` or `shared`.
        space: &'static str,
        /// Its bytes.
        size: usize,
        /// Its first byte.
        address: String,
        /// The bounds of the allocation.
        bounds: String,
    },
    /// An address that is not a multiple of the access's size.
    #[error("{access} of {size} {space} bytes at {address}, which is not aligned")]
    Misaligned {
        /// The kind of access.
        access: Access,
        /// `global` or `shared`.
        space: &'static str,
        /// Its bytes.
        size: usize,
        /// Its first byte.
        address: String,
    },
    /// A read of unwritten memory.
    #[error("read of {space} memory at {address} that nobody wrote")]
    Uninitialised {
        /// `global` or `shared`.
        space: &'static str,
        /// The address.
        address: String,
    },
    /// Two accesses that no barrier orders, one of them a write.
    #[error(
        "race: {access} of {space} memory at {address} that {other} also accesses, with no barrier between them"
    )]
    Race {
        /// The kind of the later access.
        access: Access,
        /// `global` or `shared`.
        space: &'static str,
        /// The address.
        address: String,
        /// The origin of the earlier access.
        other: String,
    },
    /// An access to bytes that an asynchronous copy is still writing.
    #[error(
        "{access} of shared memory at {address} while an asynchronous copy to it is under way: no wait completed it"
    )]
    CopyUnderWay {
        /// The kind of access.
        access: Access,
        /// The address.
        address: String,
    },
    /// A thread that ends with copies under way.
    #[error("the thread ends while {count} of its asynchronous copies are under way")]
    CopyNeverAwaited {
        /// Their number.
        count: usize,
    },
    /// A barrier that not all threads of the block reach together.
    #[error("divergent barrier: {missing} does not reach it")]
    DivergentBarrier {
        /// The missing thread or warp.
        missing: String,
    },
    /// A shuffle or product without all of its members.
    #[error("lanes {missing:#010x} of the warp do not take part")]
    MissingLanes {
        /// The mask of the missing lanes.
        missing: u32,
    },
    /// A register that is read before it is written.
    #[error("read of a register that the thread has not written")]
    UnwrittenRegister,
    /// A launch that does not fit its kernel.
    #[error("{0}")]
    Launch(String),
}

/// A kind of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An atomic operation.
    Atomic,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Atomic => "atomic operation",
        })
    }
}

/// A fault with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kernel.
    pub kernel: String,
    /// The block's index in the grid.
    pub block: [u32; 3],
    /// The thread's index in its block, counted over all axes.
    pub thread: u32,
    /// The line of the PTX text.
    pub line: usize,
    /// The instruction of that line.
    pub instruction: String,
    /// The broken rule.
    pub fault: Box<Fault>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, block: [x, y, z], thread, line, instruction, fault } = self;
        write!(
            f,
            "kernel {kernel}, block ({x}, {y}, {z}), thread {thread}, PTX line {line} ({instruction}): {fault}"
        )
    }
}

impl std::error::Error for Finding {}
