//! Control flow of a warp.
//!
//! Lanes at the same instruction form a group. The group that is furthest behind always goes on, so lanes meet again where
//! their paths do.

use crate::execute;
use crate::finding::{Fault, Finding};
use crate::lanes::lanes_in;
use crate::program::{Instruction, Op};
use crate::surroundings::Surroundings;
use crate::warp::{Group, Outcome, Warp};

/// Why a warp stops running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// All its lanes have reached this barrier.
    Barrier(usize),
    /// All its lanes have ended.
    Ended,
}

impl Warp {
    /// Runs until all lanes wait at a barrier or have ended.
    pub fn run(&mut self, around: &mut Surroundings<'_>) -> Result<Pause, Finding> {
        while let Some(index) = self.furthest_behind() {
            let Group { pc, lanes } = self.groups[index];
            let Some(instruction) = around.kernel.instructions.get(pc) else {
                let end = Fault::Launch("control leaves the end of the kernel".into());
                return Err(around.finding(pc - 1, self.thread(0), Box::new(end)));
            };
            let stop = self.step(index, instruction, around);
            let stop = stop.map_err(|(lane, fault)| around.finding(pc, self.thread(lane), fault))?;
            self.executed += u64::from(lanes.count_ones());
            if stop {
                return Ok(Pause::Barrier(pc));
            }
        }
        Ok(Pause::Ended)
    }

    /// Executes one instruction for one group. True at a barrier.
    fn step(
        &mut self,
        index: usize,
        instruction: &Instruction,
        around: &mut Surroundings<'_>,
    ) -> Outcome<bool> {
        let Group { pc, lanes } = self.groups[index];
        let active = self.active(instruction, lanes)?;
        self.groups[index].pc = pc + 1;
        match instruction.op {
            Op::Branch { target } => self.branch(index, active, target),
            Op::Return => self.end(index, active)?,
            Op::Barrier if active != 0 => {
                self.require_all(active)?;
                return Ok(true);
            }
            _ if active != 0 => execute::execute(self, &instruction.op, active, around)?,
            _ => {}
        }
        Ok(false)
    }

    /// The group at the lowest instruction, after joining groups at the same one.
    fn furthest_behind(&mut self) -> Option<usize> {
        if self.groups.len() > 1 {
            self.groups.sort_unstable_by_key(|group| group.pc);
            self.groups.dedup_by(|next, kept| {
                let meets = next.pc == kept.pc;
                if meets {
                    kept.lanes |= next.lanes;
                }
                meets
            });
        }
        (!self.groups.is_empty()).then_some(0)
    }

    /// Those of `lanes` whose predicate holds.
    fn active(&self, instruction: &Instruction, lanes: u32) -> Outcome<u32> {
        let Some((register, negated)) = instruction.predicate else { return Ok(lanes) };
        self.require_written(register, lanes)?;
        let holds = lanes_in(lanes).filter(|&lane| self.holds(register, lane) != negated);
        Ok(holds.fold(0, |mask, lane| mask | 1 << lane))
    }

    fn branch(&mut self, index: usize, taken: u32, target: usize) {
        let Group { pc, lanes } = self.groups[index];
        if taken == lanes {
            self.groups[index].pc = target;
        } else if taken != 0 {
            self.groups[index] = Group { pc, lanes: lanes & !taken };
            self.groups.push(Group { pc: target, lanes: taken });
        }
    }

    fn end(&mut self, index: usize, ending: u32) -> Outcome<()> {
        if let Some(lane) = lanes_in(ending).find(|&lane| self.copies[lane].len() > 0) {
            let count = self.copies[lane].len();
            return Err((lane, Box::new(Fault::CopyNeverAwaited { count })));
        }
        self.groups[index].lanes &= !ending;
        self.groups.retain(|group| group.lanes != 0);
        Ok(())
    }

    /// A barrier needs all threads, including those that have ended.
    fn require_all(&self, active: u32) -> Outcome<()> {
        match lanes_in(self.members & !active).next() {
            None => Ok(()),
            Some(lane) => {
                let missing = format!("thread {}", self.thread(lane));
                Err((active.trailing_zeros() as usize, Box::new(Fault::DivergentBarrier { missing })))
            }
        }
    }
}
