//! Layers whose queries, keys and values another library already has on the device: scored where they lie.
//!
//! Nothing of them is copied to the device. The output projection is the host's, because its factors are computed there. Scores
//! without a kernel, and the errors of retained sets, are the reference's: the layer is copied to the host when they are first
//! asked for.

use std::sync::{Arc, OnceLock};

use half::f16;
use half::slice::HalfBitsSliceExt;
use laprox_reference::{
    Activations, Elements, Error, LayerIndex, LayerProblem, LayerScores, LayerShape, PreparedLayer,
    ReferenceLayer, Score, TensorView,
};

use crate::device::Device;
use crate::error::{DeviceError, Result};
use crate::memory::Memory;
use crate::upload::Format;

/// A tensor in the device's memory, in C order. Its numbers stay as they are as long as a layer over it lives.
#[derive(Clone, Copy, Debug)]
pub struct DeviceTensor {
    /// Where it begins, at a multiple of 16 bytes.
    pub address: u64,
    /// Its extents.
    pub shape: [usize; 3],
    /// The form of its numbers.
    pub format: Format,
}

/// The activations of one layer.
#[derive(Clone, Copy, Debug)]
pub struct ResidentActivations<'a> {
    /// Post-RoPE queries of the window, `[H, w, d]`.
    pub query: DeviceTensor,
    /// Post-RoPE keys, `[Hkv, n + t, d]`.
    pub key: DeviceTensor,
    /// Values, `[Hkv, n + t, d]`.
    pub value: DeviceTensor,
    /// `o_proj.weight`, `[D, H * d]`, in the host's memory.
    pub output_projection: TensorView<'a, 2>,
    /// Post-RoPE queries of `t` later positions, `[H, t, d]`, in the host's memory.
    pub future_query: Option<TensorView<'a, 3>>,
}

/// One layer on the device: shapes that agree, one format, a usable scale. Numbers that are not finite show in the scores.
#[derive(Clone, Copy, Debug)]
pub struct ResidentProblem<'a> {
    pub(crate) layer: LayerIndex,
    pub(crate) shape: LayerShape,
    pub(crate) attention_scale: f64,
    pub(crate) activations: ResidentActivations<'a>,
}

impl<'a> ResidentProblem<'a> {
    /// Checks shapes, formats and the scale.
    ///
    /// # Errors
    /// As [`LayerProblem::of_finite`], and [`Error::Shape`] when the formats differ.
    pub fn new(
        layer: LayerIndex,
        attention_scale: f64,
        activations: ResidentActivations<'a>,
    ) -> Result<Self, Error> {
        let ResidentActivations { query, key, value, output_projection, future_query } = activations;
        let future = future_query.map(|query| query.shape());
        let shapes = (query.shape, key.shape, value.shape, output_projection.shape());
        let shape = LayerShape::of_tensors(shapes, future)?;
        LayerProblem::check_scale(attention_scale)?;
        let formats = [query, key, value].map(|tensor| tensor.format);
        if formats != [query.format; 3] {
            let found = formats.map(Format::name).join(", ");
            let expected = "one format on the device".into();
            return Err(Error::Shape { what: "q, k and v", expected, found });
        }
        Ok(Self { layer, shape, attention_scale, activations })
    }

    /// The layer's number in the model.
    #[must_use]
    pub fn layer(&self) -> LayerIndex {
        self.layer
    }

    /// The layer's sizes.
    #[must_use]
    pub fn shape(&self) -> LayerShape {
        self.shape
    }

    fn tensors(&self) -> [(&'static str, DeviceTensor); 3] {
        let ResidentActivations { query, key, value, .. } = self.activations;
        [("q", query), ("k", key), ("v", value)]
    }

    /// The lent memory of queries, keys and values.
    pub(crate) fn lent<T: crate::launch::Plain>(&self, device: &Device) -> Result<[Memory<T>; 3]> {
        let [query, key, value] = self
            .tensors()
            .map(|(what, tensor)| Memory::lent(device, what, tensor.address, tensor.shape.iter().product()));
        Ok([query?, key?, value?])
    }
}

/// A resident layer that the reference reads, through the host, when it is first needed.
pub(crate) struct Download<'a> {
    device: Arc<Device>,
    pub problem: ResidentProblem<'a>,
    layer: OnceLock<Result<ReferenceLayer, Error>>,
}

impl<'a> Download<'a> {
    pub fn new(device: &Arc<Device>, problem: &ResidentProblem<'a>) -> Self {
        Self { device: Arc::clone(device), problem: *problem, layer: OnceLock::new() }
    }

    fn downloaded(&self) -> Result<ReferenceLayer, Error> {
        let ResidentProblem { layer, attention_scale, activations, .. } = self.problem;
        let [query, key, value] = self.numbers()?;
        let of = |numbers, tensor: DeviceTensor| TensorView::new(tensor.shape, Host::elements(numbers));
        let activations = Activations {
            query: of(&query, activations.query)?,
            key: of(&key, activations.key)?,
            value: of(&value, activations.value)?,
            output_projection: activations.output_projection,
            future_query: activations.future_query,
        };
        ReferenceLayer::new(&LayerProblem::new(layer, attention_scale, activations)?)
    }

    fn numbers(&self) -> Result<[Host; 3], DeviceError> {
        let device = &self.device;
        let format = self.problem.activations.query.format;
        let [query, key, value] = match format {
            Format::F32 => {
                let tensors = self.problem.lent::<f32>(device)?;
                tensors.map(|tensor| device.copy_out(&tensor).map(Host::Singles))
            }
            _ => {
                let tensors = self.problem.lent::<u16>(device)?;
                tensors.map(|tensor| device.copy_out(&tensor).map(|bits| Host::of_bits(&bits, format)))
            }
        };
        Ok([query?, key?, value?])
    }
}

/// Downloaded numbers. bf16 is widened to f32, which holds it.
enum Host {
    Halves(Vec<f16>),
    Singles(Vec<f32>),
}

impl Host {
    fn of_bits(bits: &[u16], format: Format) -> Self {
        match format {
            Format::F16 => Self::Halves(bits.reinterpret_cast::<f16>().to_vec()),
            _ => Self::Singles(format.widen(bits).into_iter().map(|number| number as f32).collect()),
        }
    }

    fn elements(&self) -> Elements<'_> {
        match self {
            Self::Halves(numbers) => Elements::F16(numbers),
            Self::Singles(numbers) => Elements::F32(numbers),
        }
    }
}

impl PreparedLayer for Download<'_> {
    fn index(&self) -> LayerIndex {
        self.problem.layer
    }

    fn shape(&self) -> LayerShape {
        self.problem.shape
    }

    fn reference(&self) -> Result<&ReferenceLayer, Error> {
        self.layer.get_or_init(|| self.downloaded()).as_ref().map_err(Clone::clone)
    }

    fn score(&self, score: &Score) -> Result<LayerScores, Error> {
        match score.of_unseen(self.index(), self.shape()) {
            Some(scores) => scores.map(LayerScores::Host),
            None => self.reference()?.score(score),
        }
    }
}
