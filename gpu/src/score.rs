//! Stage *score*: one number a slot, pooled, with the layer's sum. Policies without a kernel are the reference's.

use cudarc::driver::CudaSlice;
use laprox_reference::{Family, GroupRule, LayerShape, Pooling, Score};

use crate::attend::{self, Statistic};
use crate::device::{Device, Version};
use crate::error::Result;
use crate::factor::Factor;
use crate::launch::Grid;
use crate::layer::DeviceLayer;

/// Scores that there are kernels for; but for the last, as the kernels number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    LaproxMean,
    LaproxAttention,
    SnapkvMean,
    SnapkvMax,
    LaproxExact,
}

impl Rule {
    /// The rule of a score over a window; `None` leaves it to the reference.
    fn of(score: &Score, window_len: usize) -> Option<Self> {
        if !score.reads_whole_columns(window_len) {
            return None;
        }
        match (score.family(), score.options().group_rule) {
            (Family::PairNorms, GroupRule::Attention) => Some(Self::LaproxAttention),
            (Family::PairNorms, GroupRule::Exact) => Some(Self::LaproxExact),
            (Family::PairNorms, _) => Some(Self::LaproxMean),
            (Family::MeanAttention, GroupRule::Max) => Some(Self::SnapkvMax),
            (Family::MeanAttention, _) => Some(Self::SnapkvMean),
            (
                Family::Centred | Family::LastQuery | Family::Unseen | Family::Supplied(_) | Family::Other,
                _,
            ) => None,
        }
    }
}

/// Whether a score over a window has a kernel.
#[must_use]
pub(crate) fn has_kernel(score: &Score, window_len: usize) -> bool {
    Rule::of(score, window_len).is_some()
}

/// One layer's scores on the device.
pub struct DeviceScores {
    /// After pooling, before normalising, `[Hkv, n - w]`.
    pub(crate) scores: CudaSlice<f32>,
    /// The sums of the fused kernel's blocks.
    block_sums: CudaSlice<f32>,
    /// The sum of the scores' magnitudes, `[1]`.
    pub(crate) sum: CudaSlice<f32>,
}

impl DeviceScores {
    /// Room for a layer's.
    pub fn allocate(layer: &DeviceLayer<'_>) -> Result<Self> {
        let (device, shape) = (&layer.device, layer.shape());
        Ok(Self {
            scores: device.allocate(&[shape.kv_heads, shape.candidate_len()])?,
            block_sums: device.allocate(&[shape.kv_heads, shape.candidate_len().div_ceil(FUSED)])?,
            sum: device.copy_in(&[0.0])?,
        })
    }

    /// The scores, KV head by KV head.
    pub fn download(&self, device: &Device) -> Result<Vec<f32>> {
        device.copy_out(&self.scores)
    }

    /// The sum of the scores' magnitudes.
    pub fn download_sum(&self, device: &Device) -> Result<f32> {
        Ok(device.copy_out(&self.sum)?[0])
    }
}

/// Threads of a block of the fused kernel, and candidates that it pools.
const FUSED: usize = 256;

/// Neighbours that the fused kernel has room for.
const WIDEST: usize = 8192;

/// A pooling as a kernel takes it: its width, and whether it averages.
fn pooling(pool: Pooling) -> (usize, usize) {
    match pool {
        Pooling::None => (1, 1),
        Pooling::Average(width) => (width, 1),
        Pooling::Max(width) => (width, 0),
    }
}

impl DeviceLayer<'_> {
    /// Scores of the layer, left on the device; `None` if there is no kernel for them.
    pub fn score(&self, score: &Score) -> Result<Option<DeviceScores>> {
        let mut scores = DeviceScores::allocate(self)?;
        Ok(enqueue_scores(self, score, &mut scores)?.then_some(scores))
    }
}

/// Scores of a layer, enqueued; false if there is no kernel for them. Without candidates there are none.
pub fn enqueue_scores(layer: &DeviceLayer<'_>, score: &Score, scores: &mut DeviceScores) -> Result<bool> {
    let Some(rule) = Rule::of(score, layer.shape().window_len) else { return Ok(false) };
    if layer.shape().candidate_len() == 0 {
        return Ok(true);
    }
    let (width, average) = pooling(score.options().pool.pooling);
    match rule {
        Rule::LaproxExact => pooled(layer, &exact(layer)?, width, average, scores)?,
        _ if layer.device.version() == Version::Naive || width > WIDEST => {
            pooled(layer, &raw(layer, rule)?, width, average, scores)?;
        }
        _ => fused(layer, rule, width, average, scores)?,
    }
    Ok(true)
}

/// What both versions of the group's score read, with extents.
struct Inputs<'a> {
    parts: &'a CudaSlice<f32>,
    part_extents: [usize; 3],
    norms: Option<&'a CudaSlice<f32>>,
}

impl<'a> Inputs<'a> {
    /// `group_squares` is made where the rule wants them.
    fn new(
        layer: &'a DeviceLayer<'_>,
        rule: Rule,
        group_squares: &'a mut Option<CudaSlice<f32>>,
    ) -> Result<Self> {
        let shape = layer.shape();
        let candidates = shape.candidate_len();
        if rule == Rule::LaproxAttention {
            let parts: &CudaSlice<f32> =
                group_squares.insert(attend::group_squares(layer, layer.joined_rows()?)?);
            let part_extents = [1, shape.kv_heads, candidates];
            return Ok(Self { parts, part_extents, norms: Some(layer.value_norms()?) });
        }
        let (statistic, norms) = match rule {
            Rule::LaproxMean => (Statistic::Squares, Some(layer.value_norms()?)),
            _ => (Statistic::Sums, None),
        };
        let statistic = layer.window_statistic(statistic)?;
        let part_extents = [statistic.row_tiles(), shape.query_heads, candidates];
        Ok(Self { parts: &statistic.columns, part_extents, norms })
    }

    /// The rule, and the sizes that its statistics are read by.
    fn sizes(&self, rule: Rule, shape: LayerShape) -> [usize; 5] {
        let row_tiles = self.part_extents[0];
        [rule as usize, row_tiles, shape.group_size(), shape.candidate_len(), shape.window_len]
    }
}

/// One block for everything, its neighbours included.
fn fused(
    layer: &DeviceLayer<'_>,
    rule: Rule,
    width: usize,
    average: usize,
    scores: &mut DeviceScores,
) -> Result<()> {
    let (device, shape) = (&layer.device, layer.shape());
    let mut group_squares = None;
    let inputs = Inputs::new(layer, rule, &mut group_squares)?;
    let columns = [shape.kv_heads, shape.candidate_len()];
    let blocks = shape.candidate_len().div_ceil(FUSED);
    let grid = Grid::new([blocks, shape.kv_heads, 1], FUSED);
    device
        .launch("score_fused", grid.with_shared((FUSED + width - 1) * size_of::<f32>()))?
        .input(inputs.parts, &inputs.part_extents)
        .optional(inputs.norms, &[shape.query_heads, shape.candidate_len()])
        .output(&mut scores.scores, &columns)
        .output(&mut scores.block_sums, &[shape.kv_heads, blocks])
        .ints(&inputs.sizes(rule, shape))
        .ints(&[width, average])
        .run()?;
    let count = shape.kv_heads * blocks;
    device
        .launch("score_sum", Grid::new([1; 3], FUSED))?
        .input(&scores.block_sums, &[count])
        .output(&mut scores.sum, &[1])
        .int(count)
        .run()
}

/// The group's scores before pooling, `[Hkv, n - w]`.
fn raw(layer: &DeviceLayer<'_>, rule: Rule) -> Result<CudaSlice<f32>> {
    let (device, shape) = (&layer.device, layer.shape());
    let mut group_squares = None;
    let inputs = Inputs::new(layer, rule, &mut group_squares)?;
    let columns = [shape.kv_heads, shape.candidate_len()];
    let mut raw = device.allocate(&columns)?;
    device
        .launch("score_group_naive", layer.column_grid(shape.kv_heads))?
        .input(inputs.parts, &inputs.part_extents)
        .optional(inputs.norms, &[shape.query_heads, shape.candidate_len()])
        .output(&mut raw, &columns)
        .ints(&inputs.sizes(rule, shape))
        .run()?;
    Ok(raw)
}

/// `norm_F(sum over the group of a_{h,i} b_{h,i}^T)`, `[Hkv, n - w]`, through a factor of the whole group.
fn exact(layer: &DeviceLayer<'_>) -> Result<CudaSlice<f32>> {
    let (device, shape) = (&layer.device, layer.shape());
    let factors = Factor::of_groups(&layer.output_projection, shape);
    let (group_size, rank) = (shape.group_size(), factors[0].rank());
    let numbers: Vec<f32> = factors.iter().flat_map(Factor::singles).collect();
    let factor = device.copy_in(&numbers)?;
    let (singles, rows) = (layer.singles()?, layer.joined_rows()?);
    let columns = [shape.kv_heads, shape.candidate_len()];
    let mut raw = device.allocate(&columns)?;
    let shared = shape.head_dim + group_size * shape.window_len + 128 * group_size + 4;
    let grid = Grid::new([shape.candidate_len(), shape.kv_heads, 1], 128);
    let launch = device.launch("score_exact_naive", grid.with_shared(shared * size_of::<f32>()))?;
    let launch = layer
        .reading(launch, singles)
        .input(&rows.largest, &rows.extents(layer))
        .input(&rows.sums, &rows.extents(layer))
        .input(&*singles.value, &layer.cached_extents())
        .input(&factor, &[shape.kv_heads, group_size, shape.head_dim, rank])
        .output(&mut raw, &columns);
    layer.attending(launch).ints(&[shape.head_dim, rank]).run()?;
    Ok(raw)
}

/// Pools scores and adds them up, kernel by kernel.
fn pooled(
    layer: &DeviceLayer<'_>,
    raw: &CudaSlice<f32>,
    width: usize,
    average: usize,
    scores: &mut DeviceScores,
) -> Result<()> {
    let (device, shape) = (&layer.device, layer.shape());
    let columns = [shape.kv_heads, shape.candidate_len()];
    device
        .launch("score_pool_naive", layer.column_grid(shape.kv_heads))?
        .input(raw, &columns)
        .output(&mut scores.scores, &columns)
        .ints(&[shape.candidate_len(), width, average])
        .run()?;
    let count = scores.scores.len();
    device
        .launch("score_sum_naive", Grid::new([1; 3], 1))?
        .input(&scores.scores, &columns)
        .output(&mut scores.sum, &[1])
        .int(count)
        .run()
}
