//! Memory that remembers who touched it: bounds, alignment, initialisation and races are checked at every access.
//!
//! Time runs in epochs. Each block of a launch starts one, each of its barriers the next, so that within a block two
//! accesses of different epochs are ordered, and accesses of different blocks of one launch never are.

use crate::finding::{Access, Fault};

/// Who accesses, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// The thread's index in its block.
    pub thread: u16,
    /// The current epoch.
    pub epoch: u32,
    /// The first epoch of the block.
    pub block: u32,
    /// The first epoch of the launch.
    pub launch: u32,
}

/// Stands for a thread where there were several, or atomic operations.
const SEVERAL: u16 = u16::MAX;
const ATOMIC: u16 = u16::MAX - 1;

/// An access that was. Epoch 0 is before all launches.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    epoch: u32,
    thread: u16,
}

impl Mark {
    /// Whether the access happened before, or by the same thread.
    fn is_ordered(self, now: Now) -> bool {
        let own_block = self.epoch >= now.block;
        self.epoch < now.launch || (own_block && (self.epoch < now.epoch || self.thread == now.thread))
    }

    fn who(self, now: Now) -> String {
        match (self.epoch >= now.block, self.thread) {
            (false, _) => "another block".into(),
            (true, SEVERAL) => "more than one other thread".into(),
            (true, ATOMIC) => "an atomic operation".into(),
            (true, thread) => format!("thread {thread}"),
        }
    }
}

/// What is known about one byte.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    writer: Mark,
    reader: Mark,
    /// The launch in which more than one block read it.
    shared_in: u32,
    written: bool,
    copy_under_way: bool,
}

/// What keeps an access to a byte from being right; who else is part of it.
enum Wrong {
    Uninitialised,
    CopyUnderWay,
    Race(String),
}

impl Cell {
    fn race(mark: Mark, now: Now) -> Result<(), Wrong> {
        if mark.is_ordered(now) { Ok(()) } else { Err(Wrong::Race(mark.who(now))) }
    }

    fn touch(&mut self, access: Access, now: Now) -> Result<(), Wrong> {
        if self.copy_under_way {
            return Err(Wrong::CopyUnderWay);
        }
        if access != Access::Write && !self.written {
            return Err(Wrong::Uninitialised);
        }
        let both_atomic = access == Access::Atomic && self.writer.thread == ATOMIC;
        if !both_atomic {
            Self::race(self.writer, now)?;
        }
        if access == Access::Read {
            self.note_reader(now);
            return Ok(());
        }
        Self::race(self.reader, now)?;
        if self.shared_in == now.launch {
            return Err(Wrong::Race("another block".into()));
        }
        let thread = if access == Access::Atomic { ATOMIC } else { now.thread };
        self.writer = Mark { epoch: now.epoch, thread };
        self.written = true;
        Ok(())
    }

    fn note_reader(&mut self, now: Now) {
        let Mark { epoch, thread } = self.reader;
        if epoch >= now.launch && epoch < now.block {
            self.shared_in = now.launch;
        }
        let several = epoch == now.epoch && thread != now.thread;
        self.reader = Mark { epoch: now.epoch, thread: if several { SEVERAL } else { now.thread } };
    }
}

/// Bytes with what is known about each of them.
#[derive(Clone, Debug)]
pub(crate) struct Bytes {
    space: &'static str,
    data: Vec<u8>,
    cells: Vec<Cell>,
}

impl Bytes {
    /// Bytes that nobody wrote.
    pub fn new(space: &'static str, len: usize) -> Self {
        Self { space, data: vec![0; len], cells: vec![Cell::default(); len] }
    }

    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Reads what the device wrote, from outside of any launch.
    pub fn host_read(&self, offset: usize, len: usize) -> Result<&[u8], Fault> {
        let range = self.range(Access::Read, offset as u64, len, 1)?;
        if let Some(unwritten) = self.cells[range.clone()].iter().position(|cell| !cell.written) {
            return Err(Fault::Uninitialised { space: self.space, address: (offset + unwritten).to_string() });
        }
        Ok(&self.data[range])
    }

    /// Writes from outside of any launch.
    pub fn host_write(&mut self, offset: usize, data: &[u8]) -> Result<(), Fault> {
        let range = self.range(Access::Write, offset as u64, data.len(), 1)?;
        self.data[range.clone()].copy_from_slice(data);
        self.cells[range].fill(Cell { written: true, ..Cell::default() });
        Ok(())
    }

    pub fn read(&mut self, offset: u64, size: usize, align: usize, now: Now) -> Result<&[u8], Fault> {
        let range = self.touch(Access::Read, offset, size, align, now)?;
        Ok(&self.data[range])
    }

    pub fn write(&mut self, offset: u64, align: usize, data: &[u8], now: Now) -> Result<(), Fault> {
        let range = self.touch(Access::Write, offset, data.len(), align, now)?;
        self.data[range].copy_from_slice(data);
        Ok(())
    }

    /// Replaces a 32-bit word by a function of it, in one step.
    pub fn update(&mut self, offset: u64, now: Now, combine: impl Fn(u32) -> u32) -> Result<(), Fault> {
        let range = self.touch(Access::Atomic, offset, 4, 4, now)?;
        let word: &mut [u8] = &mut self.data[range];
        let old = u32::from_le_bytes(std::array::from_fn(|byte| word[byte]));
        word.copy_from_slice(&combine(old).to_le_bytes());
        Ok(())
    }

    /// Starts an asynchronous copy to here: a write that nobody may see yet.
    pub fn begin_copy(&mut self, offset: u64, size: usize, now: Now) -> Result<(), Fault> {
        let range = self.touch(Access::Write, offset, size, size, now)?;
        self.cells[range].iter_mut().for_each(|cell| cell.copy_under_way = true);
        Ok(())
    }

    /// Ends it: a write at the time of the wait.
    pub fn end_copy(&mut self, offset: u64, data: &[u8], now: Now) -> Result<(), Fault> {
        let range = self.range(Access::Write, offset, data.len(), 1)?;
        self.cells[range].iter_mut().for_each(|cell| cell.copy_under_way = false);
        self.write(offset, 1, data, now)
    }

    fn touch(
        &mut self,
        access: Access,
        offset: u64,
        size: usize,
        align: usize,
        now: Now,
    ) -> Result<std::ops::Range<usize>, Fault> {
        let range = self.range(access, offset, size, align)?;
        let space = self.space;
        for (index, cell) in self.cells[range.clone()].iter_mut().enumerate() {
            let address = || (offset as usize + index).to_string();
            cell.touch(access, now).map_err(|wrong| match wrong {
                Wrong::Uninitialised => Fault::Uninitialised { space, address: address() },
                Wrong::CopyUnderWay => Fault::CopyUnderWay { access, address: address() },
                Wrong::Race(other) => Fault::Race { access, space, address: address(), other },
            })?;
        }
        Ok(range)
    }

    fn range(
        &self,
        access: Access,
        offset: u64,
        size: usize,
        align: usize,
    ) -> Result<std::ops::Range<usize>, Fault> {
        let (space, address) = (self.space, offset.to_string());
        let end = offset.checked_add(size as u64).filter(|&end| end <= self.len() as u64);
        let Some(end) = end else {
            return Err(Fault::OutOfBounds {
                access,
                space,
                size,
                address,
                bounds: format!("{} bytes", self.len()),
            });
        };
        if !offset.is_multiple_of(align as u64) {
            return Err(Fault::Misaligned { access, space, size, address });
        }
        Ok(offset as usize..end as usize)
    }
}

/// Global memory: allocations that no address computation leads from one to another.
#[derive(Debug, Default)]
pub struct Memory {
    allocations: Vec<Option<Bytes>>,
    /// The last epoch that was given out.
    epoch: u32,
}

/// Bits of an address that count within an allocation.
const OFFSET_BITS: u32 = 36;

impl Memory {
    /// Reserves `len` bytes that hold nothing yet. Their address is a multiple of 256.
    pub fn allocate(&mut self, len: usize) -> u64 {
        self.allocations.push(Some(Bytes::new("global", len)));
        (self.allocations.len() as u64) << OFFSET_BITS
    }

    /// Gives an allocation back.
    ///
    /// # Errors
    /// [`Fault::OutOfBounds`] when the address is not the beginning of one.
    pub fn free(&mut self, address: u64) -> Result<(), Fault> {
        let (index, offset) = split(address);
        let slot = self.allocations.get_mut(index).filter(|slot| offset == 0 && slot.is_some());
        *slot.ok_or_else(|| nowhere(Access::Write, address, 0))? = None;
        Ok(())
    }

    /// Copies bytes in, from outside of any launch.
    ///
    /// # Errors
    /// [`Fault::OutOfBounds`]
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), Fault> {
        let (bytes, offset) = self.find(Access::Write, address, data.len())?;
        bytes.host_write(offset as usize, data)
    }

    /// Copies bytes out, from outside of any launch.
    ///
    /// # Errors
    /// [`Fault::OutOfBounds`], or [`Fault::Uninitialised`] where nobody wrote.
    pub fn read(&mut self, address: u64, len: usize) -> Result<&[u8], Fault> {
        let (bytes, offset) = self.find(Access::Read, address, len)?;
        bytes.host_read(offset as usize, len)
    }

    pub(crate) fn find(
        &mut self,
        access: Access,
        address: u64,
        size: usize,
    ) -> Result<(&mut Bytes, u64), Fault> {
        let (index, offset) = split(address);
        let bytes = self.allocations.get_mut(index).and_then(Option::as_mut);
        Ok((bytes.ok_or_else(|| nowhere(access, address, size))?, offset))
    }

    /// Starts an epoch.
    pub(crate) fn next_epoch(&mut self) -> u32 {
        self.epoch += 1;
        self.epoch
    }
}

fn split(address: u64) -> (usize, u64) {
    ((address >> OFFSET_BITS).wrapping_sub(1) as usize, address & ((1 << OFFSET_BITS) - 1))
}

fn nowhere(access: Access, address: u64, size: usize) -> Fault {
    Fault::OutOfBounds {
        access,
        space: "global",
        size,
        address: format!("{address:#x}"),
        bounds: "every allocation".into(),
    }
}
