//! One layer's sizes and activations on the device, before any stage has run.

use std::sync::{Arc, OnceLock};

use laprox_reference::{LayerProblem, LayerShape, TensorView};

use crate::device::{Device, Version};
use crate::error::{Result, doing};
use crate::launch::{Grid, Launch, Plain};
use crate::memory::Memory;
use crate::resident::ResidentProblem;
use crate::upload::{self, Format};

/// Queries `[H, w, d]`, keys and values `[Hkv, n + t, d]`, in one width.
pub(crate) struct Tensors<T> {
    pub query: Memory<T>,
    pub key: Memory<T>,
    pub value: Memory<T>,
}

impl<T> Tensors<T> {
    fn of([query, key, value]: [Memory<T>; 3]) -> Self {
        Self { query, key, value }
    }
}

/// The activations of a layer on the device.
pub struct DeviceActivations<'a> {
    pub(crate) device: Arc<Device>,
    shape: LayerShape,
    attention_scale: f64,
    /// `o_proj.weight`, in the host's memory.
    pub(crate) output_projection: TensorView<'a, 2>,
    format: Format,
    halves: Option<Tensors<u16>>,
    singles: OnceLock<Tensors<f32>>,
}

/// Head dimensions of the tensor-core kernels.
const TENSOR_CORE_WIDTHS: [usize; 2] = [64, 128];

impl<'a> DeviceActivations<'a> {
    /// Uploads a layer in the narrowest format that holds it exactly and has kernels.
    pub fn upload(device: &Arc<Device>, problem: &LayerProblem<'a>) -> Result<Self> {
        let activations = problem.activations();
        let shape = problem.shape();
        let format = if has_kernels(device, shape) { Format::of(activations) } else { Format::F32 };
        let tensors = [activations.query, activations.key, activations.value];
        let elements = tensors.map(|tensor| tensor.elements());
        let this = Self {
            device: Arc::clone(device),
            shape,
            attention_scale: problem.attention_scale(),
            output_projection: activations.output_projection,
            format,
            halves: None,
            singles: OnceLock::new(),
        };
        if format == Format::F32 {
            let [query, key, value] = elements.map(|elements| upload::singles(device, elements));
            let singles = [query?, key?, value?].map(Memory::Own);
            return Ok(Self { singles: OnceLock::from(Tensors::of(singles)), ..this });
        }
        let [query, key, value] = elements.map(|elements| upload::halves(device, format, elements));
        let halves = [query?, key?, value?].map(Memory::Own);
        Ok(Self { halves: Some(Tensors::of(halves)), ..this })
    }

    /// Takes a layer that is on the device, where it lies. Without kernels for its format it is widened there.
    pub fn resident(device: &Arc<Device>, problem: &ResidentProblem<'a>) -> Result<Self> {
        let ResidentProblem { shape, attention_scale, activations, .. } = *problem;
        let format = activations.query.format;
        // The lender may have written in any stream.
        doing("waiting for the tensors", device.compute.context().synchronize())?;
        let this = Self {
            device: Arc::clone(device),
            shape,
            attention_scale,
            output_projection: activations.output_projection,
            format,
            halves: None,
            singles: OnceLock::new(),
        };
        if format == Format::F32 {
            let singles = Tensors::of(problem.lent(device)?);
            return Ok(Self { singles: OnceLock::from(singles), ..this });
        }
        let halves: [Memory<u16>; 3] = problem.lent(device)?;
        if has_kernels(device, shape) {
            return Ok(Self { halves: Some(Tensors::of(halves)), ..this });
        }
        let [query, key, value] = halves.each_ref().map(|narrow| upload::widened(device, format, narrow));
        let singles = Tensors::of([query?, key?, value?].map(Memory::Own));
        Ok(Self { format: Format::F32, singles: OnceLock::from(singles), ..this })
    }

    /// The layer's sizes.
    #[must_use]
    pub fn shape(&self) -> LayerShape {
        self.shape
    }

    /// The format of its activations on the device.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// `scale * log2(e)`: logits as exponents of two.
    pub(crate) fn scale_log2(&self) -> f32 {
        (self.attention_scale * std::f64::consts::LOG2_E) as f32
    }

    /// The extents of the queries.
    pub(crate) fn query_extents(&self) -> [usize; 3] {
        let shape = self.shape();
        [shape.query_heads, shape.window_len, shape.head_dim]
    }

    /// The extents of the keys and of the values.
    pub(crate) fn cached_extents(&self) -> [usize; 3] {
        let shape = self.shape();
        [shape.kv_heads, shape.cached_len(), shape.head_dim]
    }

    /// A grid of one thread per candidate of each of `heads`.
    pub(crate) fn column_grid(&self, heads: usize) -> Grid {
        Grid::new([self.shape().candidate_len().div_ceil(128), heads, 1], 128)
    }

    /// Adds the first arguments of a kernel that attends: queries and keys.
    pub(crate) fn reading<'l, T: Plain>(&self, launch: Launch<'l>, tensors: &'l Tensors<T>) -> Launch<'l> {
        launch.input(&*tensors.query, &self.query_extents()).input(&*tensors.key, &self.cached_extents())
    }

    /// Adds the arguments that all versions of such a kernel share at the end: sizes and scale.
    pub(crate) fn attending<'l>(&self, launch: Launch<'l>) -> Launch<'l> {
        let shape = self.shape();
        let sizes = [shape.group_size(), shape.window_len, shape.context_len, shape.cached_len()];
        launch.ints(&sizes).real(self.scale_log2())
    }

    /// The activations in a 16-bit format, if they are in one.
    pub(crate) fn halves(&self) -> Option<&Tensors<u16>> {
        self.halves.as_ref()
    }

    /// The activations as f32, widened when first needed.
    pub(crate) fn singles(&self) -> Result<&Tensors<f32>> {
        once(&self.singles, || {
            let halves = self.halves.as_ref().expect("a layer in no 16-bit format is in f32 from the start");
            let narrow = [&halves.query, &halves.key, &halves.value];
            let [query, key, value] = narrow.map(|narrow| upload::widened(&self.device, self.format, narrow));
            Ok(Tensors::of([query?, key?, value?].map(Memory::Own)))
        })
    }
}

/// Whether 16-bit activations of this shape have kernels of their own.
fn has_kernels(device: &Device, shape: LayerShape) -> bool {
    TENSOR_CORE_WIDTHS.contains(&shape.head_dim) && device.version() == Version::Shipped
}

/// The value of a cell, made when first needed. If two threads make it at once, the first one's stays.
pub(crate) fn once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(value) => Ok(value),
        None => make().map(|value| cell.get_or_init(|| value)),
    }
}
