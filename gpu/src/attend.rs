//! Stage *attend*: statistics of the columns of `A_h = softmax(Q_h K^T * scale + causal mask)`. `A_h` is never stored.

use cudarc::driver::CudaSlice;

use crate::activations::DeviceActivations;
use crate::device::Device;
use crate::error::{Result, require};
use crate::launch::Grid;

/// Keys per tile of the tensor-core kernels.
const KEYS: usize = 64;

/// Query rows per warp.
const ROWS: usize = 32;

/// Warps per block at most. Each has a query head of its own.
const MOST_WARPS: usize = 4;

/// Blocks that run at once on a multiprocessor. The splits of the keys aim at this number.
const ROW_BLOCKS: usize = 2;
const COLUMN_BLOCKS: usize = 3;

/// The online softmax's state per split of the keys and row of `Q_h K^T`: the largest logit, before scaling, and the sum of
/// exponentials relative to it, both `[splits, H, w]`.
pub struct RowParts {
    splits: usize,
    pub(crate) largest: CudaSlice<f32>,
    pub(crate) sums: CudaSlice<f32>,
}

impl RowParts {
    /// Room for a layer's parts.
    pub fn allocate(layer: &DeviceActivations<'_>) -> Result<Self> {
        Self::with_splits(layer, Self::splits_of(layer))
    }

    fn splits_of(layer: &DeviceActivations<'_>) -> usize {
        if layer.halves().is_some() { Division::of_rows(layer).splits } else { 1 }
    }

    fn with_splits(layer: &DeviceActivations<'_>, splits: usize) -> Result<Self> {
        let extents = [splits, layer.shape().query_heads, layer.shape().window_len];
        let allocate = || layer.device.allocate(&extents);
        Ok(Self { splits, largest: allocate()?, sums: allocate()? })
    }

    /// The extents of either buffer.
    pub(crate) fn extents(&self, layer: &DeviceActivations<'_>) -> [usize; 3] {
        [self.splits, layer.shape().query_heads, layer.shape().window_len]
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.splits == 1
    }
}

/// The statistic of a column of `A_h` over the window's rows, as the kernels number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// The sum of squares, `norm2(a_{h,i})^2`.
    Squares,
    /// The sum.
    Sums,
    /// The largest.
    Maxima,
}

/// A statistic of each candidate's column, `[row tiles, H, n - w]`. Its reader joins the row tiles: sums are added up, of
/// maxima the largest counts.
pub struct WindowStatistic {
    statistic: Statistic,
    row_tiles: usize,
    pub(crate) columns: CudaSlice<f32>,
}

impl WindowStatistic {
    /// Room for a layer's statistic.
    pub fn allocate(layer: &DeviceActivations<'_>, statistic: Statistic) -> Result<Self> {
        let (shape, row_tiles) = (layer.shape(), Self::row_tiles_of(layer));
        let columns = layer.device.allocate(&[row_tiles, shape.query_heads, shape.candidate_len()])?;
        Ok(Self { statistic, row_tiles, columns })
    }

    fn row_tiles_of(layer: &DeviceActivations<'_>) -> usize {
        if layer.halves().is_some() { layer.shape().window_len.div_ceil(ROWS) } else { 1 }
    }

    /// `[row tiles * H * (n - w)]`.
    pub fn download(&self, device: &Device) -> Result<Vec<f32>> {
        device.copy_out(&self.columns)
    }

    /// The number of parts per column.
    #[must_use]
    pub fn row_tiles(&self) -> usize {
        self.row_tiles
    }
}

/// The tensor-core kernels' division of a layer: warps per block, blocks per query group, tiles of rows, splits of the keys.
struct Division {
    warps: usize,
    head_blocks: usize,
    row_tiles: usize,
    splits: usize,
    tiles_per_split: usize,
}

impl Division {
    fn of_rows(layer: &DeviceActivations<'_>) -> Self {
        Self::new(layer, layer.shape().context_len, ROW_BLOCKS)
    }

    fn new(layer: &DeviceActivations<'_>, keys: usize, blocks_each: usize) -> Self {
        let shape = layer.shape();
        let head_blocks = shape.group_size().div_ceil(MOST_WARPS);
        let warps = shape.group_size().div_ceil(head_blocks);
        let row_tiles = shape.window_len.div_ceil(ROWS);
        let blocks = shape.kv_heads * head_blocks * row_tiles;
        let tiles = keys.div_ceil(KEYS);
        let wanted = (blocks_each * layer.device.multiprocessors() / blocks).clamp(1, tiles);
        let tiles_per_split = tiles.div_ceil(wanted);
        Self { warps, head_blocks, row_tiles, splits: tiles.div_ceil(tiles_per_split), tiles_per_split }
    }

    fn grid(&self, kv_heads: usize) -> Grid {
        Grid::new([self.splits, kv_heads * self.head_blocks, self.row_tiles], 32 * self.warps)
    }
}

/// `attend_rows_bf16_d128`
fn kernel(pass: &str, layer: &DeviceActivations<'_>) -> String {
    format!("attend_{pass}_{}_d{}", layer.format().name(), layer.shape().head_dim)
}

/// First pass: the denominator of each row's softmax.
pub fn enqueue_rows(layer: &DeviceActivations<'_>, parts: &mut RowParts) -> Result<()> {
    require("splits of the keys", RowParts::splits_of(layer), parts.splits)?;
    let (shape, rows) = (layer.shape(), parts.extents(layer));
    let (launch, last) = match layer.halves() {
        Some(halves) => {
            let division = Division::of_rows(layer);
            let launch = layer.device.launch(&kernel("rows", layer), division.grid(shape.kv_heads))?;
            (layer.reading(launch, halves), division.tiles_per_split)
        }
        None => {
            let grid = Grid::new([shape.window_len, shape.query_heads, 1], 128);
            (layer.reading(layer.device.launch("attend_rows_naive", grid)?, layer.singles()?), shape.head_dim)
        }
    };
    let launch = launch.output(&mut parts.largest, &rows).output(&mut parts.sums, &rows);
    layer.attending(launch).int(last).run()
}

/// Joins the splits for kernels that do not join them themselves.
pub(crate) fn join(layer: &DeviceActivations<'_>, parts: &RowParts) -> Result<RowParts> {
    let (device, shape) = (&layer.device, layer.shape());
    let rows = shape.query_heads * shape.window_len;
    let mut joined = RowParts::with_splits(layer, 1)?;
    device
        .launch("attend_rows_join", Grid::new([rows.div_ceil(128), 1, 1], 128))?
        .input(&parts.largest, &[parts.splits, rows])
        .input(&parts.sums, &[parts.splits, rows])
        .output(&mut joined.largest, &[rows])
        .output(&mut joined.sums, &[rows])
        .ints(&[parts.splits, rows])
        .real(layer.scale_log2())
        .run()?;
    Ok(joined)
}

/// Second pass: computes the weights again, and reduces them over the rows to the statistic that `statistic` has room for. A
/// layer without candidates has no columns.
pub fn enqueue_columns(
    layer: &DeviceActivations<'_>,
    parts: &RowParts,
    statistic: &mut WindowStatistic,
) -> Result<()> {
    let (shape, rows) = (layer.shape(), parts.extents(layer));
    require("tiles of rows", WindowStatistic::row_tiles_of(layer), statistic.row_tiles)?;
    let columns = [statistic.row_tiles, shape.query_heads, shape.candidate_len()];
    if shape.candidate_len() == 0 {
        return Ok(());
    }
    let (launch, last) = match layer.halves() {
        Some(halves) => {
            let division = Division::new(layer, shape.candidate_len(), COLUMN_BLOCKS);
            let launch = layer.device.launch(&kernel("columns", layer), division.grid(shape.kv_heads))?;
            (layer.reading(launch, halves), vec![division.tiles_per_split, parts.splits])
        }
        None => {
            let launch = layer.device.launch("attend_columns_naive", layer.column_grid(shape.query_heads))?;
            (layer.reading(launch, layer.singles()?), vec![shape.head_dim])
        }
    };
    let launch = launch
        .input(&parts.largest, &rows)
        .input(&parts.sums, &rows)
        .output(&mut statistic.columns, &columns)
        .int(statistic.statistic as usize);
    layer.attending(launch).ints(&last).run()
}

/// `sum over rows of (mean over the group of A_h[t, i])^2`, `[Hkv, n - w]`.
pub(crate) fn group_squares(layer: &DeviceActivations<'_>, rows: &RowParts) -> Result<CudaSlice<f32>> {
    let shape = layer.shape();
    let columns = [shape.kv_heads, shape.candidate_len()];
    let mut squares = layer.device.allocate(&columns)?;
    let launch = layer.device.launch("attend_group_naive", layer.column_grid(shape.kv_heads))?;
    let launch = layer
        .reading(launch, layer.singles()?)
        .input(&rows.largest, &rows.extents(layer))
        .input(&rows.sums, &rows.extents(layer))
        .output(&mut squares, &columns);
    layer.attending(launch).int(shape.head_dim).run()?;
    Ok(squares)
}
