//! Each arithmetic instruction, lane by lane, against a second statement of it.
//!
//! Whole numbers are stated in 128 bits and cut, real ones in a precision in which the result is exact before it is
//! rounded once.

mod common;

use laprox_ptxsim::{Launch, Memory, Module};
use proptest::prelude::*;

/// The PTX of the project's kernels.
const SHIPPED: &str = include_str!("../../ptx/sm_80.ptx");

/// How an operand lies in its register.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Predicate,
    B16,
    B32,
    B64,
}

use Kind::{B16, B32, B64, Predicate};

/// An instruction: its sources, its result, and its function of their bits, which is `None` if undefined.
struct Case {
    opcode: &'static str,
    sources: &'static [Kind],
    result: Kind,
    statement: fn(&[u64]) -> Option<u64>,
}

const fn case(
    opcode: &'static str,
    sources: &'static [Kind],
    result: Kind,
    statement: fn(&[u64]) -> Option<u64>,
) -> Case {
    Case { opcode, sources, result, statement }
}

fn u16s(bits: u64) -> i128 {
    i128::from(bits as u16)
}
fn u32s(bits: u64) -> i128 {
    i128::from(bits as u32)
}
fn s32s(bits: u64) -> i128 {
    i128::from(bits as u32 as i32)
}
fn s64s(bits: u64) -> i128 {
    i128::from(bits as i64)
}
fn single(bits: u64) -> f64 {
    f64::from(f32::from_bits(bits as u32))
}
fn double(bits: u64) -> f64 {
    f64::from_bits(bits)
}
fn cut32(number: i128) -> Option<u64> {
    Some(number as u32 as u64)
}
fn cut64(number: i128) -> Option<u64> {
    Some(number as u64)
}
fn to_single(number: f64) -> Option<u64> {
    Some(u64::from((number as f32).to_bits()))
}
fn truth(holds: bool) -> Option<u64> {
    Some(u64::from(holds))
}
/// `2^bits`, or what shifts everything out.
fn power(bits: u64) -> i128 {
    1_i128 << (bits as u32).min(100)
}

const CASES: &[Case] = &[
    case("mov.u32", &[B32], B32, |x| Some(x[0])),
    case("mov.b32", &[B32], B32, |x| Some(x[0])),
    case("mov.f32", &[B32], B32, |x| Some(x[0])),
    case("mov.u64", &[B64], B64, |x| Some(x[0])),
    case("mov.f64", &[B64], B64, |x| Some(x[0])),
    case("cvta.to.global.u64", &[B64], B64, |x| Some(x[0])),
    case("selp.f32", &[B32, B32, Predicate], B32, |x| Some(x[usize::from(x[2] == 0)])),
    case("selp.b32", &[B32, B32, Predicate], B32, |x| Some(x[usize::from(x[2] == 0)])),
    case("selp.b64", &[B64, B64, Predicate], B64, |x| Some(x[usize::from(x[2] == 0)])),
    case("selp.u32", &[B32, B32, Predicate], B32, |x| Some(x[usize::from(x[2] == 0)])),
    case("cvt.u16.u32", &[B32], B16, |x| Some(x[0] % (1 << 16))),
    case("cvt.u32.u64", &[B64], B32, |x| Some(x[0] % (1 << 32))),
    case("cvt.u64.u32", &[B32], B64, |x| Some(x[0])),
    case("cvt.s64.s32", &[B32], B64, |x| cut64(s32s(x[0]))),
    case("cvt.rn.f32.s32", &[B32], B32, |x| to_single(s32s(x[0]) as f64)),
    case("cvt.f32.f16", &[B16], B32, |x| half_to_single(x[0])),
    case("add.s32", &[B32, B32], B32, |x| cut32(s32s(x[0]) + s32s(x[1]))),
    case("add.u32", &[B32, B32], B32, |x| cut32(u32s(x[0]) + u32s(x[1]))),
    case("add.s64", &[B64, B64], B64, |x| cut64(s64s(x[0]) + s64s(x[1]))),
    case("sub.s32", &[B32, B32], B32, |x| cut32(s32s(x[0]) - s32s(x[1]))),
    case("sub.s64", &[B64, B64], B64, |x| cut64(s64s(x[0]) - s64s(x[1]))),
    case("neg.s32", &[B32], B32, |x| cut32(-s32s(x[0]))),
    case("mul.lo.s32", &[B32, B32], B32, |x| cut32(s32s(x[0]) * s32s(x[1]))),
    case("mul.lo.s64", &[B64, B64], B64, |x| cut64(s64s(x[0]).wrapping_mul(s64s(x[1])))),
    case("mul.hi.s32", &[B32, B32], B32, |x| cut32((s32s(x[0]) * s32s(x[1])).div_euclid(1 << 32))),
    case("mul.wide.u16", &[B16, B16], B32, |x| cut32(u16s(x[0]) * u16s(x[1]))),
    case("mul.wide.s32", &[B32, B32], B64, |x| cut64(s32s(x[0]) * s32s(x[1]))),
    case("mul.wide.u32", &[B32, B32], B64, |x| cut64(u32s(x[0]) * u32s(x[1]))),
    case("mad.lo.s32", &[B32, B32, B32], B32, |x| cut32(s32s(x[0]) * s32s(x[1]) + s32s(x[2]))),
    case("div.s32", &[B32, B32], B32, |x| (u32s(x[1]) != 0).then(|| (s32s(x[0]) / s32s(x[1])) as u32 as u64)),
    case("div.u32", &[B32, B32], B32, |x| x[0].checked_div(x[1])),
    case("rem.s32", &[B32, B32], B32, |x| (u32s(x[1]) != 0).then(|| (s32s(x[0]) % s32s(x[1])) as u32 as u64)),
    case("rem.u32", &[B32, B32], B32, |x| x[0].checked_rem(x[1])),
    case("min.s32", &[B32, B32], B32, |x| {
        cut32(if s32s(x[0]) < s32s(x[1]) { s32s(x[0]) } else { s32s(x[1]) })
    }),
    case("max.s32", &[B32, B32], B32, |x| {
        cut32(if s32s(x[0]) > s32s(x[1]) { s32s(x[0]) } else { s32s(x[1]) })
    }),
    case("min.u32", &[B32, B32], B32, |x| Some(if x[0] < x[1] { x[0] } else { x[1] })),
    case("max.u32", &[B32, B32], B32, |x| Some(if x[0] > x[1] { x[0] } else { x[1] })),
    case("and.pred", &[Predicate, Predicate], Predicate, |x| truth(x[0] + x[1] == 2)),
    case("or.pred", &[Predicate, Predicate], Predicate, |x| truth(x[0] + x[1] != 0)),
    case("mov.pred", &[Predicate], Predicate, |x| truth(x[0] == 1)),
    case("xor.pred", &[Predicate, Predicate], Predicate, |x| truth(x[0] + x[1] == 1)),
    case("not.pred", &[Predicate], Predicate, |x| truth(x[0] == 0)),
    case("and.b16", &[B16, B16], B16, |x| Some(x[0] & x[1])),
    case("and.b32", &[B32, B32], B32, |x| Some(x[0] & x[1])),
    case("and.b64", &[B64, B64], B64, |x| Some(x[0] & x[1])),
    case("or.b32", &[B32, B32], B32, |x| Some(x[0] + x[1] - (x[0] & x[1]))),
    case("or.b64", &[B64, B64], B64, |x| Some((x[0] & !x[1]) + x[1])),
    case("xor.b32", &[B32, B32], B32, |x| Some(x[0] + x[1] - 2 * (x[0] & x[1]))),
    case("not.b32", &[B32], B32, |x| Some(u64::from(u32::MAX) - x[0])),
    case("popc.b32", &[B32], B32, |x| Some((0..32).map(|bit| x[0] >> bit & 1).sum())),
    case("clz.b32", &[B32], B32, |x| Some((0..32).take_while(|bit| x[0] >> (31 - bit) == 0).count() as u64)),
    case("shl.b32", &[B32, B32], B32, |x| cut32(u32s(x[0]).wrapping_mul(power(x[1])))),
    case("shl.b64", &[B64, B32], B64, |x| cut64(i128::from(x[0]).wrapping_mul(power(x[1])))),
    case("shr.u32", &[B32, B32], B32, |x| cut32(u32s(x[0]) / power(x[1]))),
    case("shr.u64", &[B64, B32], B64, |x| cut64(i128::from(x[0]) / power(x[1]))),
    case("shr.s32", &[B32, B32], B32, |x| cut32(s32s(x[0]).div_euclid(power(x[1])))),
    case("add.f32", &[B32, B32], B32, |x| to_single(single(x[0]) + single(x[1]))),
    case("sub.f32", &[B32, B32], B32, |x| to_single(single(x[0]) - single(x[1]))),
    case("mul.f32", &[B32, B32], B32, |x| to_single(single(x[0]) * single(x[1]))),
    case("div.rn.f32", &[B32, B32], B32, |x| to_single(single(x[0]) / single(x[1]))),
    case("rcp.rn.f32", &[B32], B32, |x| to_single(single(x[0]).recip())),
    case("sqrt.rn.f32", &[B32], B32, |x| to_single(single(x[0]).sqrt())),
    case("neg.f32", &[B32], B32, |x| Some(x[0] ^ 1 << 31)),
    case("abs.f32", &[B32], B32, |x| Some(x[0] & !(1 << 31))),
    case("max.f32", &[B32, B32], B32, |x| largest(x[0], x[1])),
    case("add.f64", &[B64, B64], B64, |x| Some((double(x[1]) + double(x[0])).to_bits())),
    case("mul.f64", &[B64, B64], B64, |x| Some((double(x[1]) * double(x[0])).to_bits())),
    case("setp.eq.s32", &[B32, B32], Predicate, |x| truth(x[0] == x[1])),
    case("setp.eq.b32", &[B32, B32], Predicate, |x| truth(x[0] == x[1])),
    case("setp.ne.s32", &[B32, B32], Predicate, |x| truth(x[0] != x[1])),
    case("setp.lt.s32", &[B32, B32], Predicate, |x| truth(s32s(x[0]) - s32s(x[1]) < 0)),
    case("setp.le.s32", &[B32, B32], Predicate, |x| truth(s32s(x[0]) - s32s(x[1]) <= 0)),
    case("setp.gt.s32", &[B32, B32], Predicate, |x| truth(s32s(x[0]) - s32s(x[1]) > 0)),
    case("setp.ge.s32", &[B32, B32], Predicate, |x| truth(s32s(x[0]) - s32s(x[1]) >= 0)),
    case("setp.lt.u32", &[B32, B32], Predicate, |x| truth(u32s(x[0]) - u32s(x[1]) < 0)),
    case("setp.le.u32", &[B32, B32], Predicate, |x| truth(u32s(x[0]) - u32s(x[1]) <= 0)),
    case("setp.gt.u32", &[B32, B32], Predicate, |x| truth(u32s(x[0]) - u32s(x[1]) > 0)),
    case("setp.ge.u32", &[B32, B32], Predicate, |x| truth(u32s(x[0]) - u32s(x[1]) >= 0)),
    case("setp.eq.f32", &[B32, B32], Predicate, |x| {
        truth(single(x[0]) - single(x[1]) == 0.0 || same_infinity(x))
    }),
    case("setp.ne.f32", &[B32, B32], Predicate, |x| truth((single(x[0]) - single(x[1])).abs() > 0.0)),
    case("setp.lt.f32", &[B32, B32], Predicate, |x| truth(single(x[1]) > single(x[0]))),
    case("setp.le.f32", &[B32, B32], Predicate, |x| truth(single(x[1]) >= single(x[0]))),
    case("setp.ge.f32", &[B32, B32], Predicate, |x| truth(single(x[1]) <= single(x[0]))),
    case("setp.ne.b32", &[B32, B32], Predicate, |x| truth(x[0] ^ x[1] != 0)),
    case("setp.gt.f32", &[B32, B32], Predicate, |x| truth(single(x[0]) - single(x[1]) > 0.0)),
];

fn same_infinity(x: &[u64]) -> bool {
    x[0] == x[1] && single(x[0]).is_infinite()
}

/// A NaN loses to a number, and -0 to 0.
fn largest(a: u64, b: u64) -> Option<u64> {
    match (single(a).is_nan(), single(b).is_nan()) {
        (true, true) => None,
        (true, false) => Some(b),
        (false, true) => Some(a),
        _ if single(a) == single(b) => Some(if a >> 31 == 0 { a } else { b }),
        _ => Some(if single(a) > single(b) { a } else { b }),
    }
}

/// Sign, exponent and fraction of a half, put together again.
fn half_to_single(bits: u64) -> Option<u64> {
    let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 31, (bits & 1023) as f64);
    let size = match exponent {
        31 if fraction > 0.0 => return None,
        31 => f64::INFINITY,
        0 => fraction * 2.0_f64.powi(-24),
        _ => (1024.0 + fraction) * 2.0_f64.powi(exponent as i32 - 25),
    };
    to_single(if sign == 1 { -size } else { size })
}

impl Case {
    /// Loads the sources from `a`, a u64 each, and stores the result to `b`, a u64.
    fn text(&self) -> String {
        let mut body = String::from("mul.wide.u32 %rd10, %r0, 32; add.s64 %rd11, %rd0, %rd10;\n");
        for (index, kind) in self.sources.iter().enumerate() {
            // `%rd0` to `%rd2` are the buffers.
            let (register, wide) = (index + 1, index + 14);
            body += &format!("ld.global.u64 %rd{wide}, [%rd11+{}];\n", 8 * index);
            body += &match kind {
                Predicate => {
                    format!(
                        "cvt.u32.u64 %r{register}, %rd{wide}; setp.ne.s32 %p{register}, %r{register}, 0;\n"
                    )
                }
                B16 => format!("cvt.u16.u64 %rs{register}, %rd{wide};\n"),
                B32 => format!("cvt.u32.u64 %r{register}, %rd{wide};\n"),
                B64 => String::new(),
            };
        }
        let name = |kind: Kind, index: usize| match kind {
            Predicate => format!("%p{index}"),
            B16 => format!("%rs{index}"),
            B32 => format!("%r{index}"),
            B64 => format!("%rd{}", index + 13),
        };
        let sources: Vec<String> =
            self.sources.iter().enumerate().map(|(index, &kind)| name(kind, index + 1)).collect();
        body += &format!("{} {}, {};\n", self.opcode, name(self.result, 7), sources.join(", "));
        body += match self.result {
            Predicate => "selp.u32 %r8, 1, 0, %p7; cvt.u64.u32 %rd9, %r8;\n",
            B16 => "cvt.u32.u16 %r8, %rs7; cvt.u64.u32 %rd9, %r8;\n",
            B32 => "cvt.u64.u32 %rd9, %r7;\n",
            B64 => "mov.u64 %rd9, %rd20;\n",
        };
        body += "mul.wide.u32 %rd12, %r0, 8; add.s64 %rd13, %rd1, %rd12; st.global.u64 [%rd13], %rd9;";
        common::text(&body)
    }

    /// Runs 32 lanes, each on its own sources.
    fn run(&self, sources: &[[u64; 3]; 32]) -> Vec<u64> {
        let module = Module::parse(&self.text()).unwrap();
        let mut memory = Memory::default();
        let (from, to) = (memory.allocate(1024), memory.allocate(256));
        let words: Vec<u8> =
            sources.iter().flat_map(|[a, b, c]| [*a, *b, *c, 0]).flat_map(u64::to_le_bytes).collect();
        memory.write(from, &words).unwrap();
        let parameters: Vec<u8> = [from, to, 0].into_iter().flat_map(u64::to_le_bytes).collect();
        let kernel = module.kernel("k").unwrap();
        let launch =
            Launch { kernel, grid: [1; 3], block: [32, 1, 1], dynamic_shared: 0, parameters: &parameters };
        launch.run(&mut memory).unwrap();
        let bytes = memory.read(to, 256).unwrap();
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    }

    fn cut(&self, sources: [u64; 3]) -> Vec<u64> {
        let cut = |(&kind, bits): (&Kind, u64)| match kind {
            Predicate => bits & 1,
            B16 => bits & 0xffff,
            B32 => bits & 0xffff_ffff,
            B64 => bits,
        };
        self.sources.iter().zip(sources).map(cut).collect()
    }

    fn check(&self, sources: &[[u64; 3]; 32]) {
        let sources = sources.map(|sources| {
            let mut cut = self.cut(sources);
            cut.resize(3, 0);
            [cut[0], cut[1], cut[2]]
        });
        for (sources, found) in sources.iter().zip(self.run(&sources)) {
            let operands = &sources[..self.sources.len()];
            let Some(expected) = (self.statement)(operands) else { continue };
            let both_nan =
                self.opcode.ends_with("f32") && single(expected).is_nan() && single(found).is_nan()
                    || self.opcode.ends_with("f64") && double(expected).is_nan() && double(found).is_nan();
            assert!(
                found == expected || both_nan,
                "{} {operands:x?}: {found:#x}, expected {expected:#x}",
                self.opcode
            );
        }
    }
}

/// Bits at the edges of every type, and any others.
fn bits() -> impl Strategy<Value = u64> {
    let ones = f64::from_bits(0x3ff0_0000_0000_0000);
    let edges = vec![
        0,
        1,
        2,
        31,
        32,
        33,
        63,
        64,
        0x7fff,
        0x8000,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        u64::MAX,
        1 << 63,
        0x3f80_0000,
        0xbf80_0000,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0x0080_0000,
        0x0000_0400,
        0x7c00,
        0x3c00,
        ones.to_bits(),
    ];
    prop_oneof![prop::sample::select(edges), any::<u64>(), any::<f32>().prop_map(|x| u64::from(x.to_bits()))]
}

fn lanes() -> impl Strategy<Value = [[u64; 3]; 32]> {
    prop::array::uniform32([bits(), bits(), bits()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_instruction_does_what_its_statement_says(sources in lanes()) {
        CASES.iter().for_each(|case| case.check(&sources));
    }
}

fn one(opcode: &'static str, kind: &'static [Kind], result: Kind, sources: [u64; 3]) -> u64 {
    let case = Case { opcode, sources: kind, result, statement: |_| None };
    case.run(&[sources; 32])[17]
}

/// Products of 12-bit numbers and their sums are exact in f64, so only the last rounding is left. The product itself must not
/// be rounded.
#[test]
fn a_fused_multiply_add_rounds_once() {
    let bits = |x: f32| u64::from(x.to_bits());
    let fused = |a: f32, b: f32, c: f32| {
        f32::from_bits(one("fma.rn.f32", &[B32, B32, B32], B32, [bits(a), bits(b), bits(c)]) as u32)
    };
    for a in [3.0_f32, -4095.0, 0.125, 1.0 / 4096.0] {
        for c in [1.0_f32, -33_554_431.0, 0.75, -0.0] {
            assert_eq!(fused(a, 2047.0, c), (f64::from(a) * 2047.0 + f64::from(c)) as f32);
        }
    }
    let x = 1.0 + f32::EPSILON;
    assert_eq!(fused(x, x, -(x * x)), f32::EPSILON * f32::EPSILON);

    let wide = |a: f64, b: f64, c: f64| {
        f64::from_bits(one("fma.rn.f64", &[B64, B64, B64], B64, [a.to_bits(), b.to_bits(), c.to_bits()]))
    };
    let y = 1.0 + f64::EPSILON;
    assert_eq!(wide(y, y, -(y * y)), f64::EPSILON * f64::EPSILON);
    assert_eq!(wide(3.0, 5.0, -14.5), 0.5);
}

#[test]
fn a_power_of_two_is_within_two_units_and_never_subnormal() {
    for step in -1400..=1300_i32 {
        let x = step as f32 / 10.0;
        let found = f32::from_bits(one("ex2.approx.ftz.f32", &[B32], B32, [x.to_bits().into(), 0, 0]) as u32);
        let exact = f64::from(x).exp2();
        if exact < f64::from(f32::MIN_POSITIVE) {
            assert_eq!(found, 0.0, "{x}");
        } else if x < 128.0 {
            assert!((f64::from(found) - exact).abs() <= exact * 2.0_f64.powi(-22), "{x}: {found}");
        } else {
            assert_eq!(found, f32::INFINITY, "{x}");
        }
    }
    let nothing = one("ex2.approx.ftz.f32", &[B32], B32, [f32::NEG_INFINITY.to_bits().into(), 0, 0]);
    assert_eq!(nothing, 0);
}

/// `bfi to, bits, base, 3, 5`: five bits at position 3.
#[test]
fn bits_are_inserted_at_their_position() {
    let body = "ld.global.u32 %r1, [%rd0]; ld.global.u32 %r2, [%rd0+4]; bfi.b32 %r3, %r1, %r2, 3, 5;
        setp.eq.s32 %p0, %r0, 0; @%p0 st.global.u32 [%rd1], %r3;";
    let words = common::Bench::new(body).with(0, &[0b1111_0110_1101, 0xffff_ff00]).words(1, 1);
    assert_eq!(words, [0xffff_ff00 | 0b01101 << 3]);
}

/// Instructions that other tests of this crate cover.
const ELSEWHERE: [&str; 20] = [
    "ld.param",
    "ld.global",
    "ld.shared",
    "st.global",
    "st.shared",
    "red.global.add.u32",
    "red.shared.add.u32",
    "red.global.min.u32",
    "bra",
    "bra.uni",
    "ret",
    "bar.sync",
    "shfl.sync.bfly.b32",
    "shfl.sync.up.b32",
    "cp.async.cg.shared.global",
    "cp.async.commit_group",
    "cp.async.wait_group",
    "mma.sync",
    "fma.rn",
    "bfi.b32",
];

#[test]
fn every_instruction_that_ships_is_tested() {
    let mut untested = Vec::new();
    for line in SHIPPED.lines().filter(|line| line.starts_with('\t') && line.ends_with(';')) {
        let code = line.trim().trim_start_matches(['@', '!']);
        let mut words = code.split_whitespace();
        let mut opcode = words.next().unwrap_or_default();
        if opcode.starts_with("%p") {
            opcode = words.next().unwrap_or_default();
        }
        let opcode = opcode.trim_end_matches(';');
        let known = opcode.starts_with('.')
            || opcode == "ex2.approx.ftz.f32"
            || ELSEWHERE.iter().any(|prefix| opcode.starts_with(prefix))
            || CASES.iter().any(|case| case.opcode == opcode);
        if !known && !untested.contains(&opcode) {
            untested.push(opcode);
        }
    }
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn what_is_not_known_is_an_error_that_names_its_line() {
    for unknown in [
        "sin.approx.f32 %f1, %f0;",
        "setp.ltu.f32 %p0, %f0, %f1;",
        "ld.local.u32 %r1, [%rd0];",
        "st.global.u16 [%rd0], %rs0;",
        "bar.sync 1;",
        "bar.warp.sync 1;",
        "add.s32 %r1, %r2;",
        "add.s32 %r1, %r2, %q3;",
        "bra nowhere;",
        "ld.param.u64 %rd3, [d];",
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0}, {%r0};",
        "shfl.sync.idx.b32 %r1, %r2, 0, 31, -1;",
        "cp.async.ca.shared.global [%r1], [%rd0], 4, 4;",
        "vote.sync.all.pred %p0, %p1, -1;",
    ] {
        let error = Module::parse(&common::text(unknown)).unwrap_err();
        assert_eq!(error.line, 23, "{error}");
        assert!(
            error.to_string().contains(unknown.split_whitespace().next().unwrap().trim_end_matches(';')),
            "{error}"
        );
    }
    assert!(Module::parse(".global .align 4 .u32 counter;").is_err());
}
