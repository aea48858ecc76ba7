//! Runs a grid of blocks, one after another. The warps of a block take turns from barrier to barrier.

use crate::control::Pause;
use crate::finding::{Fault, Finding};
use crate::lanes::WARP;
use crate::memory::{Bytes, Memory};
use crate::program::Kernel;
use crate::surroundings::Surroundings;
use crate::warp::Warp;

/// The most shared memory per block, at compute capability 9.0.
pub const MOST_SHARED: usize = 227 * 1024;

/// One launch of a kernel.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads per block along each axis.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: usize,
    /// The parameter buffer.
    pub parameters: &'a [u8],
}

impl Launch<'_> {
    /// Runs the launch to its end, or to the first fault.
    ///
    /// # Errors
    /// The first [`Finding`].
    pub fn run(&self, memory: &mut Memory) -> Result<Statistics, Finding> {
        let launch_epoch = memory.next_epoch();
        let mut around = Surroundings {
            kernel: self.kernel,
            grid_extents: self.grid,
            block_extents: self.block,
            block: [0; 3],
            parameters: self.parameters,
            memory,
            shared: Bytes::new("shared", 0),
            epoch: launch_epoch,
            block_epoch: launch_epoch,
            launch_epoch,
        };
        self.check().map_err(|reason| around.finding(0, 0, Box::new(Fault::Launch(reason))))?;
        let mut statistics = Statistics::default();
        for z in 0..self.grid[2] {
            for y in 0..self.grid[1] {
                for x in 0..self.grid[0] {
                    around.block = [x, y, z];
                    around.shared = Bytes::new("shared", self.shared_len());
                    around.epoch = around.memory.next_epoch();
                    around.block_epoch = around.epoch;
                    statistics.executed += self.run_block(&mut around)?;
                }
            }
        }
        Ok(statistics)
    }

    fn shared_len(&self) -> usize {
        if self.dynamic_shared == 0 {
            self.kernel.static_shared
        } else {
            self.kernel.dynamic_shared + self.dynamic_shared
        }
    }

    fn check(&self) -> Result<(), String> {
        let threads: u64 = self.block.iter().map(|&extent| u64::from(extent)).product();
        let parameters = self.kernel.parameters.last().map_or(0, |last| last.offset + last.size);
        if self.grid.contains(&0) || threads == 0 {
            Err(format!("an empty launch: grid {:?}, block {:?}", self.grid, self.block))
        } else if threads > self.kernel.most_threads as u64 {
            Err(format!("{threads} threads a block, expected at most {}", self.kernel.most_threads))
        } else if self.grid[1].max(self.grid[2]) > 65_535 || self.grid[0] > i32::MAX as u32 {
            Err(format!("grid {:?} is too large", self.grid))
        } else if self.shared_len() > MOST_SHARED {
            Err(format!("{} bytes of shared memory, expected at most {MOST_SHARED}", self.shared_len()))
        } else if self.parameters.len() != parameters {
            Err(format!("{} bytes of parameters, expected {parameters}", self.parameters.len()))
        } else {
            Ok(())
        }
    }

    /// Runs one block, and returns the number of instructions that its threads executed.
    fn run_block(&self, around: &mut Surroundings<'_>) -> Result<u64, Finding> {
        let threads: u32 = self.block.iter().product();
        let warp = |index| Warp::new(index, self.block, self.kernel.registers);
        let mut warps: Vec<Warp> = (0..(threads as usize).div_ceil(WARP)).map(warp).collect();
        loop {
            let pauses = warps.iter_mut().map(|warp| warp.run(around)).collect::<Result<Vec<_>, _>>()?;
            if let Some((index, pc)) = left_behind(&pauses) {
                let missing = format!("warp {index}");
                return Err(around.finding(pc, 0, Box::new(Fault::DivergentBarrier { missing })));
            }
            if pauses[0] == Pause::Ended {
                return Ok(warps.iter().map(|warp| warp.executed).sum());
            }
            around.epoch = around.memory.next_epoch();
        }
    }
}

/// A warp that is not at the barrier where another one waits, and that barrier.
fn left_behind(pauses: &[Pause]) -> Option<(usize, usize)> {
    let waiting =
        pauses.iter().find_map(|pause| if let Pause::Barrier(pc) = pause { Some(*pc) } else { None })?;
    let elsewhere = pauses.iter().position(|&pause| pause != Pause::Barrier(waiting))?;
    Some((elsewhere, waiting))
}

/// The cost of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Instructions, counted once per thread that executed them.
    pub executed: u64,
}
