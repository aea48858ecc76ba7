//! What is wrong with a launch, and where.

use std::fmt;

/// A rule that a launch broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An access that leaves its allocation, or hits none.
    #[error("{access} of {size} {space} bytes at {address}, which leaves {bounds}")]
    OutOfBounds {
        /// What the access does.
        access: Access,
        /// `global` or `shared`.
        space: &'static str,
        /// Its bytes.
        size: usize,
        /// Where it begins.
        address: String,
        /// What it should have stayed inside.
        bounds: String,
    },
    /// An address that is no multiple of the access's size.
    #[error("{access} of {size} {space} bytes at {address}, which is not aligned")]
    Misaligned {
        /// What the access does.
        access: Access,
        /// `global` or `shared`.
        space: &'static str,
        /// Its bytes.
        size: usize,
        /// Where it begins.
        address: String,
    },
    /// A read of memory that nobody wrote.
    #[error("read of {space} memory at {address} that nobody wrote")]
    Uninitialised {
        /// `global` or `shared`.
        space: &'static str,
        /// Where.
        address: String,
    },
    /// Two accesses that no barrier orders, one of them a write.
    #[error(
        "race: {access} of {space} memory at {address} that {other} also accesses, with no barrier between them"
    )]
    Race {
        /// What the later one does.
        access: Access,
        /// `global` or `shared`.
        space: &'static str,
        /// Where.
        address: String,
        /// Who did the earlier one.
        other: String,
    },
    /// An access to bytes that an asynchronous copy is still writing.
    #[error(
        "{access} of shared memory at {address} while an asynchronous copy to it is under way: no wait completed it"
    )]
    CopyUnderWay {
        /// What the access does.
        access: Access,
        /// Where.
        address: String,
    },
    /// A thread that ends with copies under way.
    #[error("the thread ends while {count} of its asynchronous copies are under way")]
    CopyNeverAwaited {
        /// How many.
        count: usize,
    },
    /// A barrier that not all threads of the block reach together.
    #[error("divergent barrier: {missing} does not reach it")]
    DivergentBarrier {
        /// Who is missing.
        missing: String,
    },
    /// A shuffle or product whose members are not all there.
    #[error("lanes {missing:#010x} of the warp do not take part")]
    MissingLanes {
        /// The mask of those that are missing.
        missing: u32,
    },
    /// A register that is read before it is written.
    #[error("read of a register that the thread has not written")]
    UnwrittenRegister,
    /// A launch that the kernel does not fit.
    #[error("{0}")]
    Launch(String),
}

/// What an access does.
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
    /// The instruction there.
    pub instruction: String,
    /// What is wrong.
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
