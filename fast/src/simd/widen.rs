//! Captured numbers as f32: halves exactly, doubles rounded, singles as they are. The loops are plain: the compiler vectorises
//! them for the kernel that inlines them.

use std::f64::consts::LOG2_E;
use std::ops::Range;

use half::f16;
use laprox_reference::{Elements, KvHead, LayerProblem, TensorView};
use pulp::Simd;

use super::prefetch::prefetch;

/// The largest magnitude whose products' squares stay in f32's range: 2^24 squared, times a width of 2^12, has a square of
/// 2^120.
const LARGEST: f64 = (1_u64 << 24) as f64;

/// The least largest magnitude whose squares keep their digits in f32, and those of numbers `2^-23` times as large.
const SMALLEST: f64 = 1.0 / (1_u64 << 40) as f64;

/// The largest logit, and the largest number of a scaled query: their differences and products stay in f32's range.
const LARGEST_LOGIT: f64 = (1_u128 << 100) as f64;

/// The least product of the largest value and the largest weight: f64 holds the square of its scale.
const SMALLEST_PRODUCT: f64 =
    1.0 / ((1_u128 << 120) as f64 * (1_u128 << 120) as f64 * (1_u128 << 120) as f64);

/// Rows of one KV head's keys or values, `[Hkv, rows, width]`, as they were captured: a range, or those at some positions.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    numbers: Elements<'a>,
    width: usize,
    places: Places<'a>,
    /// A power of two that the numbers are multiplied by.
    factor: f64,
}

#[derive(Clone, Copy)]
enum Places<'a> {
    From { first: usize, len: usize },
    At(&'a [u32]),
}

impl<'a> Source<'a> {
    /// The rows of `range`.
    #[must_use]
    pub fn range(tensor: &TensorView<'a, 3>, kv_head: KvHead, range: Range<usize>) -> Self {
        let places = Places::From { first: range.start, len: range.len() };
        Self { numbers: tensor.outer(kv_head.0), width: tensor.shape()[2], places, factor: 1.0 }
    }

    /// The rows at `positions`.
    #[must_use]
    pub fn at(tensor: &TensorView<'a, 3>, kv_head: KvHead, positions: &'a [u32]) -> Self {
        let places = Places::At(positions);
        Self { numbers: tensor.outer(kv_head.0), width: tensor.shape()[2], places, factor: 1.0 }
    }

    /// The same rows, divided by a power of two.
    #[must_use]
    pub fn over(self, scale: f64) -> Self {
        Self { factor: 1.0 / scale, ..self }
    }

    /// The number of rows.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        match self.places {
            Places::From { len, .. } => len,
            Places::At(positions) => positions.len(),
        }
    }

    /// Some of the rows.
    #[inline(always)]
    #[must_use]
    pub fn slice(self, rows: Range<usize>) -> Self {
        let places = match self.places {
            Places::From { first, .. } => Places::From { first: first + rows.start, len: rows.len() },
            Places::At(positions) => Places::At(&positions[rows]),
        };
        Self { places, ..self }
    }

    /// Prefetches rows, which may lie behind these.
    #[inline(always)]
    pub fn prefetch(&self, rows: Range<usize>) {
        if let Places::From { first, .. } = self.places {
            let (first, len) = ((first + rows.start) * self.width, rows.len() * self.width);
            let last = (first + len).min(self.numbers.len());
            prefetch_elements(self.numbers.slice(first.min(last)..last));
        }
    }

    /// Writes rows to their places in `wide`, `stride` apart.
    #[inline(always)]
    pub fn widen<S: Simd>(&self, simd: S, rows: Range<usize>, stride: usize, wide: &mut [f32]) {
        for row in rows {
            let place = match self.places {
                Places::From { first, .. } => first + row,
                Places::At(positions) => positions[row] as usize,
            };
            let numbers = self.numbers.slice(place * self.width..(place + 1) * self.width);
            widen_times(simd, numbers, self.factor, &mut wide[row * stride..][..self.width]);
        }
    }
}

/// Prefetches numbers.
#[inline(always)]
pub(crate) fn prefetch_elements(numbers: Elements<'_>) {
    match numbers {
        Elements::F16(halves) => prefetch(halves, 0, halves.len()),
        Elements::F32(singles) => prefetch(singles, 0, singles.len()),
        Elements::F64(doubles) => prefetch(doubles, 0, doubles.len()),
    }
}

/// Writes the numbers to `wide`.
///
/// # Panics
/// When the lengths differ.
#[inline(always)]
pub fn widen_into<S: Simd>(simd: S, numbers: Elements<'_>, wide: &mut [f32]) {
    assert_eq!(numbers.len(), wide.len(), "lengths differ");
    match numbers {
        Elements::F16(halves) => {
            let done = widen_sixteens(simd, halves, wide);
            let rest = wide[done..].iter_mut().zip(&halves[done..]);
            rest.for_each(|(wide, &half)| *wide = widen_half(half));
        }
        Elements::F32(singles) => wide.copy_from_slice(singles),
        Elements::F64(doubles) => {
            wide.iter_mut().zip(doubles).for_each(|(wide, &double)| *wide = double as f32);
        }
    }
}

/// Writes the numbers times a power of two to `wide`.
///
/// # Panics
/// When the lengths differ.
#[inline(always)]
pub(crate) fn widen_times<S: Simd>(simd: S, numbers: Elements<'_>, factor: f64, wide: &mut [f32]) {
    if factor == 1.0 {
        return widen_into(simd, numbers, wide);
    }
    assert_eq!(numbers.len(), wide.len(), "lengths differ");
    // In f64, which holds a factor for every f32.
    match numbers {
        Elements::F16(halves) => {
            let scaled = halves.iter().map(|&half| f64::from(widen_half(half)) * factor);
            wide.iter_mut().zip(scaled).for_each(|(wide, number)| *wide = number as f32);
        }
        Elements::F32(singles) => {
            let scaled = singles.iter().map(|&single| f64::from(single) * factor);
            wide.iter_mut().zip(scaled).for_each(|(wide, number)| *wide = number as f32);
        }
        Elements::F64(doubles) => {
            wide.iter_mut().zip(doubles).for_each(|(wide, &double)| *wide = (double * factor) as f32);
        }
    }
}

/// The power of two by which numbers are divided before they meet in f32: 1, unless their squares would vanish there. Those of
/// halves do not.
#[must_use]
pub(crate) fn scale_of(numbers: Elements<'_>) -> f64 {
    let is_half = matches!(numbers, Elements::F16(_));
    let largest = if is_half { 0.0 } else { largest(numbers) };
    if largest == 0.0 || largest >= SMALLEST { 1.0 } else { power_of_two(largest) }
}

/// The power of two by which the values of one KV head are divided.
#[must_use]
pub(crate) fn value_scale(problem: &LayerProblem<'_>, kv_head: KvHead) -> f64 {
    scale_of(problem.activations().value.outer(kv_head.0))
}

/// The largest power of two that is at most `number`. 1 if that is not a normal number.
#[must_use]
pub(crate) fn power_of_two(number: f64) -> f64 {
    let power = f64::from_bits(number.to_bits() & f64::INFINITY.to_bits());
    if power.is_normal() { power } else { 1.0 }
}

/// Widens halves by AVX-512's own instruction, sixteen at a time, and returns how many. 0 without AVX-512.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn widen_sixteens<S: Simd>(simd: S, halves: &[f16], wide: &mut [f32]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = (&simd as &dyn std::any::Any).downcast_ref::<pulp::x86::V4>() {
        let (halves, _) = halves.as_chunks::<16>();
        let (wide, _) = wide.as_chunks_mut::<16>();
        for (wide, &halves) in wide.iter_mut().zip(halves) {
            *wide = bytemuck::cast(simd.avx512f._mm512_cvtph_ps(bytemuck::cast(halves)));
        }
        return wide.len() * 16;
    }
    0
}

/// A finite half as f32, exactly and without a branch.
///
/// The exponent's bias grows from 15 to 127. A subnormal half gets a leading one, which a subtraction removes again.
#[inline(always)]
fn widen_half(half: f16) -> f32 {
    const BIAS: u32 = 112 << 23;
    const SMALLEST_NORMAL: u32 = BIAS + (1 << 23);
    let bits = u32::from(half.to_bits());
    let magnitude = (bits & 0x7fff) << 13;
    let normal = magnitude + BIAS;
    let subnormal = (f32::from_bits(magnitude + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL)).to_bits();
    let magnitude = if magnitude < 1 << 23 { subnormal } else { normal };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}

/// Writes the numbers times a power of two to `wide`, exactly within f64's range.
#[inline(always)]
pub(crate) fn widen_scaled<S: Simd>(simd: S, numbers: Elements<'_>, factor: f64, wide: &mut [f64]) {
    const PART: usize = 16;
    let (parts, rest) = wide.as_chunks_mut::<PART>();
    let last = parts.len() * PART;
    for (index, wide) in parts.iter_mut().enumerate() {
        let numbers = numbers.slice(index * PART..(index + 1) * PART);
        if let Elements::F16(_) = numbers {
            let mut singles = [0.0; PART];
            widen_into(simd, numbers, &mut singles);
            *wide = singles.map(f64::from);
        } else {
            widen_to_f64(numbers, wide);
        }
        for number in wide {
            *number *= factor;
        }
    }
    widen_to_f64(numbers.slice(last..numbers.len()), rest);
    rest.iter_mut().for_each(|number| *number *= factor);
}

/// Writes the numbers to `wide`, exactly.
///
/// # Panics
/// When the lengths differ.
#[inline(always)]
pub(crate) fn widen_to_f64(numbers: Elements<'_>, wide: &mut [f64]) {
    assert_eq!(numbers.len(), wide.len(), "lengths differ");
    match numbers {
        Elements::F16(halves) => {
            wide.iter_mut().zip(halves).for_each(|(wide, &half)| *wide = f64::from(widen_half(half)));
        }
        Elements::F32(singles) => {
            wide.iter_mut().zip(singles).for_each(|(wide, &single)| *wide = f64::from(single));
        }
        Elements::F64(doubles) => wide.copy_from_slice(doubles),
    }
}

/// The largest magnitude. 0 if there are no numbers.
#[must_use]
pub(crate) fn largest(numbers: Elements<'_>) -> f64 {
    // Finite numbers without their signs have the order of their bits.
    match numbers {
        Elements::F16(halves) => {
            // Signed, because every processor has an instruction for it.
            let bits = halves.iter().map(|half| (half.to_bits() & 0x7fff) as i16).max();
            f64::from(widen_half(f16::from_bits(bits.unwrap_or_default() as u16)))
        }
        Elements::F32(singles) => {
            let bits = singles.iter().map(|single| single.abs().to_bits()).max();
            f64::from(f32::from_bits(bits.unwrap_or_default()))
        }
        Elements::F64(doubles) => {
            f64::from_bits(doubles.iter().map(|double| double.abs().to_bits()).max().unwrap_or_default())
        }
    }
}

/// Whether f32 holds the layer's numbers and all that the stages compute from them, values and weights being scaled. The numbers
/// of halves always are small enough, and large enough.
#[must_use]
pub(crate) fn fits_f32(problem: &LayerProblem<'_>) -> bool {
    let activations = problem.activations();
    let most = |numbers| match numbers {
        Elements::F16(_) => f64::from(f16::MAX),
        _ => largest(numbers),
    };
    let future = activations.future_query.map_or(0.0, |query| most(query.elements()));
    let query = most(activations.query.elements()).max(future);
    let key = most(activations.key.elements());
    let (value, weight) =
        (most(activations.value.elements()), most(activations.output_projection.elements()));
    let scaled_query = query * problem.attention_scale() * LOG2_E;
    let logit = scaled_query * key * problem.shape().head_dim as f64;
    let product = value * weight;
    [query, key, value, weight].iter().all(|&number| number <= LARGEST)
        && scaled_query.max(logit) <= LARGEST_LOGIT
        && (value == 0.0 || weight == 0.0 || product >= SMALLEST_PRODUCT)
}
