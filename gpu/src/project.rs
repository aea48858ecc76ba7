//! Stage *project*: `norm2(b_{h,i}) = norm2(v_i T_h)`, without any `b`.

use cudarc::driver::CudaSlice;

use crate::attend::extents;
use crate::error::DeviceError;
use crate::factor::{Factor, SplitFactor};
use crate::launch::Grid;
use crate::layer::DeviceLayer;

/// Warps of a block, each with 32 positions at a time.
const WARPS: usize = 8;

/// Query heads whose factors share a block's memory at most: 160 KB at d = 128.
const MOST_HEADS: usize = 4;

/// `norm2(b_{h,i})` of every candidate, `[H, n - w]`. The factors are computed on the host.
pub(crate) fn value_norms(layer: &DeviceLayer<'_>) -> Result<CudaSlice<f32>, DeviceError> {
    let (device, shape) = (&layer.device, layer.shape());
    let columns = [shape.query_heads, shape.candidate_len()];
    let mut norms = device.allocate(&columns)?;
    if shape.candidate_len() == 0 {
        return Ok(norms);
    }
    let factors = Factor::of_heads(&layer.problem.activations().output_projection, shape);
    let [_, value_extents] = extents(layer);
    let lengths = [shape.context_len, shape.window_len, shape.cached_len()];
    let Some(halves) = layer.halves() else {
        let rank = factors[0].rank();
        let numbers: Vec<f32> = factors.iter().flat_map(Factor::singles).collect();
        let factor = device.copy_in(&numbers)?;
        device
            .launch("project_norms_naive", Grid::new([columns[1].div_ceil(128), shape.query_heads, 1], 128))?
            .input(&layer.singles()?.value, &value_extents)
            .input(&factor, &[shape.query_heads, shape.head_dim, rank])
            .output(&mut norms, &columns)
            .ints(&[shape.group_size(), shape.head_dim, rank])
            .ints(&lengths)
            .run()?;
        return Ok(norms);
    };
    let split: Vec<SplitFactor> = factors.iter().map(|factor| factor.split(layer.format())).collect();
    let len = split[0].bits.len();
    let factor = device.copy_in(&split.iter().flat_map(|split| split.bits.iter().copied()).collect::<Vec<_>>())?;
    let unscale = device.copy_in(&split.iter().map(|split| split.unscale).collect::<Vec<_>>())?;
    let head_blocks = shape.group_size().div_ceil(MOST_HEADS);
    let heads = shape.group_size().div_ceil(head_blocks);
    let tiles = shape.candidate_len().div_ceil(32 * WARPS);
    let blocks = device.multiprocessors().div_ceil(shape.kv_heads * head_blocks).clamp(1, tiles);
    let grid = Grid::new([blocks, shape.kv_heads, head_blocks], 32 * WARPS);
    device
        .launch(
            &format!("project_norms_{}_d{}", layer.format().name(), shape.head_dim),
            grid.with_shared(heads * len * size_of::<u16>()),
        )?
        .input(&halves.value, &value_extents)
        .input(&factor, &[shape.query_heads, len])
        .input(&unscale, &[shape.query_heads])
        .output(&mut norms, &columns)
        .ints(&[shape.group_size(), heads])
        .ints(&lengths)
        .run()?;
    Ok(norms)
}
