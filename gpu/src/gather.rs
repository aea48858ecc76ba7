//! Stage *select*, its end: the retained rows of keys and values, packed head after head.

use cudarc::driver::CudaSlice;

use crate::attend::extents;
use crate::device::Version;
use crate::error::{DeviceError, doing};
use crate::launch::{Grid, Plain};
use crate::layer::{DeviceLayer, Tensors};
use crate::select::Selected;
use crate::upload::Format;

/// Bytes that a thread of the fast version moves.
const WORD: usize = 16;

/// The packed keys and values of one layer on the device, `[retained rows, d]` each.
pub struct Packed {
    format: Format,
    halves: Option<[CudaSlice<u16>; 2]>,
    singles: Option<[CudaSlice<f32>; 2]>,
}

impl Selected {
    /// Packs the keys and values of one layer that stay; `slot` counts layers as their scores were joined.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn gather(&self, slot: usize, layer: &DeviceLayer<'_>) -> Result<Packed, DeviceError> {
        let mut packed = Packed { format: layer.format(), halves: None, singles: None };
        match layer.halves() {
            Some(halves) => packed.halves = Some(self.gather_rows(slot, layer, halves)?),
            None => packed.singles = Some(self.gather_rows(slot, layer, layer.singles()?)?),
        }
        Ok(packed)
    }

    fn gather_rows<T: Plain>(
        &self,
        slot: usize,
        layer: &DeviceLayer<'_>,
        tensors: &Tensors<T>,
    ) -> Result<[CudaSlice<T>; 2], DeviceError> {
        let (device, shape) = (&self.device, self.shape);
        let first = slot * shape.kv_heads;
        let offsets = self.offsets.slice(first..=first + shape.kv_heads);
        let ends = doing("reading offsets", device.compute.clone_dtoh(&offsets))?;
        let rows = (ends[shape.kv_heads] - ends[0]) as usize;
        let row_bytes = shape.head_dim * size_of::<T>();
        let row_words = row_bytes / WORD;
        let is_fast =
            device.version() == Version::Shipped && row_bytes % WORD == 0 && 256_usize.is_multiple_of(row_words);
        let (name, words) = if is_fast { ("gather_rows", row_words) } else { ("gather_naive", row_bytes / 4) };
        let blocks = (rows * words).div_ceil(256 * shape.kv_heads).clamp(1, 8 * device.multiprocessors());
        let [_, extents] = extents(layer);
        let mut packed = [device.allocate(&[rows, shape.head_dim])?, device.allocate(&[rows, shape.head_dim])?];
        let [packed_key, packed_value] = &mut packed;
        device
            .launch(name, Grid::new([blocks, shape.kv_heads, 1], 256))?
            .input(&tensors.key, &extents)
            .input(&tensors.value, &extents)
            .input(&offsets, &[shape.kv_heads + 1])
            .input(&self.positions, &[self.positions.len()])
            .output(packed_key, &[rows, shape.head_dim])
            .output(packed_value, &[rows, shape.head_dim])
            .ints(&[shape.cached_len(), words])
            .run()?;
        Ok(packed)
    }
}

impl Packed {
    /// The packed keys and values as numbers.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn download(&self, layer: &DeviceLayer<'_>) -> Result<[Vec<f64>; 2], DeviceError> {
        let mut numbers = [Vec::new(), Vec::new()];
        for (index, numbers) in numbers.iter_mut().enumerate() {
            if let Some(halves) = &self.halves {
                let bits = layer.device.copy_out(&halves[index])?;
                numbers.extend(bits.into_iter().map(|bits| self.format.number(bits)));
            }
            if let Some(singles) = &self.singles {
                numbers.extend(layer.device.copy_out(&singles[index])?.into_iter().map(f64::from));
            }
        }
        Ok(numbers)
    }
}
