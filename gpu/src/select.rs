//! Stage *select* on the device: the top slots of a whole model, exactly, ties to the lower (layer, KV head, position).

use std::sync::Arc;

use cudarc::driver::CudaSlice;
use laprox_reference::protected::ENDS;
use laprox_reference::{
    Allocation, LayerRetained, LayerShape, Normaliser, Policy, PolicyOptions, RetainedSet,
};

use crate::device::{Device, Version};
use crate::error::{DeviceError, Result, doing, require};
use crate::launch::{Grid, Launch};
use crate::score::DeviceScores;

/// Threads of a block.
const THREADS: usize = 512;

/// Neighbouring slots of a head that a block looks at together.
const CHUNK: usize = 8 * THREADS;

/// Blocks that run at once on a multiprocessor.
const BLOCKS_EACH: usize = 4;

/// Bins of a histogram of digits.
const BINS: usize = 2048;

/// Whether a policy keeps what [`ModelScores::top`] does: the highest shares of a layer's sum, and nothing else first.
#[must_use]
pub fn cuts(policy: &Policy) -> bool {
    let PolicyOptions { allocation, norm, sinks, min_per_head, parameters, .. } = *policy.options();
    let plain = (allocation, norm, sinks, min_per_head) == (Allocation::MODEL, Normaliser::Sum, 0, 0);
    plain && parameters.get(&ENDS) == 0.0
}

/// The scores of all layers of a model, on the device.
pub struct ModelScores {
    device: Arc<Device>,
    /// `[layers, Hkv, n - w]`
    scores: CudaSlice<f32>,
    /// What each layer's scores are divided by, `[layers]`.
    sums: CudaSlice<f32>,
    layers: usize,
    shape: LayerShape,
}

impl ModelScores {
    /// Joins the layers' scores, each to be divided by its own sum.
    ///
    /// # Errors
    /// [`DeviceError::Request`] when there is no layer, or no candidate.
    pub fn join<'s>(
        device: &Arc<Device>,
        layers: impl IntoIterator<Item = &'s DeviceScores>,
        shape: LayerShape,
    ) -> Result<Self> {
        let layers: Vec<&DeviceScores> = layers.into_iter().collect();
        let slots = shape.kv_heads * shape.candidate_len();
        if layers.is_empty() || slots == 0 || layers.iter().any(|layer| layer.scores.len() != slots) {
            return Err(refuse_scores(slots, layers.iter().map(|layer| layer.scores.len()).sum()));
        }
        let mut scores = device.allocate(&[layers.len(), slots])?;
        let mut sums = device.allocate(&[layers.len()])?;
        for (index, layer) in layers.iter().enumerate() {
            let what = "joining scores";
            let mut part = scores.slice_mut(index * slots..(index + 1) * slots);
            doing(what, device.compute.memcpy_dtod(&layer.scores, &mut part))?;
            doing(what, device.compute.memcpy_dtod(&layer.sum, &mut sums.slice_mut(index..=index)))?;
        }
        Ok(Self { device: Arc::clone(device), scores, sums, layers: layers.len(), shape })
    }

    /// Takes scores `[layers, Hkv, n - w]` and what each layer's are divided by.
    ///
    /// # Errors
    /// As [`ModelScores::join`].
    pub fn upload(device: &Arc<Device>, scores: &[f32], sums: &[f32], shape: LayerShape) -> Result<Self> {
        let slots = shape.kv_heads * shape.candidate_len();
        if slots == 0 || sums.is_empty() || scores.len() != sums.len() * slots {
            return Err(refuse_scores(slots, scores.len()));
        }
        Ok(Self {
            device: Arc::clone(device),
            scores: device.copy_in(scores)?,
            sums: device.copy_in(sums)?,
            layers: sums.len(),
            shape,
        })
    }

    /// The first `count` slots by the highest normalised score, ties to the lower (layer, KV head, position), and the
    /// windows. Enqueued, not waited for.
    ///
    /// # Errors
    /// [`DeviceError::Request`] when there are not that many, or none is asked for.
    pub fn top(&self, count: usize) -> Result<Selected> {
        let mut selected = Selected::allocate(self, count)?;
        self.enqueue_top(&mut selected)?;
        Ok(selected)
    }

    /// The same into room that is there.
    pub fn enqueue_top(&self, selected: &mut Selected) -> Result<()> {
        require(
            "model of the selection",
            (self.layers, self.shape),
            (selected.set.layers, selected.set.shape),
        )?;
        match self.device.version() {
            Version::Naive => self.top_naive(selected),
            Version::Shipped => {
                self.find_cut(selected)?;
                self.compact(selected)
            }
        }
    }

    /// Ranks every slot against every other one; the host packs what stays.
    fn top_naive(&self, selected: &mut Selected) -> Result<()> {
        let slots = self.scores.len();
        let mut kept = self.device.allocate(&[slots])?;
        self.device
            .launch("select_naive", Grid::new([slots.div_ceil(128), 1, 1], 128))?
            .input(&self.scores, &[slots])
            .input(&self.sums, &[self.layers])
            .output(&mut kept, &[slots])
            .output(&mut selected.refused, &[1])
            .ints(&[slots / self.layers, slots, selected.count])
            .run()?;
        let kept: Vec<u32> = self.device.copy_out(&kept)?;
        let (mut offsets, mut positions) = (vec![0], Vec::new());
        for head in kept.chunks_exact(self.shape.candidate_len()) {
            let all = head.iter().copied().chain(std::iter::repeat_n(1, self.shape.window_len));
            positions.extend(
                (0..).zip(all).filter(|(_, kept)| *kept == 1).map(|(position, _): (u32, u32)| position),
            );
            offsets.push(positions.len() as u32);
        }
        (selected.set.offsets, selected.set.positions) =
            (self.device.copy_in(&offsets)?, self.device.copy_in(&positions)?);
        Ok(())
    }

    /// Room for the chunks' counts, and blocks that take the chunks in turns.
    fn division(&self) -> (usize, Grid) {
        let chunks = self.heads() * self.shape.candidate_len().div_ceil(CHUNK);
        let blocks = chunks.min(BLOCKS_EACH * self.device.multiprocessors());
        (chunks, Grid::new([blocks, 1, 1], THREADS))
    }

    /// A launch that reads all scores.
    fn reading(&self, kernel: &str, grid: Grid) -> Result<Launch<'_>> {
        let launch = self.device.launch(kernel, grid)?;
        Ok(launch.input(&self.scores, &[self.scores.len()]).input(&self.sums, &[self.layers]))
    }

    fn heads(&self) -> usize {
        self.layers * self.shape.kv_heads
    }

    /// The key of the last slot that stays and how many of its ties do, digit by digit; how many of each chunk are above it
    /// and on it; and the first slot without a finite score.
    fn find_cut(&self, selected: &mut Selected) -> Result<()> {
        let (chunks, grid) = self.division();
        let (heads, candidates) = (self.heads(), self.shape.candidate_len());
        let all = [self.shape.kv_heads, heads, candidates];
        self.reading("select_histogram", grid)?
            .output(&mut selected.histograms, &[3, BINS])
            .output(&mut selected.refused, &[1])
            .ints(&all)
            .run()?;
        self.reading("select_narrow", grid)?
            .output(&mut selected.histograms, &[3, BINS])
            .output(&mut selected.cuts, &[3, 2])
            .output(&mut selected.narrowed, &[chunks, 2])
            .output(&mut selected.aside, &[chunks, CHUNK])
            .output(&mut selected.marks, &[chunks, THREADS])
            .output(&mut selected.refused, &[1])
            .int(selected.count)
            .ints(&all)
            .run()?;
        self.device
            .launch("select_refine", grid)?
            .output(&mut selected.histograms, &[3, BINS])
            .output(&mut selected.cuts, &[3, 2])
            .input(&selected.narrowed, &[chunks, 2])
            .input(&selected.aside, &[chunks, CHUNK])
            .ints(&[heads, candidates])
            .run()?;
        self.device
            .launch("select_count", grid)?
            .input(&selected.histograms, &[3, BINS])
            .output(&mut selected.cuts, &[3, 2])
            .input(&selected.narrowed, &[chunks, 2])
            .input(&selected.aside, &[chunks, CHUNK])
            .output(&mut selected.counts, &[chunks, 2])
            .ints(&[heads, candidates])
            .run()
    }

    /// Positions of what the cut leaves, in order.
    fn compact(&self, selected: &mut Selected) -> Result<()> {
        let ((chunks, grid), heads) = (self.division(), self.heads());
        let window_len = self.shape.window_len;
        self.device
            .launch("select_compact", grid)?
            .output(&mut selected.histograms, &[3, BINS])
            .input(&selected.cuts, &[3, 2])
            .input(&selected.counts, &[chunks, 2])
            .input(&selected.aside, &[chunks, CHUNK])
            .input(&selected.marks, &[chunks, THREADS])
            .output(&mut selected.set.offsets, &[heads + 1])
            .output(&mut selected.set.positions, &[selected.count + heads * window_len])
            .ints(&[heads, self.shape.candidate_len(), window_len])
            .run()
    }
}

fn refuse_scores(slots: usize, found: usize) -> DeviceError {
    let expected = format_args!("at least one layer of {slots} candidates, at least one");
    DeviceError::request("scores of a model", expected, format_args!("{found} scores"))
}

/// A retained set on the device: positions head after head, each head's window last.
pub struct DeviceSet {
    pub(crate) device: Arc<Device>,
    pub(crate) shape: LayerShape,
    pub(crate) layers: usize,
    /// `[layers * Hkv + 1]`
    pub(crate) offsets: CudaSlice<u32>,
    pub(crate) positions: CudaSlice<u32>,
}

impl DeviceSet {
    /// Copies one layer's part of a retained set to the device.
    pub fn upload(device: &Arc<Device>, shape: LayerShape, retained: LayerRetained<'_>) -> Result<Self> {
        let (mut offsets, mut positions) = (vec![0], Vec::new());
        for head in shape.kv_heads() {
            positions.extend_from_slice(retained.head(head));
            offsets.push(positions.len() as u32);
        }
        let (offsets, positions) = (device.copy_in(&offsets)?, device.copy_in(&positions)?);
        Ok(Self { device: Arc::clone(device), shape, layers: 1, offsets, positions })
    }
}

/// The highest scores of a model, with the room that their selection needs.
pub struct Selected {
    set: DeviceSet,
    /// How many candidates stay.
    count: usize,
    /// The first slot whose score is not finite.
    refused: CudaSlice<u32>,
    /// The last key that stays, as far as each histogram told: its leading digits, and how many keys with these stay.
    cuts: CudaSlice<u32>,
    /// Empty but between the kernels.
    histograms: CudaSlice<u32>,
    /// For each chunk of slots, how many are above the cut's first digit and how many have it.
    narrowed: CudaSlice<u32>,
    /// For each chunk of slots, how many are above the cut and on it.
    counts: CudaSlice<u32>,
    /// For each chunk, the keys that share the cut's first digit.
    aside: CudaSlice<u32>,
    /// For each thread of each chunk, which of its slots are above that digit and which have it.
    marks: CudaSlice<u32>,
}

impl Selected {
    /// Room for the first `count` slots.
    ///
    /// # Errors
    /// [`DeviceError::Request`] when there are not that many, or none is asked for.
    pub fn allocate(scores: &ModelScores, count: usize) -> Result<Self> {
        let (device, shape, slots) = (&scores.device, scores.shape, scores.scores.len());
        if count == 0 || count > slots {
            let expected = format_args!("1 to {slots}");
            return Err(DeviceError::request("number of slots to keep", expected, count));
        }
        let (heads, (chunks, _)) = (scores.heads(), scores.division());
        Ok(Self {
            set: DeviceSet {
                device: Arc::clone(device),
                shape,
                layers: scores.layers,
                offsets: device.allocate(&[heads + 1])?,
                positions: device.allocate(&[count + heads * shape.window_len])?,
            },
            count,
            refused: device.copy_in(&[u32::MAX])?,
            cuts: device.allocate(&[3, 2])?,
            histograms: doing("clearing the histograms", device.compute.alloc_zeros(3 * BINS))?,
            narrowed: device.allocate(&[chunks, 2])?,
            counts: device.allocate(&[chunks, 2])?,
            aside: device.allocate(&[chunks, CHUNK])?,
            marks: device.allocate(&[chunks, THREADS])?,
        })
    }

    /// The set, left on the device.
    #[must_use]
    pub fn set(&self) -> &DeviceSet {
        &self.set
    }

    /// The set on the host.
    ///
    /// # Errors
    /// [`DeviceError::Request`] names a slot whose normalised score is not finite.
    pub fn download(&self) -> Result<RetainedSet> {
        self.refuse_non_finite(self.set.device.copy_out(&self.refused)?[0] as usize)?;
        let offsets = self.set.device.copy_out(&self.set.offsets)?;
        let positions = self.set.device.copy_out(&self.set.positions)?;
        let LayerShape { kv_heads, context_len, window_len, .. } = self.set.shape;
        let head = |pair: &[u32]| positions[pair[0] as usize..pair[1] as usize - window_len].to_vec();
        let heads: Vec<Vec<u32>> = offsets.windows(2).map(head).collect();
        let set = RetainedSet::from_candidates(kv_heads, context_len, window_len, &heads);
        set.map_err(|error| DeviceError::request("selected positions", "a retained set", error))
    }

    fn refuse_non_finite(&self, slot: usize) -> Result<()> {
        if slot == u32::MAX as usize {
            return Ok(());
        }
        let (head, position) = (slot / self.set.shape.candidate_len(), slot % self.set.shape.candidate_len());
        let (layer, kv_head) = (head / self.set.shape.kv_heads, head % self.set.shape.kv_heads);
        let found = format_args!("none for layer {layer}, KV head {kv_head}, position {position}");
        Err(DeviceError::request("normalised score", "a finite number", found))
    }
}
