//! A parsed module: kernels and their instructions.

use crate::lanes::Lanes;

/// All kernels of one PTX text.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// In the order of the text.
    pub kernels: Vec<Kernel>,
}

impl Module {
    /// The kernel with a name.
    #[must_use]
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }
}

/// A parameter's place in the kernel's parameter buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The first byte.
    pub offset: usize,
    /// Its bytes.
    pub size: usize,
}

/// One entry function.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Its parameters, in order.
    pub parameters: Vec<Parameter>,
    /// Bytes of its shared variables.
    pub static_shared: usize,
    /// The first byte of dynamic shared memory.
    pub dynamic_shared: usize,
    /// The most threads per block.
    pub most_threads: usize,
    pub(crate) registers: usize,
    pub(crate) instructions: Vec<Instruction>,
}

/// An index into a warp's registers.
pub(crate) type Register = usize;

/// A value that an instruction reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    Register(Register),
    Immediate(u64),
    Special(Special),
}

/// A special register: a thread's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// `%tid`, along an axis.
    Thread(usize),
    /// `%ntid`
    BlockExtent(usize),
    /// `%ctaid`
    Block(usize),
    /// `%nctaid`
    GridExtent(usize),
}

/// A base and an offset in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub base: Operand,
    pub offset: i64,
}

/// An address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Global,
    Shared,
}

/// `to = f(a, b, c)` of one lane, for all lanes of a warp.
pub(crate) type Arithmetic = fn(&Lanes, &Lanes, &Lanes) -> Lanes;

/// The new value of an atomic operation, from the old value and the operand.
pub(crate) type Combine = fn(u32, u32) -> u32;

/// The lane that a shuffle reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Butterfly,
    Up,
}

/// An exchange of values between lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shuffle {
    pub direction: Direction,
    pub to: Register,
    /// The predicate of the lanes whose source is in range.
    pub in_range: Option<Register>,
    pub value: Operand,
    pub distance: Operand,
    pub clamp: Operand,
    pub members: Operand,
}

/// The operands' format of a tensor-core product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Bf16,
    F16,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Compute { arithmetic: Arithmetic, to: Register, sources: Vec<Operand> },
    InsertBits { to: Register, bits: Operand, base: Operand, position: u32, length: u32 },
    LoadParameter { to: Register, offset: usize, size: usize },
    Load { space: Space, size: usize, to: Vec<Register>, address: Address },
    Store { space: Space, size: usize, from: Vec<Operand>, address: Address },
    Reduce { space: Space, combine: Combine, address: Address, value: Operand },
    Branch { target: usize },
    Return,
    Barrier,
    Shuffle(Shuffle),
    Multiply { format: Format, to: [Register; 4], a: [Operand; 4], b: [Operand; 2], c: [Operand; 4] },
    CopyAsync { to: Address, from: Address, bytes: Operand },
    CommitCopies,
    WaitCopies { pending: usize },
}

/// An operation, its predicate, and its place in the text.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub op: Op,
    /// A register, and whether its negation counts.
    pub predicate: Option<(Register, bool)>,
    pub line: usize,
    pub text: String,
}
