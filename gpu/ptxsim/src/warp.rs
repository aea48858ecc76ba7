//! One warp: its registers, and the instructions that its lanes are at.

use crate::copies::Copies;
use crate::finding::Fault;
use crate::lanes::{ALL, Lanes, WARP, lanes_in};
use crate::program::{Operand, Register, Special};
use crate::surroundings::Surroundings;

/// Lanes at the same instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub pc: usize,
    pub lanes: u32,
}

/// A result, or a fault and its lane.
pub(crate) type Outcome<T> = Result<T, (usize, Box<Fault>)>;

pub(crate) struct Warp {
    registers: Vec<Lanes>,
    /// By register, the lanes that have written it.
    written: Vec<u32>,
    pub groups: Vec<Group>,
    /// The lanes that have a thread.
    pub members: u32,
    /// The thread's place in its block, along each axis.
    place: [Lanes; 3],
    /// The index of lane 0 in its block.
    first_thread: u32,
    pub copies: Vec<Copies>,
    /// Executed instructions, counted once per lane.
    pub executed: u64,
}

impl Warp {
    /// Warp `index` of a block with these extents.
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

    /// The index of a lane's thread in its block.
    pub fn thread(&self, lane: usize) -> u32 {
        self.first_thread + lane as u32
    }

    /// Whether a lane's predicate holds.
    pub fn holds(&self, register: Register, lane: usize) -> bool {
        self.registers[register][lane] != 0
    }

    pub fn require_written(&self, register: Register, lanes: u32) -> Outcome<()> {
        match lanes & !self.written[register] {
            0 => Ok(()),
            unwritten => Err((unwritten.trailing_zeros() as usize, Box::new(Fault::UnwrittenRegister))),
        }
    }

    /// The operand's value in every lane. `buffer` takes the value of an operand that is not in a register.
    pub fn value<'a>(
        &'a self,
        operand: Operand,
        active: u32,
        around: &Surroundings<'_>,
        buffer: &'a mut Lanes,
    ) -> Outcome<&'a Lanes> {
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
