//! Stage *select* on the device: the top slots of a whole model, exactly, ties to the lower (layer, KV head, position).

use std::sync::Arc;

use cudarc::driver::CudaSlice;
use laprox_reference::{LayerShape, RetainedSet};

use crate::device::{Device, Version};
use crate::error::{DeviceError, doing};
use crate::launch::Grid;
use crate::score::DeviceScores;

/// Slots of a block of the ordered compaction.
const CHUNK: usize = 1024;

/// Bins of a histogram of digits.
const BINS: usize = 2048;

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
    pub fn join(
        device: &Arc<Device>,
        layers: &[DeviceScores],
        shape: LayerShape,
    ) -> Result<Self, DeviceError> {
        let slots = shape.kv_heads * shape.candidate_len();
        if layers.is_empty() || slots == 0 || layers.iter().any(|layer| layer.scores.len() != slots) {
            return Err(DeviceError::Request {
                what: "scores of a model",
                expected: format!("at least one layer, {slots} candidates each, at least one"),
                found: format!("{:?}", layers.iter().map(|layer| layer.scores.len()).collect::<Vec<_>>()),
            });
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
    pub fn upload(
        device: &Arc<Device>,
        scores: &[f32],
        sums: &[f32],
        shape: LayerShape,
    ) -> Result<Self, DeviceError> {
        let slots = shape.kv_heads * shape.candidate_len();
        let layers = scores.chunks_exact(slots.max(1)).zip(sums);
        let layers = layers.map(|(scores, &sum)| {
            Ok(DeviceScores { scores: device.copy_in(scores)?, sum: device.copy_in(&[sum])? })
        });
        Self::join(device, &layers.collect::<Result<Vec<_>, _>>()?, shape)
    }

    /// The first `count` slots by the highest normalised score, ties to the lower (layer, KV head, position), and the
    /// windows. Enqueued, not waited for.
    ///
    /// # Errors
    /// [`DeviceError::Request`] when there are not that many, or none is asked for.
    pub fn top(&self, count: usize) -> Result<Selected, DeviceError> {
        let slots = self.scores.len();
        if count == 0 || count > slots {
            return Err(DeviceError::Request {
                what: "number of slots to keep",
                expected: format!("1 to {slots}"),
                found: count.to_string(),
            });
        }
        match self.device.version() {
            Version::Naive => self.top_naive(count),
            Version::Shipped => self.top_radix(count),
        }
    }

    /// Ranks every slot against every other one; the host packs what stays.
    fn top_naive(&self, count: usize) -> Result<Selected, DeviceError> {
        let slots = self.scores.len();
        let mut kept = self.device.allocate(&[slots])?;
        let mut refused = self.device.copy_in(&[u32::MAX])?;
        self.device
            .launch("select_naive", Grid::new([slots.div_ceil(128), 1, 1], 128))?
            .input(&self.scores, &[slots])
            .input(&self.sums, &[self.layers])
            .output(&mut kept, &[slots])
            .output(&mut refused, &[1])
            .ints(&[slots / self.layers, slots, count])
            .run()?;
        let kept: Vec<u32> = self.device.copy_out(&kept)?;
        let (mut offsets, mut positions) = (vec![0], Vec::new());
        for head in kept.chunks_exact(self.shape.candidate_len()) {
            let all = head.iter().copied().chain(std::iter::repeat_n(1, self.shape.window_len));
            positions.extend((0..).zip(all).filter(|(_, kept)| *kept == 1).map(|(position, _): (u32, u32)| position));
            offsets.push(positions.len() as u32);
        }
        let (offsets, positions) = (self.device.copy_in(&offsets)?, self.device.copy_in(&positions)?);
        Ok(self.selected(offsets, positions, refused))
    }

    fn top_radix(&self, count: usize) -> Result<Selected, DeviceError> {
        let LayerShape { kv_heads, window_len, .. } = self.shape;
        let candidates = self.shape.candidate_len();
        let (device, heads) = (&self.device, self.layers * kv_heads);
        let [cut, refused] = self.cut(count)?;
        let per_head = candidates.div_ceil(CHUNK);
        let grid = Grid::new([per_head, heads, 1], 256);
        let (scores, chunk_extents) = ([heads, candidates], [heads, per_head, 2]);
        let mut chunks = device.allocate::<u32>(&chunk_extents)?;
        device
            .launch("select_count", grid)?
            .input(&self.scores, &scores)
            .input(&self.sums, &[self.layers])
            .input(&cut, &[2])
            .output(&mut chunks, &chunk_extents)
            .ints(&[kv_heads, candidates])
            .run()?;
        let mut offsets = device.allocate(&[heads + 1])?;
        device
            .launch("select_scan", Grid::new([1; 3], 256))?
            .output(&mut chunks, &chunk_extents)
            .input(&cut, &[2])
            .output(&mut offsets, &[heads + 1])
            .ints(&[heads, per_head, window_len])
            .run()?;
        let retained = [count + heads * window_len];
        let mut positions = device.allocate(&retained)?;
        device
            .launch("select_compact", grid)?
            .input(&self.scores, &scores)
            .input(&self.sums, &[self.layers])
            .input(&cut, &[2])
            .input(&chunks, &chunk_extents)
            .input(&offsets, &[heads + 1])
            .output(&mut positions, &retained)
            .ints(&[kv_heads, candidates, window_len])
            .run()?;
        Ok(self.selected(offsets, positions, refused))
    }

    fn selected(&self, offsets: CudaSlice<u32>, positions: CudaSlice<u32>, refused: CudaSlice<u32>) -> Selected {
        Selected { device: Arc::clone(&self.device), shape: self.shape, offsets, positions, refused }
    }

    /// The key of the last slot that stays and how many of its ties do, digit by digit; and the first slot without a finite
    /// score.
    fn cut(&self, count: usize) -> Result<[CudaSlice<u32>; 2], DeviceError> {
        let (device, slots) = (&self.device, self.scores.len());
        let mut histogram = doing("clearing the histogram", device.compute.alloc_zeros::<u32>(BINS))?;
        let mut cut = device.copy_in(&[0, count as u32])?;
        let mut refused = device.copy_in(&[u32::MAX])?;
        let blocks = slots.div_ceil(4096).clamp(1, 8 * device.multiprocessors());
        for pass in 0..3 {
            device
                .launch("select_histogram", Grid::new([blocks, 1, 1], 256))?
                .input(&self.scores, &[slots])
                .input(&self.sums, &[self.layers])
                .output(&mut histogram, &[BINS])
                .input(&cut, &[2])
                .output(&mut refused, &[1])
                .ints(&[pass, slots / self.layers, slots])
                .run()?;
            device
                .launch("select_bin", Grid::new([1; 3], 256))?
                .output(&mut histogram, &[BINS])
                .output(&mut cut, &[2])
                .int(pass)
                .run()?;
        }
        Ok([cut, refused])
    }
}

/// What stays of a model, on the device: positions head after head, each head's window last.
pub struct Selected {
    pub(crate) device: Arc<Device>,
    pub(crate) shape: LayerShape,
    /// `[layers * Hkv + 1]`
    pub(crate) offsets: CudaSlice<u32>,
    pub(crate) positions: CudaSlice<u32>,
    /// The first slot whose score is not finite.
    refused: CudaSlice<u32>,
}

impl Selected {
    /// The set on the host.
    ///
    /// # Errors
    /// [`DeviceError::Request`] names a slot whose normalised score is not finite.
    pub fn download(&self) -> Result<RetainedSet, DeviceError> {
        self.refuse_non_finite(self.device.copy_out(&self.refused)?[0] as usize)?;
        let offsets = self.device.copy_out(&self.offsets)?;
        let positions = self.device.copy_out(&self.positions)?;
        let LayerShape { kv_heads, context_len, window_len, .. } = self.shape;
        let head = |pair: &[u32]| positions[pair[0] as usize..pair[1] as usize - window_len].to_vec();
        let heads: Vec<Vec<u32>> = offsets.windows(2).map(head).collect();
        let set = RetainedSet::from_candidates(kv_heads, context_len, window_len, &heads);
        set.map_err(|error| DeviceError::Request {
            what: "selected positions",
            expected: "a retained set".into(),
            found: error.to_string(),
        })
    }

    fn refuse_non_finite(&self, slot: usize) -> Result<(), DeviceError> {
        if slot == u32::MAX as usize {
            return Ok(());
        }
        let (head, position) = (slot / self.shape.candidate_len(), slot % self.shape.candidate_len());
        let (layer, kv_head) = (head / self.shape.kv_heads, head % self.shape.kv_heads);
        Err(DeviceError::Request {
            what: "normalised score",
            expected: "a finite number".into(),
            found: format!("none for layer {layer}, KV head {kv_head}, position {position}"),
        })
    }
}
