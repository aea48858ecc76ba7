//! Stage *attend*: column statistics of `A_h = softmax(Q_h K^T * scale + causal mask)`, `A_h` never stored.

use cudarc::driver::CudaSlice;

use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Grid;
use crate::layer::DeviceLayer;
use crate::upload::Format;

/// Keys that a block of the tensor-core kernels takes at a time.
const KEYS: usize = 64;

/// Query rows of a warp.
const ROWS: usize = 32;

/// Warps of a block, each with a query head of its own.
const MOST_WARPS: usize = 4;

/// Blocks that the key splits aim at, for each multiprocessor.
const BLOCKS_EACH: usize = 3;

/// For each split of the keys and each row of `Q_h K^T`: the largest logit, before scaling, and the sum of exponentials
/// relative to it, both `[splits, H, w]`.
pub(crate) struct RowParts {
    pub splits: usize,
    pub largest: CudaSlice<f32>,
    pub sums: CudaSlice<f32>,
}

/// Sums of squares, sums and maxima over the rows of each candidate's column, `[row tiles, H, n - w]`. Whoever reads them
/// adds up (or takes the larger of) the row tiles.
pub struct WindowStatistics {
    pub(crate) row_tiles: usize,
    pub(crate) squares: CudaSlice<f32>,
    pub(crate) sums: CudaSlice<f32>,
    pub(crate) maxima: CudaSlice<f32>,
}

impl WindowStatistics {
    /// The squares, the sums and the maxima, `[row tiles * H * (n - w)]`.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn download(&self, device: &Device) -> Result<[Vec<f32>; 3], DeviceError> {
        Ok([device.copy_out(&self.squares)?, device.copy_out(&self.sums)?, device.copy_out(&self.maxima)?])
    }

    /// How many parts each column is in.
    #[must_use]
    pub fn row_tiles(&self) -> usize {
        self.row_tiles
    }
}

/// How the tensor-core kernels divide a layer: warps, blocks for the heads of a group, tiles of rows, splits of keys.
struct Division {
    warps: usize,
    head_blocks: usize,
    row_tiles: usize,
    splits: usize,
    tiles_per_split: usize,
}

impl Division {
    fn new(layer: &DeviceLayer<'_>, keys: usize) -> Self {
        let shape = layer.shape();
        let head_blocks = shape.group_size().div_ceil(MOST_WARPS);
        let warps = shape.group_size().div_ceil(head_blocks);
        let row_tiles = shape.window_len.div_ceil(ROWS);
        let blocks = shape.kv_heads * head_blocks * row_tiles;
        let tiles = keys.div_ceil(KEYS);
        let wanted = (BLOCKS_EACH * layer.device.multiprocessors()).div_ceil(blocks).clamp(1, tiles);
        let tiles_per_split = tiles.div_ceil(wanted);
        Self { warps, head_blocks, row_tiles, splits: tiles.div_ceil(tiles_per_split), tiles_per_split }
    }

    fn grid(&self, kv_heads: usize) -> Grid {
        Grid::new([self.splits, kv_heads * self.head_blocks, self.row_tiles], 32 * self.warps)
    }
}

/// `attend_rows_bf16_d128`
fn kernel(pass: &str, format: Format, head_dim: usize) -> String {
    format!("attend_{pass}_{}_d{head_dim}", format.name())
}

/// First pass: what each row's softmax divides by.
pub(crate) fn row_parts(layer: &DeviceLayer<'_>) -> Result<RowParts, DeviceError> {
    let (device, shape) = (&layer.device, layer.shape());
    let [query_extents, key_extents] = extents(layer);
    let lengths = [shape.context_len, shape.cached_len()];
    let allocate = |splits: usize| device.allocate(&[splits, shape.query_heads, shape.window_len]);
    let Some(halves) = layer.halves() else {
        let singles = layer.singles()?;
        let mut parts = RowParts { splits: 1, largest: allocate(1)?, sums: allocate(1)? };
        let rows = [shape.query_heads, shape.window_len];
        device
            .launch("attend_rows_naive", Grid::new([shape.window_len, shape.query_heads, 1], 128))?
            .input(&singles.query, &query_extents)
            .input(&singles.key, &key_extents)
            .output(&mut parts.largest, &rows)
            .output(&mut parts.sums, &rows)
            .ints(&[shape.group_size(), shape.window_len, shape.head_dim])
            .ints(&lengths)
            .real(layer.scale_log2())
            .run()?;
        return Ok(parts);
    };
    let division = Division::new(layer, shape.context_len);
    let splits = division.splits;
    let mut parts = RowParts { splits, largest: allocate(splits)?, sums: allocate(splits)? };
    let rows = [splits, shape.query_heads, shape.window_len];
    device
        .launch(&kernel("rows", layer.format(), shape.head_dim), division.grid(shape.kv_heads))?
        .input(&halves.query, &query_extents)
        .input(&halves.key, &key_extents)
        .output(&mut parts.largest, &rows)
        .output(&mut parts.sums, &rows)
        .ints(&[shape.group_size(), shape.window_len])
        .ints(&lengths)
        .real(layer.scale_log2())
        .int(division.tiles_per_split)
        .run()?;
    Ok(parts)
}

/// Joins the splits, for kernels that do not join themselves.
pub(crate) fn join(layer: &DeviceLayer<'_>, parts: &RowParts) -> Result<RowParts, DeviceError> {
    let (device, shape) = (&layer.device, layer.shape());
    let rows = shape.query_heads * shape.window_len;
    let mut joined = RowParts { splits: 1, largest: device.allocate(&[rows])?, sums: device.allocate(&[rows])? };
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

/// Second pass: the weights again, reduced over the rows. A layer without candidates has empty statistics.
pub(crate) fn window_statistics(layer: &DeviceLayer<'_>) -> Result<WindowStatistics, DeviceError> {
    let (device, shape) = (&layer.device, layer.shape());
    let (candidates, parts) = (shape.candidate_len(), layer.row_parts()?);
    let [query_extents, key_extents] = extents(layer);
    let division = Division::new(layer, candidates.max(1));
    let row_tiles = if layer.halves().is_some() { division.row_tiles } else { 1 };
    let columns = [row_tiles, shape.query_heads, candidates];
    let allocate = || device.allocate(&columns);
    let mut statistics =
        WindowStatistics { row_tiles, squares: allocate()?, sums: allocate()?, maxima: allocate()? };
    if candidates == 0 {
        return Ok(statistics);
    }
    let rows = [parts.splits, shape.query_heads, shape.window_len];
    let lengths = [shape.context_len, shape.cached_len()];
    let launch = match layer.halves() {
        Some(halves) => device
            .launch(&kernel("columns", layer.format(), shape.head_dim), division.grid(shape.kv_heads))?
            .input(&halves.query, &query_extents)
            .input(&halves.key, &key_extents),
        None => {
            let grid = Grid::new([candidates.div_ceil(128), shape.query_heads, 1], 128);
            let singles = layer.singles()?;
            device
                .launch("attend_columns_naive", grid)?
                .input(&singles.query, &query_extents)
                .input(&singles.key, &key_extents)
        }
    };
    let launch = launch
        .input(&parts.largest, &rows)
        .input(&parts.sums, &rows)
        .output(&mut statistics.squares, &columns)
        .output(&mut statistics.sums, &columns)
        .output(&mut statistics.maxima, &columns);
    let launch = match layer.halves() {
        Some(_) => launch
            .ints(&[parts.splits, shape.group_size(), shape.window_len])
            .ints(&lengths)
            .real(layer.scale_log2())
            .int(division.tiles_per_split),
        None => launch
            .ints(&[shape.group_size(), shape.window_len, shape.head_dim])
            .ints(&lengths)
            .real(layer.scale_log2()),
    };
    launch.run()?;
    Ok(statistics)
}

/// `sum over rows of (mean over the group of A_h[t, i])^2`, `[Hkv, n - w]`.
pub(crate) fn group_squares(layer: &DeviceLayer<'_>) -> Result<CudaSlice<f32>, DeviceError> {
    let (device, shape) = (&layer.device, layer.shape());
    let (singles, rows) = (layer.singles()?, layer.joined_rows()?);
    let [query_extents, key_extents] = extents(layer);
    let row_extents = [shape.query_heads, shape.window_len];
    let columns = [shape.kv_heads, shape.candidate_len()];
    let mut squares = device.allocate(&columns)?;
    device
        .launch("attend_group_naive", Grid::new([columns[1].div_ceil(128), shape.kv_heads, 1], 128))?
        .input(&singles.query, &query_extents)
        .input(&singles.key, &key_extents)
        .input(&rows.largest, &row_extents)
        .input(&rows.sums, &row_extents)
        .output(&mut squares, &columns)
        .ints(&[shape.group_size(), shape.window_len, shape.head_dim, shape.context_len, shape.cached_len()])
        .real(layer.scale_log2())
        .run()?;
    Ok(squares)
}

/// Of the queries, and of the keys or the values.
pub(crate) fn extents(layer: &DeviceLayer<'_>) -> [[usize; 3]; 2] {
    let shape = layer.shape();
    [
        [shape.query_heads, shape.window_len, shape.head_dim],
        [shape.kv_heads, shape.cached_len(), shape.head_dim],
    ]
}
