//! The arithmetic instructions of one lane, by opcode.

use std::array::from_fn;
use std::cmp::Ordering;

use half::f16;

use crate::program::Arithmetic;

/// Conversion between a lane's 64 bits and a typed number.
trait Bits {
    fn from_bits(bits: u64) -> Self;
    fn bits(self) -> u64;
}

macro_rules! whole_number {
    ($($kind:ty => $unsigned:ty),*) => {$(
        impl Bits for $kind {
            fn from_bits(bits: u64) -> Self { bits as Self }
            fn bits(self) -> u64 { u64::from(self as $unsigned) }
        }
    )*};
}

whole_number!(u16 => u16, u32 => u32, u64 => u64, i32 => u32, i64 => u64);

impl Bits for f32 {
    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits as u32)
    }
    fn bits(self) -> u64 {
        self.to_bits().into()
    }
}

impl Bits for f64 {
    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

impl Bits for bool {
    fn from_bits(bits: u64) -> Self {
        bits != 0
    }
    fn bits(self) -> u64 {
        self.into()
    }
}

/// Lifts a function of one lane to all of them. Every operand is typed.
macro_rules! lanes {
    (|$a:ident: $ta:ty| $result:expr) => {
        lanes!(1, |$a: $ta, _b: u64, _c: u64| $result)
    };
    (|$a:ident: $ta:ty, $b:ident: $tb:ty| $result:expr) => {
        lanes!(2, |$a: $ta, $b: $tb, _c: u64| $result)
    };
    (|$a:ident: $ta:ty, $b:ident: $tb:ty, $c:ident: $tc:ty| $result:expr) => {
        lanes!(3, |$a: $ta, $b: $tb, $c: $tc| $result)
    };
    ($count:literal, |$($operand:ident: $kind:ty),*| $result:expr) => {
        Some(($count, |a, b, c| {
            from_fn(|i| {
                let [$($operand),*] = [a[i], b[i], c[i]];
                $(let $operand = <$kind as Bits>::from_bits($operand);)*
                Bits::bits($result)
            })
        }))
    };
}

/// A comparison by the name of its relation.
macro_rules! compare {
    ($relation:expr, $kind:ty) => {
        match $relation {
            "eq" => lanes!(|a: $kind, b: $kind| a == b),
            "ne" => lanes!(|a: $kind, b: $kind| a != b),
            "lt" => lanes!(|a: $kind, b: $kind| a < b),
            "le" => lanes!(|a: $kind, b: $kind| a <= b),
            "gt" => lanes!(|a: $kind, b: $kind| a > b),
            "ge" => lanes!(|a: $kind, b: $kind| a >= b),
            _ => None,
        }
    };
}

/// An opcode's number of operands, and its function of them. `None` if it is no known arithmetic instruction.
pub(crate) fn arithmetic(opcode: &str) -> Option<(usize, Arithmetic)> {
    if let Some((relation, kind)) = opcode.strip_prefix("setp.").and_then(|rest| rest.split_once('.')) {
        return match kind {
            "u32" | "b32" => compare!(relation, u32),
            "s32" => compare!(relation, i32),
            "f32" if relation == "ne" => {
                lanes!(|a: f32, b: f32| a.partial_cmp(&b).is_some_and(Ordering::is_ne))
            }
            "f32" => compare!(relation, f32),
            _ => None,
        };
    }
    moves(opcode).or_else(|| whole(opcode)).or_else(|| bitwise(opcode)).or_else(|| real(opcode))
}

/// Moves, selections and conversions.
fn moves(opcode: &str) -> Option<(usize, Arithmetic)> {
    match opcode {
        "mov.b32" | "mov.u32" | "mov.f32" => lanes!(|a: u32| a),
        "mov.u64" | "mov.f64" | "cvta.to.global.u64" => lanes!(|a: u64| a),
        "selp.b32" | "selp.u32" | "selp.f32" => lanes!(|a: u32, b: u32, p: bool| if p { a } else { b }),
        "selp.b64" => lanes!(|a: u64, b: u64, p: bool| if p { a } else { b }),
        "cvt.u16.u32" | "cvt.u16.u64" => lanes!(|a: u64| a as u16),
        "cvt.u32.u16" => lanes!(|a: u16| u32::from(a)),
        "cvt.u32.u64" => lanes!(|a: u64| a as u32),
        "cvt.u64.u32" => lanes!(|a: u32| u64::from(a)),
        "cvt.s64.s32" => lanes!(|a: i32| i64::from(a)),
        "cvt.f32.f16" => lanes!(|a: u16| f16::from_bits(a).to_f32()),
        "cvt.rn.f32.s32" => lanes!(|a: i32| a as f32),
        _ => None,
    }
}

/// Whole numbers. Overflow wraps around.
fn whole(opcode: &str) -> Option<(usize, Arithmetic)> {
    match opcode {
        "add.s32" | "add.u32" => lanes!(|a: u32, b: u32| a.wrapping_add(b)),
        "add.s64" => lanes!(|a: u64, b: u64| a.wrapping_add(b)),
        "sub.s32" => lanes!(|a: u32, b: u32| a.wrapping_sub(b)),
        "sub.s64" => lanes!(|a: u64, b: u64| a.wrapping_sub(b)),
        "neg.s32" => lanes!(|a: u32| a.wrapping_neg()),
        "mul.lo.s32" => lanes!(|a: u32, b: u32| a.wrapping_mul(b)),
        "mul.lo.s64" => lanes!(|a: u64, b: u64| a.wrapping_mul(b)),
        "mul.hi.s32" => lanes!(|a: i32, b: i32| ((i64::from(a) * i64::from(b)) >> 32) as i32),
        "mul.wide.u16" => lanes!(|a: u16, b: u16| u32::from(a) * u32::from(b)),
        "mul.wide.s32" => lanes!(|a: i32, b: i32| i64::from(a) * i64::from(b)),
        "mul.wide.u32" => lanes!(|a: u32, b: u32| u64::from(a) * u64::from(b)),
        "mad.lo.s32" => lanes!(|a: u32, b: u32, c: u32| a.wrapping_mul(b).wrapping_add(c)),
        // The value of a division by zero is unspecified.
        "div.s32" => lanes!(|a: i32, b: i32| if b == 0 { -1 } else { a.wrapping_div(b) }),
        "div.u32" => lanes!(|a: u32, b: u32| a.checked_div(b).unwrap_or(u32::MAX)),
        "rem.s32" => lanes!(|a: i32, b: i32| if b == 0 { a } else { a.wrapping_rem(b) }),
        "rem.u32" => lanes!(|a: u32, b: u32| a.checked_rem(b).unwrap_or(a)),
        "min.s32" => lanes!(|a: i32, b: i32| a.min(b)),
        "max.s32" => lanes!(|a: i32, b: i32| a.max(b)),
        "min.u32" => lanes!(|a: u32, b: u32| a.min(b)),
        "max.u32" => lanes!(|a: u32, b: u32| a.max(b)),
        _ => None,
    }
}

/// Bits and predicates. Shifts beyond the width shift everything out.
fn bitwise(opcode: &str) -> Option<(usize, Arithmetic)> {
    match opcode {
        "mov.pred" => lanes!(|a: bool| a),
        "and.pred" => lanes!(|a: bool, b: bool| a & b),
        "or.pred" => lanes!(|a: bool, b: bool| a | b),
        "xor.pred" => lanes!(|a: bool, b: bool| a ^ b),
        "not.pred" => lanes!(|a: bool| !a),
        "and.b16" => lanes!(|a: u16, b: u16| a & b),
        "and.b32" => lanes!(|a: u32, b: u32| a & b),
        "and.b64" => lanes!(|a: u64, b: u64| a & b),
        "or.b32" => lanes!(|a: u32, b: u32| a | b),
        "or.b64" => lanes!(|a: u64, b: u64| a | b),
        "xor.b32" => lanes!(|a: u32, b: u32| a ^ b),
        "popc.b32" => lanes!(|a: u32| a.count_ones()),
        "clz.b32" => lanes!(|a: u32| a.leading_zeros()),
        "not.b32" => lanes!(|a: u32| !a),
        "shl.b32" => lanes!(|a: u32, b: u32| a.checked_shl(b).unwrap_or(0)),
        "shl.b64" => lanes!(|a: u64, b: u32| a.checked_shl(b).unwrap_or(0)),
        "shr.u32" => lanes!(|a: u32, b: u32| a.checked_shr(b).unwrap_or(0)),
        "shr.u64" => lanes!(|a: u64, b: u32| a.checked_shr(b).unwrap_or(0)),
        "shr.s32" => lanes!(|a: i32, b: u32| a >> b.min(31)),
        _ => None,
    }
}

/// Real numbers, rounded to nearest.
fn real(opcode: &str) -> Option<(usize, Arithmetic)> {
    match opcode {
        "add.f32" => lanes!(|a: f32, b: f32| a + b),
        "add.f64" => lanes!(|a: f64, b: f64| a + b),
        "sub.f32" => lanes!(|a: f32, b: f32| a - b),
        "mul.f32" => lanes!(|a: f32, b: f32| a * b),
        "mul.f64" => lanes!(|a: f64, b: f64| a * b),
        "fma.rn.f32" => lanes!(|a: f32, b: f32, c: f32| a.mul_add(b, c)),
        "fma.rn.f64" => lanes!(|a: f64, b: f64, c: f64| a.mul_add(b, c)),
        "div.rn.f32" => lanes!(|a: f32, b: f32| a / b),
        "rcp.rn.f32" => lanes!(|a: f32| 1.0 / a),
        "sqrt.rn.f32" => lanes!(|a: f32| a.sqrt()),
        "neg.f32" => lanes!(|a: f32| -a),
        "abs.f32" => lanes!(|a: f32| a.abs()),
        // A number is above a NaN, and 0 above -0.
        "max.f32" => {
            lanes!(|a: f32, b: f32| if a == b { f32::from_bits(a.to_bits() & b.to_bits()) } else { a.max(b) })
        }
        // Within 2 units in the last place on a GPU. Subnormal results are zero.
        "ex2.approx.ftz.f32" => lanes!(|a: f32| {
            let power = a.exp2();
            if power < f32::MIN_POSITIVE { 0.0_f32 } else { power }
        }),
        _ => None,
    }
}
