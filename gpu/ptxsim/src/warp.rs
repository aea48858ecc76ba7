//! One warp: its registers, where its lanes stand, and how control flows.
//!
//! Lanes that stand at the same instruction form a group. The group that is furthest behind always goes on, so that
//! lanes meet again where their paths do.

use crate::copies::Copies;
use crate::execute::{self, Surroundings};
use crate::finding::{Fault, Finding};
use crate::lanes::{ALL, Lanes, WARP, lanes_in};
use crate::program::{Instruction, Op, Operand, Register, Special};

/// Lanes that stand at the same instruction.
#[derive(Clone, Copy, Debug)]
struct Group {
    pc: usize,
    lanes: u32,
}

/// Why a warp stops running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// All its lanes stand behind this barrier.
    Barrier(usize),
    /// All its lanes have ended.
    Ended,
}

pub(crate) struct Warp {
    registers: Vec<Lanes>,
    /// For each register, the lanes that have written it.
    written: Vec<u32>,
    groups: Vec<Group>,
    /// The lanes that the block has at all.
    members: u32,
    /// The thread's place in its block, along each axis.
    place: [Lanes; 3],
    /// The index of lane 0 in its block.
    pub first_thread: u32,
    pub copies: Vec<Copies>,
    /// How many lanes have executed an instruction.
    pub executed: u64,
}

impl Warp {
    /// The warp `index` of a block with these extents.
    pub fn new(index: usize, extents: [u32; 3], registers: usize) -> Self {
        let threads: u32 = extents.iter().product();
        let first_thread = (index * WARP) as u32;
        let members =
            if threads - first_thread >= WARP as u32 { ALL } else { (1 << (threads - first_thread)) - 1 };
        let thread = |lane: usize| first_thread + lane as u32;
        let (x, y) = (extents[0], extents[1]);
        let places: [fn(u32, u32, u32) -> u32; 3] =
            [|thread, x, _| thread % x, |thread, x, y| thread / x % y, |thread, x, y| thread / x / y];
        Self {
            registers: vec![[0; WARP]; registers],
            written: vec![0; registers],
            groups: vec![Group { pc: 0, lanes: members }],
            members,
            place: places.map(|place| std::array::from_fn(|lane| place(thread(lane), x, y).into())),
            first_thread,
            copies: vec![Copies::default(); WARP],
            executed: 0,
        }
    }

    /// Runs until all lanes wait at a barrier or have ended.
    pub fn run(&mut self, around: &mut Surroundings<'_>) -> Result<Pause, Finding> {
        while let Some(index) = self.furthest_behind() {
            let Group { pc, lanes } = self.groups[index];
            let Some(instruction) = around.kernel.instructions.get(pc) else {
                let end = Fault::Launch("control leaves the end of the kernel".into());
                return Err(around.finding(pc - 1, self.first_thread, Box::new(end)));
            };
            let stop = self.step(index, instruction, around);
            let stop =
                stop.map_err(|(lane, fault)| around.finding(pc, self.first_thread + lane as u32, fault))?;
            self.executed += u64::from(lanes.count_ones());
            if stop {
                return Ok(Pause::Barrier(pc));
            }
        }
        Ok(Pause::Ended)
    }

    /// Does one instruction for one group; true at a barrier.
    fn step(
        &mut self,
        index: usize,
        instruction: &Instruction,
        around: &mut Surroundings<'_>,
    ) -> Result<bool, (usize, Box<Fault>)> {
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

    /// The group with the lowest instruction, after joining groups that stand at the same one.
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
    fn active(&self, instruction: &Instruction, lanes: u32) -> Result<u32, (usize, Box<Fault>)> {
        let Some((register, negated)) = instruction.predicate else { return Ok(lanes) };
        self.require_written(register, lanes)?;
        let holds = lanes_in(lanes).filter(|&lane| (self.registers[register][lane] != 0) != negated);
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

    fn end(&mut self, index: usize, ending: u32) -> Result<(), (usize, Box<Fault>)> {
        if let Some(lane) = lanes_in(ending).find(|&lane| self.copies[lane].len() > 0) {
            let count = self.copies[lane].len();
            return Err((lane, Box::new(Fault::CopyNeverAwaited { count })));
        }
        self.groups[index].lanes &= !ending;
        self.groups.retain(|group| group.lanes != 0);
        Ok(())
    }

    /// A barrier is for all threads, those that have ended included.
    fn require_all(&self, active: u32) -> Result<(), (usize, Box<Fault>)> {
        match lanes_in(self.members & !active).next() {
            None => Ok(()),
            Some(lane) => {
                let missing = format!("thread {}", self.first_thread as usize + lane);
                Err((active.trailing_zeros() as usize, Box::new(Fault::DivergentBarrier { missing })))
            }
        }
    }

    fn require_written(&self, register: Register, lanes: u32) -> Result<(), (usize, Box<Fault>)> {
        match lanes & !self.written[register] {
            0 => Ok(()),
            unwritten => Err((unwritten.trailing_zeros() as usize, Box::new(Fault::UnwrittenRegister))),
        }
    }

    /// The operand's value in every lane; `buffer` holds what lies in no register.
    pub fn value<'a>(
        &'a self,
        operand: Operand,
        active: u32,
        around: &Surroundings<'_>,
        buffer: &'a mut Lanes,
    ) -> Result<&'a Lanes, (usize, Box<Fault>)> {
        let uniform = match operand {
            Operand::Register(register) => {
                self.require_written(register, active)?;
                return Ok(&self.registers[register]);
            }
            Operand::Special(Special::Thread(axis)) => return Ok(&self.place[axis]),
            Operand::Immediate(bits) => bits,
            Operand::Special(Special::BlockExtent(axis)) => around.block_extents[axis].into(),
            Operand::Special(Special::Block(axis)) => around.block[axis].into(),
            Operand::Special(Special::GridExtent(axis)) => around.grid_extents[axis].into(),
        };
        buffer.fill(uniform);
        Ok(buffer)
    }

    /// Writes a register in the active lanes.
    pub fn set(&mut self, register: Register, active: u32, value: &Lanes) {
        self.written[register] |= active;
        let lanes = &mut self.registers[register];
        if active == ALL {
            *lanes = *value;
        } else {
            lanes_in(active).for_each(|lane| lanes[lane] = value[lane]);
        }
    }
}
