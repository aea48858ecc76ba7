//! Decodes instructions. An unknown one is an error and never skipped.

use crate::program::{
    Address, Direction, Format, Instruction, Op, Operand, Register, Shuffle, Space, Special,
};
use crate::scalar;
use crate::statements::{Names, ParseError, Statement};

/// The size of a type in bytes, by its name: `u32` has 4.
pub(crate) fn width(kind: &str) -> Option<usize> {
    match kind {
        "b8" | "u8" => Some(1),
        "b16" | "u16" => Some(2),
        "b32" | "u32" | "s32" | "f32" => Some(4),
        "b64" | "u64" | "s64" | "f64" => Some(8),
        _ => None,
    }
}

/// Decodes one instruction with its predicate.
pub(crate) fn instruction(statement: &Statement, names: &Names) -> Result<Instruction, ParseError> {
    let decoder = Decoder { statement, names };
    let mut text = statement.text.as_str();
    let mut predicate = None;
    if let Some(guarded) = text.strip_prefix('@') {
        let (name, rest) =
            guarded.split_once(char::is_whitespace).ok_or_else(|| decoder.refuse("no instruction"))?;
        let negated = name.starts_with('!');
        predicate = Some((decoder.register(name.trim_start_matches('!'))?, negated));
        text = rest.trim();
    }
    let (opcode, operands) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let op = decoder.op(opcode, &split_operands(operands))?;
    Ok(Instruction { op, predicate, line: statement.line, text: statement.text.clone() })
}

/// Splits at commas outside of braces and brackets.
fn split_operands(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let separator = |c: char| {
        depth += i32::from("{[".contains(c)) - i32::from("}]".contains(c));
        c == ',' && depth == 0
    };
    text.split(separator).map(str::trim).filter(|operand| !operand.is_empty()).collect()
}

struct Decoder<'a> {
    statement: &'a Statement,
    names: &'a Names,
}

impl Decoder<'_> {
    fn refuse(&self, reason: impl Into<String>) -> ParseError {
        self.statement.refuse(reason)
    }

    fn op(&self, opcode: &str, operands: &[&str]) -> Result<Op, ParseError> {
        match opcode {
            "bra" | "bra.uni" => return self.branch(operands),
            "ret" => return Ok(Op::Return),
            "bar.sync" => return self.barrier(operands),
            "cp.async.commit_group" => return Ok(Op::CommitCopies),
            "cp.async.wait_group" => return self.wait(operands),
            "cp.async.cg.shared.global" => return self.copy(operands),
            "shfl.sync.bfly.b32" => return self.shuffle(Direction::Butterfly, operands),
            "shfl.sync.up.b32" => return self.shuffle(Direction::Up, operands),
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" => {
                return self.multiply(Format::Bf16, operands);
            }
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32" => {
                return self.multiply(Format::F16, operands);
            }
            "bfi.b32" => return self.insert(operands),
            _ => {}
        }
        let (family, kind) = opcode.split_once('.').unwrap_or((opcode, ""));
        match family {
            "ld" => self.load(kind, operands),
            "st" => self.store(kind, operands),
            "red" => self.reduce(kind, operands),
            _ => self.compute(opcode, operands),
        }
    }

    fn compute(&self, opcode: &str, operands: &[&str]) -> Result<Op, ParseError> {
        let (count, arithmetic) =
            scalar::arithmetic(opcode).ok_or_else(|| self.refuse("unknown instruction"))?;
        let (to, sources) = operands.split_first().ok_or_else(|| self.refuse("no operands"))?;
        if sources.len() != count {
            return Err(self.refuse(format!("expected {count} sources, found {}", sources.len())));
        }
        Ok(Op::Compute { arithmetic, to: self.register(to)?, sources: self.operands(sources)? })
    }

    /// `[.global|.shared|.param][.v2|.v4].kind`
    fn access(&self, kind: &str) -> Result<(&'static str, usize, usize), ParseError> {
        let refuse = || self.refuse("unknown kind of access");
        let (space, kind) = kind.split_once('.').ok_or_else(refuse)?;
        let (count, kind) = match kind.split_once('.') {
            Some(("v2", kind)) => (2, kind),
            Some(("v4", kind)) => (4, kind),
            _ => (1, kind),
        };
        let space =
            ["global", "shared", "param"].into_iter().find(|known| *known == space).ok_or_else(refuse)?;
        Ok((space, count, width(kind).ok_or_else(refuse)?))
    }

    fn space(&self, name: &str) -> Result<Space, ParseError> {
        match name {
            "global" => Ok(Space::Global),
            "shared" => Ok(Space::Shared),
            _ => Err(self.refuse("no such space for this access")),
        }
    }

    fn load(&self, kind: &str, operands: &[&str]) -> Result<Op, ParseError> {
        let (space, count, size) = self.access(kind)?;
        let [to, address] = self.exactly(operands)?;
        let to =
            self.vector(to, count)?.iter().map(|name| self.register(name)).collect::<Result<Vec<_>, _>>()?;
        if space == "param" {
            let name = address.trim_start_matches('[').trim_end_matches(']');
            let offset = self.names.parameters.get(name).copied();
            let offset = offset.ok_or_else(|| self.refuse("no such parameter"))?;
            return Ok(Op::LoadParameter { to: to[0], offset, size });
        }
        Ok(Op::Load { space: self.space(space)?, size, to, address: self.address(address)? })
    }

    fn store(&self, kind: &str, operands: &[&str]) -> Result<Op, ParseError> {
        let (space, count, size) = self.access(kind)?;
        if size < 4 {
            return Err(self.refuse("stores of less than a word are not known"));
        }
        let [address, from] = self.exactly(operands)?;
        let from = self.operands(&self.vector(from, count)?)?;
        Ok(Op::Store { space: self.space(space)?, size, from, address: self.address(address)? })
    }

    /// `red.global.add.u32 [address], value`
    fn reduce(&self, kind: &str, operands: &[&str]) -> Result<Op, ParseError> {
        let (space, operation) = kind.split_once('.').unwrap_or((kind, ""));
        let combine = match operation {
            "add.u32" => u32::wrapping_add,
            "min.u32" => u32::min,
            _ => return Err(self.refuse("unknown instruction")),
        };
        let [address, value] = self.exactly(operands)?;
        Ok(Op::Reduce {
            space: self.space(space)?,
            combine,
            address: self.address(address)?,
            value: self.operand(value)?,
        })
    }

    fn branch(&self, operands: &[&str]) -> Result<Op, ParseError> {
        let [label] = self.exactly(operands)?;
        let target = self.names.labels.get(label).copied();
        Ok(Op::Branch { target: target.ok_or_else(|| self.refuse("no such label"))? })
    }

    /// Only barrier 0 of the whole block is known.
    fn barrier(&self, operands: &[&str]) -> Result<Op, ParseError> {
        if operands == ["0"] {
            Ok(Op::Barrier)
        } else {
            Err(self.refuse("expected barrier 0 of all threads"))
        }
    }

    fn wait(&self, operands: &[&str]) -> Result<Op, ParseError> {
        let [pending] = self.exactly(operands)?;
        let pending = pending.parse().map_err(|_| self.refuse("expected a number of groups"))?;
        Ok(Op::WaitCopies { pending })
    }

    /// `cp.async.cg.shared.global [to], [from], 16, bytes`
    fn copy(&self, operands: &[&str]) -> Result<Op, ParseError> {
        let [to, from, "16", bytes] = self.exactly(operands)? else {
            return Err(self.refuse("expected a copy of 16 bytes with a source size"));
        };
        Ok(Op::CopyAsync { to: self.address(to)?, from: self.address(from)?, bytes: self.operand(bytes)? })
    }

    /// `shfl.sync.direction.b32 to|in_range, value, distance, clamp, members`
    fn shuffle(&self, direction: Direction, operands: &[&str]) -> Result<Op, ParseError> {
        let [to, value, distance, clamp, members] = self.exactly(operands)?;
        let (to, in_range) = to.split_once('|').map_or((to, None), |(to, in_range)| (to, Some(in_range)));
        Ok(Op::Shuffle(Shuffle {
            direction,
            to: self.register(to)?,
            in_range: in_range.map(|name| self.register(name)).transpose()?,
            value: self.operand(value)?,
            distance: self.operand(distance)?,
            clamp: self.operand(clamp)?,
            members: self.operand(members)?,
        }))
    }

    fn multiply(&self, format: Format, operands: &[&str]) -> Result<Op, ParseError> {
        let [d, a, b, c] = self.exactly(operands)?;
        let short = |_| self.refuse("wrong size of a fragment");
        let fragment = |text, count| self.operands(&self.vector(text, count)?);
        let to: Vec<Register> =
            self.vector(d, 4)?.iter().map(|name| self.register(name)).collect::<Result<_, _>>()?;
        Ok(Op::Multiply {
            format,
            to: to.try_into().map_err(|_| self.refuse("wrong size of a fragment"))?,
            a: fragment(a, 4)?.try_into().map_err(short)?,
            b: fragment(b, 2)?.try_into().map_err(short)?,
            c: fragment(c, 4)?.try_into().map_err(short)?,
        })
    }

    /// `bfi.b32 to, bits, base, position, length`
    fn insert(&self, operands: &[&str]) -> Result<Op, ParseError> {
        let [to, bits, base, position, length] = self.exactly(operands)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| self.refuse("expected constant bounds"));
        Ok(Op::InsertBits {
            to: self.register(to)?,
            bits: self.operand(bits)?,
            base: self.operand(base)?,
            position: number(position)?,
            length: number(length)?,
        })
    }

    fn exactly<'t, const COUNT: usize>(&self, operands: &[&'t str]) -> Result<[&'t str; COUNT], ParseError> {
        operands
            .try_into()
            .map_err(|_| self.refuse(format!("expected {COUNT} operands, found {}", operands.len())))
    }

    /// `{a, b}` or, for a single one, `a`.
    fn vector<'t>(&self, text: &'t str, count: usize) -> Result<Vec<&'t str>, ParseError> {
        let parts = split_operands(text.trim_start_matches('{').trim_end_matches('}'));
        if parts.len() == count {
            Ok(parts)
        } else {
            Err(self.refuse(format!("expected a vector of {count}")))
        }
    }

    fn operands(&self, texts: &[&str]) -> Result<Vec<Operand>, ParseError> {
        texts.iter().map(|text| self.operand(text)).collect()
    }

    fn register(&self, name: &str) -> Result<Register, ParseError> {
        self.names.registers.get(name).copied().ok_or_else(|| self.refuse(format!("no register '{name}'")))
    }

    /// A register, a special register, a number or a shared variable's address.
    fn operand(&self, text: &str) -> Result<Operand, ParseError> {
        if let Some(&register) = self.names.registers.get(text) {
            return Ok(Operand::Register(register));
        }
        if let Some(&address) = self.names.shared.get(text) {
            return Ok(Operand::Immediate(address));
        }
        let number = number(text).map(Operand::Immediate).or_else(|| special(text).map(Operand::Special));
        number.ok_or_else(|| self.refuse(format!("unknown operand '{text}'")))
    }

    /// `[base]`, `[base+offset]`
    fn address(&self, text: &str) -> Result<Address, ParseError> {
        let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let inside = inside.ok_or_else(|| self.refuse("expected [address]"))?;
        let (base, offset) = inside.split_once('+').unwrap_or((inside, "0"));
        let offset = offset.parse().map_err(|_| self.refuse("expected a number of bytes"))?;
        Ok(Address { base: self.operand(base.trim())?, offset })
    }
}

/// `-3`, `0x1F`, `0f3F800000` (the bits of an f32), `0d3FF0000000000000`.
fn number(text: &str) -> Option<u64> {
    if let Some(bits) =
        text.strip_prefix("0f").or_else(|| text.strip_prefix("0d")).or_else(|| text.strip_prefix("0x"))
    {
        return u64::from_str_radix(bits, 16).ok();
    }
    text.parse::<i64>().ok().map(i64::cast_unsigned)
}

fn special(text: &str) -> Option<Special> {
    let (name, axis) = text.split_once('.')?;
    let axis = ["x", "y", "z"].iter().position(|known| *known == axis)?;
    match name {
        "%tid" => Some(Special::Thread(axis)),
        "%ntid" => Some(Special::BlockExtent(axis)),
        "%ctaid" => Some(Special::Block(axis)),
        "%nctaid" => Some(Special::GridExtent(axis)),
        _ => None,
    }
}
