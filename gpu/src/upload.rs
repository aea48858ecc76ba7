//! Uploads of activations, in the narrowest format that holds them.
//!
//! They go in chunks through two pinned buffers: while one is copied, the next numbers are converted into the other.

use std::sync::PoisonError;

use cudarc::driver::CudaSlice;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use laprox_reference::{Activations, Elements, TensorView};

use crate::device::Device;
use crate::error::{Result, doing};
use crate::launch::{self, Grid};
use crate::staging::{CHUNK, Staged};

/// The format of numbers on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The upper half of an f32.
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision. f64 numbers are rounded to it.
    F32,
}

impl Format {
    /// The narrowest format that holds queries, keys and values exactly. f32 if none does.
    #[must_use]
    pub fn of(activations: &Activations<'_>) -> Self {
        let tensors = [&activations.query, &activations.key, &activations.value].map(TensorView::elements);
        [Self::Bf16, Self::F16]
            .into_iter()
            .find(|format| tensors.iter().all(|elements| format.holds(*elements)))
            .unwrap_or(Self::F32)
    }

    /// The name in a kernel's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    /// Whether every number is one of the format.
    fn holds(self, elements: Elements<'_>) -> bool {
        match (self, elements) {
            (Self::F16, Elements::F16(_)) => true,
            (_, Elements::F16(numbers)) => numbers.iter().all(|number| self.holds_number(number.to_f64())),
            (_, Elements::F32(numbers)) => numbers.iter().all(|&number| self.holds_number(number.into())),
            (_, Elements::F64(numbers)) => numbers.iter().all(|&number| self.holds_number(number)),
        }
    }

    fn holds_number(self, number: f64) -> bool {
        match self {
            Self::Bf16 => bf16::from_f64(number).to_f64() == number,
            Self::F16 => f16::from_f64(number).to_f64() == number,
            Self::F32 => f64::from(number as f32) == number,
        }
    }

    /// Writes numbers in a 16-bit format that holds them.
    fn write_bits(self, elements: Elements<'_>, bits: &mut [u16]) {
        match (self, elements) {
            (Self::F16, Elements::F16(numbers)) => bits.copy_from_slice(numbers.reinterpret_cast()),
            (_, Elements::F16(numbers)) => write(bits, numbers, |number| self.bits(number.to_f64())),
            (_, Elements::F32(numbers)) => write(bits, numbers, |&number| self.bits(number.into())),
            (_, Elements::F64(numbers)) => write(bits, numbers, |&number| self.bits(number)),
        }
    }

    /// The nearest number of a 16-bit format.
    fn bits(self, number: f64) -> u16 {
        if self == Self::Bf16 { bf16::from_f64(number).to_bits() } else { f16::from_f64(number).to_bits() }
    }

    /// The nearest numbers of a 16-bit format.
    pub(crate) fn round(self, numbers: &[f64]) -> Vec<u16> {
        let mut bits = vec![0; numbers.len()];
        match self {
            Self::Bf16 => bits.reinterpret_cast_mut::<bf16>().convert_from_f64_slice(numbers),
            _ => bits.reinterpret_cast_mut::<f16>().convert_from_f64_slice(numbers),
        }
        bits
    }

    /// The numbers of a 16-bit format's bits.
    pub(crate) fn widen(self, bits: &[u16]) -> Vec<f64> {
        let mut numbers = vec![0.0; bits.len()];
        match self {
            Self::Bf16 => bits.reinterpret_cast::<bf16>().convert_to_f64_slice(&mut numbers),
            _ => bits.reinterpret_cast::<f16>().convert_to_f64_slice(&mut numbers),
        }
        numbers
    }
}

fn write<A, B>(to: &mut [B], from: &[A], convert: impl Fn(&A) -> B) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = convert(from));
}

fn write_singles(elements: Elements<'_>, singles: &mut [f32]) {
    match elements {
        Elements::F16(numbers) => numbers.convert_to_f32_slice(singles),
        Elements::F32(numbers) => singles.copy_from_slice(numbers),
        Elements::F64(numbers) => write(singles, numbers, |&number| number as f32),
    }
}

/// Copies elements to the device, converted chunk by chunk.
fn upload<T: Staged>(
    device: &Device,
    elements: Elements<'_>,
    convert: impl Fn(Elements<'_>, &mut [T]),
) -> Result<CudaSlice<T>> {
    let what = "uploading a tensor";
    let mut target = launch::allocate(&device.copy, elements.len())?;
    let mut staging = device.staging.lock().unwrap_or_else(PoisonError::into_inner);
    let buffers = T::buffers(&mut staging);
    let whole = elements.len() / CHUNK;
    for chunk in 0..whole {
        let range = chunk * CHUNK..(chunk + 1) * CHUNK;
        let buffer = &mut buffers[chunk % 2];
        // Waits until the buffer's last copy is done.
        convert(elements.slice(range.clone()), doing(what, buffer.as_mut_slice())?);
        doing(what, device.copy.memcpy_htod(buffer, &mut target.slice_mut(range)))?;
        device.settle()?;
    }
    // A rest that fills no buffer is not pinned: the driver copies it before it returns.
    let rest = whole * CHUNK..elements.len();
    if !rest.is_empty() {
        let mut numbers = vec![T::default(); rest.len()];
        convert(elements.slice(rest.clone()), &mut numbers);
        doing(what, device.copy.memcpy_htod(&numbers, &mut target.slice_mut(rest)))?;
    }
    Ok(target)
}

/// Uploads elements in a 16-bit format that holds them.
pub(crate) fn halves(device: &Device, format: Format, elements: Elements<'_>) -> Result<CudaSlice<u16>> {
    upload(device, elements, |elements, bits: &mut [u16]| format.write_bits(elements, bits))
}

/// Uploads elements as f32.
pub(crate) fn singles(device: &Device, elements: Elements<'_>) -> Result<CudaSlice<f32>> {
    upload(device, elements, write_singles)
}

/// 16-bit numbers on the device as f32.
pub(crate) fn widened(device: &Device, format: Format, narrow: &CudaSlice<u16>) -> Result<CudaSlice<f32>> {
    let count = narrow.len();
    let mut wide = device.allocate(&[count])?;
    let blocks = count.div_ceil(256).clamp(1, 32 * device.multiprocessors());
    device
        .launch(&format!("upload_widen_{}", format.name()), Grid::new([blocks, 1, 1], 256))?
        .input(narrow, &[count])
        .output(&mut wide, &[count])
        .int(count)
        .run()?;
    Ok(wide)
}
