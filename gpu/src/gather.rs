//! Stage *select*, its end: the retained rows of keys and values, packed head after head.

use cudarc::driver::{CudaSlice, CudaView};

use crate::activations::Tensors;
use crate::device::{Device, Version};
use crate::error::{DeviceError, Result, doing, require};
use crate::launch::{Grid, Plain};
use crate::layer::DeviceLayer;
use crate::select::DeviceSet;
use crate::upload::Format;

/// Bytes that a thread of the fast version moves.
const WORD: usize = 16;

/// The packed keys and values of one layer on the device, `[retained rows, d]` each.
pub enum Packed {
    /// In a 16-bit format.
    Halves(Format, [CudaSlice<u16>; 2]),
    /// As f32.
    Singles([CudaSlice<f32>; 2]),
}

impl DeviceSet {
    /// Packs the keys and values of one layer that stay; `slot` counts layers as their scores were joined.
    pub fn gather(&self, slot: usize, layer: &DeviceLayer<'_>) -> Result<Packed> {
        let mut packed = Packed::allocate(layer, self.rows(slot)?)?;
        self.enqueue_gather(slot, layer, &mut packed)?;
        Ok(packed)
    }

    /// How many rows of a layer stay. Waits for the selection.
    pub fn rows(&self, slot: usize) -> Result<usize> {
        let ends = doing("reading offsets", self.device.compute.clone_dtoh(&self.offsets_of(slot)?))?;
        Ok((ends[self.shape.kv_heads] - ends[0]) as usize)
    }

    /// [`DeviceSet::gather`] into room that is there.
    pub fn enqueue_gather(&self, slot: usize, layer: &DeviceLayer<'_>, packed: &mut Packed) -> Result<()> {
        require("shape of the layer", self.shape, layer.shape())?;
        match (packed, layer.halves()) {
            (Packed::Halves(format, packed), Some(halves)) if *format == layer.format() => {
                self.gather_rows(slot, layer, halves, packed)
            }
            (Packed::Halves(format, _), _) => require("format of the packed rows", layer.format(), *format),
            (Packed::Singles(packed), _) => self.gather_rows(slot, layer, layer.singles()?, packed),
        }
    }

    fn offsets_of(&self, slot: usize) -> Result<CudaView<'_, u32>> {
        let first = slot.saturating_mul(self.shape.kv_heads);
        let offsets = self.offsets.try_slice(first..first.saturating_add(self.shape.kv_heads + 1));
        let expected = format_args!("below {}", self.layers);
        offsets.ok_or_else(|| DeviceError::request("layer of the selection", expected, slot))
    }

    fn gather_rows<T: Plain>(
        &self,
        slot: usize,
        layer: &DeviceLayer<'_>,
        tensors: &Tensors<T>,
        [packed_key, packed_value]: &mut [CudaSlice<T>; 2],
    ) -> Result<()> {
        let (device, shape) = (&self.device, self.shape);
        let row_bytes = shape.head_dim * size_of::<T>();
        let row_words = row_bytes / WORD;
        let is_fast = device.version() == Version::Shipped
            && row_bytes.is_multiple_of(WORD)
            && 256_usize.is_multiple_of(row_words);
        let (name, words) =
            if is_fast { ("gather_rows", row_words) } else { ("gather_naive", row_bytes / 4) };
        let rows = packed_key.len() / shape.head_dim;
        let blocks = (rows * words).div_ceil(256 * shape.kv_heads).clamp(1, 8 * device.multiprocessors());
        let extents = layer.cached_extents();
        let offsets = self.offsets_of(slot)?;
        device
            .launch(name, Grid::new([blocks, shape.kv_heads, 1], 256))?
            .input(&*tensors.key, &extents)
            .input(&*tensors.value, &extents)
            .input(&offsets, &[shape.kv_heads + 1])
            .input(&self.positions, &[self.positions.len()])
            .output(packed_key, &[rows, shape.head_dim])
            .output(packed_value, &[rows, shape.head_dim])
            .ints(&[shape.cached_len(), words, rows])
            .run()
    }
}

impl Packed {
    /// Room for some rows of a layer's keys and values.
    pub fn allocate(layer: &DeviceLayer<'_>, rows: usize) -> Result<Self> {
        let (device, extents) = (&layer.device, [rows, layer.shape().head_dim]);
        Ok(match layer.halves() {
            Some(_) => Self::Halves(layer.format(), [device.allocate(&extents)?, device.allocate(&extents)?]),
            None => Self::Singles([device.allocate(&extents)?, device.allocate(&extents)?]),
        })
    }

    /// The packed keys and values as numbers.
    pub fn download(&self, device: &Device) -> Result<[Vec<f64>; 2]> {
        match self {
            Self::Halves(format, [key, value]) => {
                let numbers = |bits: Vec<u16>| format.widen(&bits);
                Ok([numbers(device.copy_out(key)?), numbers(device.copy_out(value)?)])
            }
            Self::Singles([key, value]) => {
                let numbers = |singles: Vec<f32>| singles.into_iter().map(f64::from).collect();
                Ok([numbers(device.copy_out(key)?), numbers(device.copy_out(value)?)])
            }
        }
    }
}
