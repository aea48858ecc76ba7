//! Memory that records its accesses: bounds, alignment, initialisation and races are checked each time.
//!
//! Time is counted in epochs. Each block of a launch starts one, and each of its barriers the next. Within a block, two
//! accesses of different epochs are ordered. Accesses of different blocks of one launch never are.

use std::ops::Range;

use crate::finding::{Access, Fault};

/// The thread of an access, and its time.
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

/// These stand for several threads, and for atomic operations.
const SEVERAL: u16 = u16::MAX;
const ATOMIC: u16 = u16::MAX - 1;

/// A past access. Epoch 0 is before all launches.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    epoch: u32,
    thread: u16,
}

impl Mark {
    /// Requires that the access happened before, or by the same thread.
    #[inline]
    fn require_ordered(self, now: Now) -> Result<(), Wrong> {
        let own_block = self.epoch >= now.block;
        let ordered =
            self.epoch < now.launch || (own_block && (self.epoch < now.epoch || self.thread == now.thread));
        if ordered { Ok(()) } else { Err(Wrong::Race(self.who(now))) }
    }

    #[cold]
    fn who(self, now: Now) -> String {
        match (self.epoch >= now.block, self.thread) {
            (false, _) => "another block".into(),
            (true, SEVERAL) => "more than one other thread".into(),
            (true, ATOMIC) => "an atomic operation".into(),
            (true, thread) => format!("thread {thread}"),
        }
    }
}

/// The record of one 32-bit word. Stores are of whole words, so no finer record is needed.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    writer: Mark,
    reader: Mark,
    /// The launch in which more than one block has read it.
    shared_in: u32,
    written: bool,
    copy_under_way: bool,
}

/// The reason why an access to a word is wrong. A race names the other side.
enum Wrong {
    Uninitialised,
    CopyUnderWay,
    Race(String),
}

impl Cell {
    fn read(&mut self, now: Now) -> Result<(), Wrong> {
        if self.copy_under_way {
            return Err(Wrong::CopyUnderWay);
        }
        if !self.written {
            return Err(Wrong::Uninitialised);
        }
        self.writer.require_ordered(now)?;
        let Mark { epoch, thread } = self.reader;
        if epoch >= now.launch && epoch < now.block {
            self.shared_in = now.launch;
        }
        let several = epoch == now.epoch && thread != now.thread;
        self.reader = Mark { epoch: now.epoch, thread: if several { SEVERAL } else { now.thread } };
        Ok(())
    }

    fn write(&mut self, now: Now) -> Result<(), Wrong> {
        if self.copy_under_way {
            return Err(Wrong::CopyUnderWay);
        }
        self.writer.require_ordered(now)?;
        self.replace(now, now.thread)
    }

    fn update(&mut self, now: Now) -> Result<(), Wrong> {
        if self.copy_under_way {
            return Err(Wrong::CopyUnderWay);
        }
        if !self.written {
            return Err(Wrong::Uninitialised);
        }
        if self.writer.thread != ATOMIC {
            self.writer.require_ordered(now)?;
        }
        self.replace(now, ATOMIC)
    }

    fn replace(&mut self, now: Now, thread: u16) -> Result<(), Wrong> {
        self.reader.require_ordered(now)?;
        if self.shared_in == now.launch {
            return Err(Wrong::Race("another block".into()));
        }
        self.writer = Mark { epoch: now.epoch, thread };
        self.written = true;
        Ok(())
    }
}

/// Bytes per word.
const WORD: usize = 4;

/// Bytes, with a record of each word.
#[derive(Clone, Debug)]
pub(crate) struct Bytes {
    space: &'static str,
    data: Vec<u8>,
    cells: Vec<Cell>,
}

type Outcome<T> = Result<T, Box<Fault>>;

impl Bytes {
    /// Unwritten bytes.
    pub fn new(space: &'static str, len: usize) -> Self {
        Self { space, data: vec![0; len], cells: vec![Cell::default(); len.div_ceil(WORD)] }
    }

    /// Reads the device's results, outside of any launch.
    pub fn host_read(&self, offset: u64, len: usize) -> Outcome<&[u8]> {
        let range = self.range(Access::Read, offset, len, 1)?;
        let cells = words(&range);
        match self.cells[cells.clone()].iter().position(|cell| !cell.written) {
            Some(word) => Err(self.fault(Access::Read, cells.start + word, Wrong::Uninitialised)),
            None => Ok(&self.data[range]),
        }
    }

    /// Writes outside of any launch.
    pub fn host_write(&mut self, offset: u64, data: &[u8]) -> Outcome<()> {
        let range = self.range(Access::Write, offset, data.len(), 1)?;
        self.cells[words(&range)].fill(Cell { written: true, ..Cell::default() });
        self.data[range].copy_from_slice(data);
        Ok(())
    }

    /// Reads `size` bytes. The address is a multiple of `size`.
    pub fn read(&mut self, offset: u64, size: usize, now: Now) -> Outcome<&[u8]> {
        let range = self.touch(Access::Read, offset, size, |cell| cell.read(now))?;
        Ok(&self.data[range])
    }

    /// Writes whole words. The address is a multiple of the data's length.
    pub fn write(&mut self, offset: u64, data: &[u8], now: Now) -> Outcome<()> {
        let range = self.touch(Access::Write, offset, data.len(), |cell| cell.write(now))?;
        self.data[range].copy_from_slice(data);
        Ok(())
    }

    /// Replaces a word by a function of it, in one step.
    pub fn update(&mut self, offset: u64, now: Now, combine: impl Fn(u32) -> u32) -> Outcome<()> {
        let range = self.touch(Access::Atomic, offset, WORD, |cell| cell.update(now))?;
        let word = &mut self.data[range];
        let old = u32::from_le_bytes(std::array::from_fn(|byte| word[byte]));
        word.copy_from_slice(&combine(old).to_le_bytes());
        Ok(())
    }

    /// Starts an asynchronous copy to here: a write that no access may see yet.
    pub fn begin_copy(&mut self, offset: u64, size: usize, now: Now) -> Outcome<()> {
        self.touch(Access::Write, offset, size, |cell| {
            cell.write(now)?;
            cell.copy_under_way = true;
            Ok(())
        })?;
        Ok(())
    }

    /// Ends an asynchronous copy: a write at the time of the wait.
    pub fn end_copy(&mut self, offset: u64, data: &[u8], now: Now) -> Outcome<()> {
        let range = self.touch(Access::Write, offset, data.len(), |cell| {
            cell.copy_under_way = false;
            cell.write(now)
        })?;
        self.data[range].copy_from_slice(data);
        Ok(())
    }

    #[inline]
    fn touch(
        &mut self,
        access: Access,
        offset: u64,
        size: usize,
        mut cell: impl FnMut(&mut Cell) -> Result<(), Wrong>,
    ) -> Outcome<Range<usize>> {
        let range = self.range(access, offset, size, size)?;
        for word in words(&range) {
            if let Err(wrong) = cell(&mut self.cells[word]) {
                return Err(self.fault(access, word, wrong));
            }
        }
        Ok(range)
    }

    #[cold]
    fn fault(&self, access: Access, word: usize, wrong: Wrong) -> Box<Fault> {
        let (space, address) = (self.space, (word * WORD).to_string());
        Box::new(match wrong {
            Wrong::Uninitialised => Fault::Uninitialised { space, address },
            Wrong::CopyUnderWay => Fault::CopyUnderWay { access, address },
            Wrong::Race(other) => Fault::Race { access, space, address, other },
        })
    }

    fn range(&self, access: Access, offset: u64, size: usize, align: usize) -> Outcome<Range<usize>> {
        let end = offset.checked_add(size as u64).filter(|&end| end <= self.data.len() as u64);
        let (space, aligned) = (self.space, align == 0 || offset.is_multiple_of(align as u64));
        match end {
            Some(end) if aligned => Ok(offset as usize..end as usize),
            Some(_) => Err(Box::new(Fault::Misaligned { access, space, size, address: offset.to_string() })),
            None => Err(Box::new(Fault::OutOfBounds {
                access,
                space,
                size,
                address: offset.to_string(),
                bounds: format!("{} bytes", self.data.len()),
            })),
        }
    }
}

/// The words that a range of bytes touches.
fn words(range: &Range<usize>) -> Range<usize> {
    range.start / WORD..range.end.div_ceil(WORD)
}

/// Global memory. No address computation leads from one allocation to another.
#[derive(Debug, Default)]
pub struct Memory {
    allocations: Vec<Option<Bytes>>,
    /// The last epoch that has started.
    epoch: u32,
}

/// The low bits of an address are the offset in its allocation. This is their number.
const OFFSET_BITS: u32 = 36;

impl Memory {
    /// Reserves `len` unwritten bytes. Their address is a multiple of 256.
    pub fn allocate(&mut self, len: usize) -> u64 {
        self.allocations.push(Some(Bytes::new("global", len)));
        (self.allocations.len() as u64) << OFFSET_BITS
    }

    /// Gives an allocation back.
    ///
    /// # Errors
    /// [`Fault::OutOfBounds`] if the address is not the beginning of an allocation.
    pub fn free(&mut self, address: u64) -> Result<(), Box<Fault>> {
        let (index, offset) = split(address);
        let freed = self.allocations.get_mut(index).filter(|bytes| offset == 0 && bytes.is_some());
        *freed.ok_or_else(|| nowhere(Access::Write, address, 0))? = None;
        Ok(())
    }

    /// Copies bytes in, outside of any launch.
    ///
    /// # Errors
    /// [`Fault::OutOfBounds`]
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), Box<Fault>> {
        let (bytes, offset) = self.find(Access::Write, address, data.len())?;
        bytes.host_write(offset, data)
    }

    /// Copies bytes out, outside of any launch.
    ///
    /// # Errors
    /// [`Fault::OutOfBounds`], or [`Fault::Uninitialised`] if they are unwritten.
    pub fn read(&mut self, address: u64, len: usize) -> Result<&[u8], Box<Fault>> {
        let (bytes, offset) = self.find(Access::Read, address, len)?;
        bytes.host_read(offset, len)
    }

    /// Whether an address lies in an allocation.
    pub(crate) fn holds(&self, address: u64) -> bool {
        let (index, offset) = split(address);
        let allocation = self.allocations.get(index).and_then(Option::as_ref);
        allocation.is_some_and(|bytes| offset < bytes.data.len() as u64)
    }

    pub(crate) fn find(&mut self, access: Access, address: u64, size: usize) -> Outcome<(&mut Bytes, u64)> {
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

#[cold]
fn nowhere(access: Access, address: u64, size: usize) -> Box<Fault> {
    let (address, bounds) = (format!("{address:#x}"), "every allocation".into());
    Box::new(Fault::OutOfBounds { access, space: "global", size, address, bounds })
}
