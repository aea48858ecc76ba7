//! Stage *project*: `norm2(b_{h,i}) = norm2(v_i T_h)`, without computing any `b`.

use cudarc::driver::CudaSlice;
use rayon::prelude::*;

use crate::activations::DeviceActivations;
use crate::error::{Result, require};
use crate::factor::{Factor, SplitFactor};
use crate::launch::Grid;
use crate::upload::Format;

/// Warps per block.
const WARPS: usize = 16;

/// Positions that a warp takes at a time.
const POSITIONS: usize = 32;

/// The most query heads whose factors share a block's memory: 160 KB at d = 128.
const MOST_HEADS: usize = 4;

/// The factors `T_h` of a layer on the device, computed on the host in f64.
pub enum DeviceFactors {
    /// `[H, d, rank]`
    Single {
        /// Columns per factor.
        rank: usize,
        /// Their entries.
        factors: CudaSlice<f32>,
    },
    /// In [`SplitFactor`]'s layout, `[H, len]`, with one number per head that undoes their scaling.
    Split {
        /// The format of the parts.
        format: Format,
        /// Numbers per factor.
        len: usize,
        /// The parts' bits.
        factors: CudaSlice<u16>,
        /// `[H]`
        unscale: CudaSlice<f32>,
    },
}

impl DeviceFactors {
    /// Computes the factors and uploads them in the format that the layer's kernel reads.
    pub fn upload(layer: &DeviceActivations<'_>) -> Result<Self> {
        let device = &layer.device;
        let factors = Factor::of_heads(&layer.output_projection, layer.shape());
        if layer.halves().is_none() {
            let numbers: Vec<f32> = factors.iter().flat_map(Factor::singles).collect();
            return Ok(Self::Single { rank: factors[0].rank(), factors: device.copy_in(&numbers)? });
        }
        let split: Vec<SplitFactor> = factors.par_iter().map(|factor| factor.split(layer.format())).collect();
        let bits: Vec<u16> = split.iter().flat_map(|split| split.bits.iter().copied()).collect();
        let unscale: Vec<f32> = split.iter().map(|split| split.unscale).collect();
        Ok(Self::Split {
            format: layer.format(),
            len: split[0].bits.len(),
            factors: device.copy_in(&bits)?,
            unscale: device.copy_in(&unscale)?,
        })
    }
}

/// Room for a layer's norms, `[H, n - w]`.
pub fn allocate_norms(layer: &DeviceActivations<'_>) -> Result<CudaSlice<f32>> {
    layer.device.allocate(&[layer.shape().query_heads, layer.shape().candidate_len()])
}

/// `norm2(b_{h,i})` of every candidate, `[H, n - w]`.
///
/// # Errors
/// [`crate::DeviceError`], also if the layer has no candidates or the factors are in another format.
pub fn enqueue_norms(
    layer: &DeviceActivations<'_>,
    factors: &DeviceFactors,
    norms: &mut CudaSlice<f32>,
) -> Result<()> {
    let (device, shape) = (&layer.device, layer.shape());
    let columns = [shape.query_heads, shape.candidate_len()];
    let lengths = [shape.context_len, shape.window_len, shape.cached_len()];
    match (factors, layer.halves()) {
        (DeviceFactors::Split { format, len, factors, unscale }, Some(halves)) => {
            require("format of the factors", layer.format(), *format)?;
            require("numbers of a factor", SplitFactor::len_of(shape.head_dim), *len)?;
            let head_blocks = shape.group_size().div_ceil(MOST_HEADS);
            let heads = shape.group_size().div_ceil(head_blocks);
            // No more blocks than run at once: one more would take as long as all the others.
            let tiles = shape.candidate_len().div_ceil(POSITIONS * WARPS).max(1);
            let blocks = (device.multiprocessors() / (shape.kv_heads * head_blocks)).clamp(1, tiles);
            let grid = Grid::new([blocks, shape.kv_heads, head_blocks], 32 * WARPS);
            device
                .launch(
                    &format!("project_norms_{}_d{}", layer.format().name(), shape.head_dim),
                    grid.with_shared(heads * len * size_of::<u16>()),
                )?
                .input(&*halves.value, &layer.cached_extents())
                .input(factors, &[shape.query_heads, *len])
                .input(unscale, &[shape.query_heads])
                .output(norms, &columns)
                .ints(&[shape.group_size(), heads])
                .ints(&lengths)
                .run()
        }
        (DeviceFactors::Single { rank, factors }, None) => device
            .launch("project_norms_naive", layer.column_grid(shape.query_heads))?
            .input(&*layer.singles()?.value, &layer.cached_extents())
            .input(factors, &[shape.query_heads, shape.head_dim, *rank])
            .output(norms, &columns)
            .ints(&[shape.group_size(), shape.head_dim, *rank])
            .ints(&lengths)
            .run(),
        (DeviceFactors::Split { format, .. }, None) => {
            require("format of the factors", layer.format(), *format)
        }
        (DeviceFactors::Single { .. }, Some(_)) => {
            require("format of the factors", layer.format(), Format::F32)
        }
    }
}
