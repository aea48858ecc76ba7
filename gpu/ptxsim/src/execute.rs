//! The effect of every instruction on a warp, control flow excepted.

use crate::copies::Copy;
use crate::finding::{Access, Fault};
use crate::lanes::{ALL, Lanes, WARP, lanes_in};
use crate::memory::Now;
use crate::mma;
use crate::program::{Address, Direction, Op, Operand, Shuffle, Space};
use crate::surroundings::Surroundings;
use crate::warp::{Outcome, Warp};

/// Executes one instruction in the active lanes of a warp.
pub(crate) fn execute(warp: &mut Warp, op: &Op, active: u32, around: &mut Surroundings<'_>) -> Outcome<()> {
    match op {
        Op::Compute { arithmetic, to, sources } => {
            let mut buffers = [[0; WARP]; 3];
            let [one, two, three] = &mut buffers;
            let mut values = [&[0; WARP]; 3];
            for ((value, &source), buffer) in values.iter_mut().zip(sources).zip([one, two, three]) {
                *value = warp.value(source, active, around, buffer)?;
            }
            let result = arithmetic(values[0], values[1], values[2]);
            warp.set(*to, active, &result);
            Ok(())
        }
        &Op::InsertBits { to, bits, base, position, length } => {
            let mask = (((1_u64 << length) - 1) << position) & u64::from(u32::MAX);
            let (bits, base) = (copied(warp, bits, active, around)?, copied(warp, base, active, around)?);
            let insert = |lane: usize| base[lane] & !mask | bits[lane] << position & mask;
            warp.set(to, active, &std::array::from_fn(insert));
            Ok(())
        }
        &Op::LoadParameter { to, offset, size } => {
            warp.set(to, active, &[little_endian(&around.parameters[offset..offset + size]); WARP]);
            Ok(())
        }
        Op::Load { space, size, to, address } => load(warp, (*space, *size), to, *address, active, around),
        Op::Store { space, size, from, address } => {
            store(warp, (*space, *size), from, *address, active, around)
        }
        &Op::Reduce { space, combine, address, value } => {
            let addresses = addresses(warp, address, active, around)?;
            let value = copied(warp, value, active, around)?;
            each_lane(warp.thread(0), active, around, |around, lane, now| {
                let (bytes, offset) = around.bytes(space, Access::Atomic, addresses[lane], 4)?;
                bytes.update(offset, now, |old| combine(old, value[lane] as u32))
            })
        }
        &Op::Shuffle(operands) => shuffle(warp, operands, active, around),
        &Op::Multiply { format, to, a, b, c } => {
            require(ALL, active)?;
            let fragment = |operand: Operand| copied(warp, operand, active, around);
            let [a0, a1, a2, a3] = a.map(fragment);
            let ([b0, b1], [c0, c1, c2, c3]) = (b.map(fragment), c.map(fragment));
            let d = mma::multiply(format, [&a0?, &a1?, &a2?, &a3?], [&b0?, &b1?], [&c0?, &c1?, &c2?, &c3?]);
            to.into_iter().zip(&d).for_each(|(register, lanes)| warp.set(register, active, lanes));
            Ok(())
        }
        &Op::CopyAsync { to, from, bytes } => copy_async(warp, [to, from], bytes, active, around),
        Op::CommitCopies => {
            lanes_in(active).for_each(|lane| warp.copies[lane].commit());
            Ok(())
        }
        &Op::WaitCopies { pending } => each_lane(warp.thread(0), active, around, |around, lane, now| {
            let mut complete = warp.copies[lane].wait(pending).into_iter();
            complete.try_for_each(|Copy { to, data }| around.shared.end_copy(to, &data, now))
        }),
        Op::Branch { .. } | Op::Return | Op::Barrier => Ok(()),
    }
}

fn copied(warp: &Warp, operand: Operand, active: u32, around: &Surroundings<'_>) -> Outcome<Lanes> {
    let mut buffer = [0; WARP];
    warp.value(operand, active, around, &mut buffer).copied()
}

fn addresses(warp: &Warp, address: Address, active: u32, around: &Surroundings<'_>) -> Outcome<Lanes> {
    let base = copied(warp, address.base, active, around)?;
    Ok(base.map(|base| base.wrapping_add_signed(address.offset)))
}

fn little_endian(bytes: &[u8]) -> u64 {
    match *bytes {
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
        _ => bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)),
    }
}

/// Loads vectors of `to.len()` elements. The whole vector is aligned.
fn load(
    warp: &mut Warp,
    (space, size): (Space, usize),
    to: &[usize],
    address: Address,
    active: u32,
    around: &mut Surroundings<'_>,
) -> Outcome<()> {
    let addresses = addresses(warp, address, active, around)?;
    let whole = size * to.len();
    let mut values = [[0; WARP]; LONGEST];
    each_lane(warp.thread(0), active, around, |around, lane, now| {
        let (bytes, offset) = around.bytes(space, Access::Read, addresses[lane], whole)?;
        let elements = bytes.read(offset, whole, now)?.chunks_exact(size);
        values.iter_mut().zip(elements).for_each(|(value, element)| value[lane] = little_endian(element));
        Ok(())
    })?;
    to.iter().zip(&values).for_each(|(&register, value)| warp.set(register, active, value));
    Ok(())
}

/// Elements of the longest vector.
const LONGEST: usize = 4;

fn store(
    warp: &Warp,
    (space, size): (Space, usize),
    from: &[Operand],
    address: Address,
    active: u32,
    around: &mut Surroundings<'_>,
) -> Outcome<()> {
    let addresses = addresses(warp, address, active, around)?;
    let whole = size * from.len();
    let mut values = [[0; WARP]; LONGEST];
    for (value, &operand) in values.iter_mut().zip(from) {
        *value = copied(warp, operand, active, around)?;
    }
    each_lane(warp.thread(0), active, around, |around, lane, now| {
        let mut data = [0; 8 * LONGEST];
        for (element, value) in data.chunks_exact_mut(size).zip(&values[..from.len()]) {
            element.copy_from_slice(&value[lane].to_le_bytes()[..size]);
        }
        let (bytes, offset) = around.bytes(space, Access::Write, addresses[lane], whole)?;
        bytes.write(offset, &data[..whole], now)
    })
}

/// Reads 16 bytes, or fewer followed by zeros, at once. They are in shared memory when the thread has waited.
fn copy_async(
    warp: &mut Warp,
    [to, from]: [Address; 2],
    bytes: Operand,
    active: u32,
    around: &mut Surroundings<'_>,
) -> Outcome<()> {
    let (to, from) = (addresses(warp, to, active, around)?, addresses(warp, from, active, around)?);
    let sizes = copied(warp, bytes, active, around)?;
    each_lane(warp.thread(0), active, around, |around, lane, now| {
        let mut copy = Copy { to: to[lane], data: [0; 16] };
        let size = (sizes[lane] as usize).min(16);
        let (bytes, offset) = around.bytes(Space::Global, Access::Read, from[lane], size)?;
        copy.data[..size].copy_from_slice(bytes.read(offset, size, now)?);
        around.shared.begin_copy(copy.to, 16, now)?;
        warp.copies[lane].begin(copy);
        Ok(())
    })
}

/// Accesses memory in the active lanes, one after another, each at its thread's time.
fn each_lane<'a>(
    first_thread: u32,
    active: u32,
    around: &mut Surroundings<'a>,
    mut access: impl FnMut(&mut Surroundings<'a>, usize, Now) -> Result<(), Box<Fault>>,
) -> Outcome<()> {
    lanes_in(active).try_for_each(|lane| {
        let now = around.now(first_thread + lane as u32);
        access(around, lane, now).map_err(|fault| (lane, fault))
    })
}

fn require(members: u32, active: u32) -> Outcome<()> {
    match members & !active {
        0 => Ok(()),
        missing => Err((active.trailing_zeros() as usize, Box::new(Fault::MissingLanes { missing }))),
    }
}

/// Segments of 32 lanes only: the clamp of a butterfly is 31, that of an upward shuffle 0.
fn shuffle(warp: &mut Warp, operands: Shuffle, active: u32, around: &Surroundings<'_>) -> Outcome<()> {
    let Shuffle { direction, to, in_range, value, distance, clamp, members } = operands;
    let [value, distance, clamp, members] =
        [value, distance, clamp, members].map(|operand| copied(warp, operand, active, around));
    let (value, distance, clamp) = (value?, distance?, clamp?);
    let first = active.trailing_zeros() as usize;
    require(members?[first] as u32, active)?;
    let whole = if direction == Direction::Butterfly { 31 } else { 0 };
    if clamp[first] != whole {
        let reason = format!("shuffles in segments of {:#x} are not known", clamp[first]);
        return Err((first, Box::new(Fault::Launch(reason))));
    }
    let source = |lane: usize| {
        let distance = (distance[lane] & 31) as usize;
        match direction {
            Direction::Butterfly => Some(lane ^ distance),
            Direction::Up => lane.checked_sub(distance),
        }
    };
    // A lane whose source lies outside keeps its own value.
    warp.set(to, active, &std::array::from_fn(|lane| value[source(lane).unwrap_or(lane)]));
    if let Some(in_range) = in_range {
        warp.set(in_range, active, &std::array::from_fn(|lane| source(lane).is_some().into()));
    }
    Ok(())
}
