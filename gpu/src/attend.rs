//! Stage *attend*: column statistics of `A_h = softmax(Q_h K^T * scale + causal mask)`, `A_h` never stored.

use cudarc::driver::CudaSlice;

use crate::device::Device;
use crate::error::{DeviceError, require};
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
pub struct RowParts {
    splits: usize,
    pub(crate) largest: CudaSlice<f32>,
    pub(crate) sums: CudaSlice<f32>,
}

impl RowParts {
    /// Room for a layer's.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn allocate(layer: &DeviceLayer<'_>) -> Result<Self, DeviceError> {
        Self::with_splits(layer, Self::splits_of(layer))
    }

    fn splits_of(layer: &DeviceLayer<'_>) -> usize {
        if layer.halves().is_some() { Division::new(layer, layer.shape().context_len).splits } else { 1 }
    }

    fn with_splits(layer: &DeviceLayer<'_>, splits: usize) -> Result<Self, DeviceError> {
        let (device, shape) = (&layer.device, layer.shape());
        let extents = [splits, shape.query_heads, shape.window_len];
        Ok(Self { splits, largest: device.allocate(&extents)?, sums: device.allocate(&extents)? })
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.splits == 1
    }
}

/// Sums of squares, sums and maxima over the rows of each candidate's column, `[row tiles, H, n - w]`. Whoever reads them
/// adds up (or takes the larger of) the row tiles.
pub struct WindowStatistics {
    row_tiles: usize,
    pub(crate) squares: CudaSlice<f32>,
    pub(crate) sums: CudaSlice<f32>,
    pub(crate) maxima: CudaSlice<f32>,
}

impl WindowStatistics {
    /// Room for a layer's.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn allocate(layer: &DeviceLayer<'_>) -> Result<Self, DeviceError> {
        let (device, shape, row_tiles) = (&layer.device, layer.shape(), Self::row_tiles_of(layer));
        let extents = [row_tiles, shape.query_heads, shape.candidate_len()];
        let allocate = || device.allocate(&extents);
        Ok(Self { row_tiles, squares: allocate()?, sums: allocate()?, maxima: allocate()? })
    }

    fn row_tiles_of(layer: &DeviceLayer<'_>) -> usize {
        if layer.halves().is_some() { layer.shape().window_len.div_ceil(ROWS) } else { 1 }
    }

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
///
/// # Errors
/// [`DeviceError`]
pub fn enqueue_rows(layer: &DeviceLayer<'_>, parts: &mut RowParts) -> Result<(), DeviceError> {
    require("splits of the keys", RowParts::splits_of(layer), parts.splits)?;
    let (device, shape) = (&layer.device, layer.shape());
    let [query_extents, key_extents] = extents(layer);
    let rows = [parts.splits, shape.query_heads, shape.window_len];
    let lengths = [shape.context_len, shape.cached_len()];
    match layer.halves() {
        Some(halves) => {
            let division = Division::new(layer, shape.context_len);
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
                .run()
        }
        None => {
            let singles = layer.singles()?;
            device
                .launch("attend_rows_naive", Grid::new([shape.window_len, shape.query_heads, 1], 128))?
                .input(&singles.query, &query_extents)
                .input(&singles.key, &key_extents)
                .output(&mut parts.largest, &rows)
                .output(&mut parts.sums, &rows)
                .ints(&[shape.group_size(), shape.window_len, shape.head_dim])
                .ints(&lengths)
                .real(layer.scale_log2())
                .run()
        }
    }
}

/// Joins the splits, for kernels that do not join themselves.
pub(crate) fn join(layer: &DeviceLayer<'_>, parts: &RowParts) -> Result<RowParts, DeviceError> {
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

/// Second pass: the weights again, reduced over the rows. A layer without candidates has no columns.
///
/// # Errors
/// [`DeviceError`]
pub fn enqueue_columns(
    layer: &DeviceLayer<'_>,
    parts: &RowParts,
    statistics: &mut WindowStatistics,
) -> Result<(), DeviceError> {
    let (device, shape) = (&layer.device, layer.shape());
    let candidates = shape.candidate_len();
    require("tiles of rows", WindowStatistics::row_tiles_of(layer), statistics.row_tiles)?;
    if candidates == 0 {
        return Ok(());
    }
    let [query_extents, key_extents] = extents(layer);
    let rows = [parts.splits, shape.query_heads, shape.window_len];
    let columns = [statistics.row_tiles, shape.query_heads, candidates];
    let lengths = [shape.context_len, shape.cached_len()];
    match layer.halves() {
        Some(halves) => {
            let division = Division::new(layer, candidates);
            device
                .launch(&kernel("columns", layer.format(), shape.head_dim), division.grid(shape.kv_heads))?
                .input(&halves.query, &query_extents)
                .input(&halves.key, &key_extents)
                .input(&parts.largest, &rows)
                .input(&parts.sums, &rows)
                .output(&mut statistics.squares, &columns)
                .output(&mut statistics.sums, &columns)
                .output(&mut statistics.maxima, &columns)
                .ints(&[parts.splits, shape.group_size(), shape.window_len])
                .ints(&lengths)
                .real(layer.scale_log2())
                .int(division.tiles_per_split)
                .run()
        }
        None => {
            let singles = layer.singles()?;
            device
                .launch(
                    "attend_columns_naive",
                    Grid::new([candidates.div_ceil(128), shape.query_heads, 1], 128),
                )?
                .input(&singles.query, &query_extents)
                .input(&singles.key, &key_extents)
                .input(&parts.largest, &rows)
                .input(&parts.sums, &rows)
                .output(&mut statistics.squares, &columns)
                .output(&mut statistics.sums, &columns)
                .output(&mut statistics.maxima, &columns)
                .ints(&[shape.group_size(), shape.window_len, shape.head_dim])
                .ints(&lengths)
                .real(layer.scale_log2())
                .run()
        }
    }
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
