//! The surroundings of a warp: its kernel, its block, memory, and the time.

use crate::finding::{Access, Fault, Finding};
use crate::memory::{Bytes, Memory, Now};
use crate::program::{Kernel, Space};

/// The surroundings of the warps of one block.
pub(crate) struct Surroundings<'a> {
    pub kernel: &'a Kernel,
    pub grid_extents: [u32; 3],
    pub block_extents: [u32; 3],
    pub block: [u32; 3],
    pub parameters: &'a [u8],
    pub memory: &'a mut Memory,
    pub shared: Bytes,
    pub epoch: u32,
    pub block_epoch: u32,
    pub launch_epoch: u32,
}

impl Surroundings<'_> {
    /// The finding of a fault at an instruction.
    pub fn finding(&self, pc: usize, thread: u32, fault: Box<Fault>) -> Finding {
        let instruction = self.kernel.instructions.get(pc);
        Finding {
            kernel: self.kernel.name.clone(),
            block: self.block,
            thread,
            line: instruction.map_or(0, |instruction| instruction.line),
            instruction: instruction.map(|instruction| instruction.text.clone()).unwrap_or_default(),
            fault,
        }
    }

    /// The time of an access by a thread.
    pub fn now(&self, thread: u32) -> Now {
        Now { thread: thread as u16, epoch: self.epoch, block: self.block_epoch, launch: self.launch_epoch }
    }

    /// The bytes that an address lies in, and its offset in them.
    pub fn bytes(
        &mut self,
        space: Space,
        access: Access,
        address: u64,
        size: usize,
    ) -> Result<(&mut Bytes, u64), Box<Fault>> {
        match space {
            Space::Shared => Ok((&mut self.shared, address)),
            Space::Global => self.memory.find(access, address, size),
        }
    }
}
