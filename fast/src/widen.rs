//! Captured numbers as f32: halves exactly, doubles rounded, singles as they lie.

use half::slice::HalfFloatSliceExt;
use laprox_reference::{Elements, LayerProblem};

use crate::simd::Buffer;

/// The largest number whose products' squares stay inside f32: 2^24 squared, times a width of 2^12, has a square of 2^120.
const LARGEST: f64 = (1_u64 << 24) as f64;

/// The numbers, in `scratch` where they have to be converted.
pub fn widen<'a>(numbers: Elements<'a>, scratch: &'a mut Buffer) -> &'a [f32] {
    match numbers {
        Elements::F32(singles) => singles,
        _ => {
            let wide = scratch.resize(numbers.len());
            widen_into(numbers, wide);
            wide
        }
    }
}

/// Writes the numbers to `wide`.
///
/// # Panics
/// When the lengths differ.
pub fn widen_into(numbers: Elements<'_>, wide: &mut [f32]) {
    match numbers {
        Elements::F16(halves) => halves.convert_to_f32_slice(wide),
        Elements::F32(singles) => wide.copy_from_slice(singles),
        Elements::F64(doubles) => {
            assert_eq!(doubles.len(), wide.len(), "lengths differ");
            wide.iter_mut().zip(doubles).for_each(|(wide, &double)| *wide = double as f32);
        }
    }
}

/// Writes the numbers to `wide`, exactly.
///
/// # Panics
/// When the lengths differ.
pub fn widen_to_f64(numbers: Elements<'_>, wide: &mut [f64]) {
    match numbers {
        Elements::F16(halves) => halves.convert_to_f64_slice(wide),
        Elements::F32(singles) => {
            assert_eq!(singles.len(), wide.len(), "lengths differ");
            wide.iter_mut().zip(singles).for_each(|(wide, &single)| *wide = f64::from(single));
        }
        Elements::F64(doubles) => wide.copy_from_slice(doubles),
    }
}

/// Whether f32 holds the layer's numbers and what the stages make of them; halves always do.
#[must_use]
pub fn fits_f32(problem: &LayerProblem<'_>) -> bool {
    let activations = problem.activations();
    let tensors = [
        Some(activations.query.elements()),
        Some(activations.key.elements()),
        Some(activations.value.elements()),
        Some(activations.output_projection.elements()),
        activations.future_query.map(|query| query.elements()),
    ];
    let fits = |numbers: &Elements<'_>| match numbers {
        Elements::F16(_) => true,
        Elements::F32(singles) => singles.iter().all(|number| f64::from(number.abs()) <= LARGEST),
        Elements::F64(doubles) => doubles.iter().all(|number| number.abs() <= LARGEST),
    };
    tensors.iter().flatten().all(fits)
}
