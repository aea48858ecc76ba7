//! Layers that lie on the device are scored where they lie: as those of the host to the bit, without a copy of them.

mod common;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::problem::{Problem, Sizes, view};
use common::{device, naive_device, output_norm, score, scored};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr};
use half::{bf16, f16};
use laprox_gpu::{DeviceTensor, Format, Gpu, ResidentActivations, ResidentProblem};
use laprox_ptxsim::driver::copied_in;
use laprox_reference::{
    Backend, CandidatesPerHead, Error, HeadScores, LayerIndex, LayerOrdinal, LayerShape, ModelScores,
    Position, PreparedLayer, Reference, Tensor,
};

/// The count of copied bytes is the process's, so tests take turns.
static TURNS: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tensors of a layer that another library has on the device, in a stream of its own.
struct Lender {
    stream: Arc<CudaStream>,
    halves: Vec<CudaSlice<u16>>,
    singles: Vec<CudaSlice<f32>>,
    format: Format,
}

impl Lender {
    fn new(problem: &Problem, format: Format) -> Self {
        let context = CudaContext::new(0).unwrap();
        let stream = context.new_stream().unwrap();
        let tensors = [&problem.query, &problem.key, &problem.value];
        let bits = |number: &f32| match format {
            Format::Bf16 => bf16::from_f32(*number).to_bits(),
            _ => f16::from_f32(*number).to_bits(),
        };
        let (mut halves, mut singles) = (Vec::new(), Vec::new());
        for tensor in tensors {
            match format {
                Format::F32 => singles.push(stream.clone_htod(tensor).unwrap()),
                _ => {
                    let bits: Vec<u16> = tensor.iter().map(bits).collect();
                    halves.push(stream.clone_htod(&bits).unwrap());
                }
            }
        }
        Self { stream, halves, singles, format }
    }

    fn address(&self, place: usize) -> u64 {
        match self.format {
            Format::F32 => self.singles[place].device_ptr(&self.stream).0,
            _ => self.halves[place].device_ptr(&self.stream).0,
        }
    }

    fn activations<'a>(&self, problem: &'a Problem) -> ResidentActivations<'a> {
        let LayerShape { query_heads, kv_heads, head_dim, hidden_dim, window_len, future_len, .. } =
            problem.shape;
        let cached = [kv_heads, problem.shape.cached_len(), head_dim];
        let tensor = |place, shape| DeviceTensor { address: self.address(place), shape, format: self.format };
        let future = || view([query_heads, future_len, head_dim], &problem.future_query);
        ResidentActivations {
            query: tensor(0, [query_heads, window_len, head_dim]),
            key: tensor(1, cached),
            value: tensor(2, cached),
            output_projection: view([hidden_dim, query_heads * head_dim], &problem.projection),
            future_query: (future_len > 0).then(future),
        }
    }

    fn problem<'a>(&self, problem: &'a Problem) -> ResidentProblem<'a> {
        ResidentProblem::new(LayerIndex(0), problem.scale, self.activations(problem)).unwrap()
    }
}

fn bits(scores: &HeadScores) -> Vec<u64> {
    scores.values().map(f64::to_bits).collect()
}

const FORMATS: [Format; 3] = [Format::Bf16, Format::F16, Format::F32];
const WITH_KERNELS: [&str; 5] =
    ["laprox", "laprox:gqa=attention,pool=max:5", "laprox:gqa=exact", "snapkv", "snapkv:gqa=max,pool=none"];
const WITHOUT: [&str; 4] = ["centred", "tova", "streaming", "laprox:window=5"];

/// Shapes with tensor-core kernels, of any alignment, and one without.
fn sizes() -> [Sizes; 3] {
    let usual = Sizes::with_context(97);
    [
        Sizes { kv_heads: 2, future_len: 3, ..usual },
        Sizes { group_size: 3, window_len: 33, ..usual },
        Sizes { head_dim: 24, group_size: 2, ..usual },
    ]
}

#[test]
fn scores_are_those_of_the_same_layer_on_the_host() {
    let _turn = turn();
    let shipped = sizes().into_iter().flat_map(|sizes| FORMATS.map(|format| (device(), sizes, format)));
    let naive = [(naive_device(), sizes()[1], Format::F16)];
    for (seed, (device, sizes, format)) in shipped.chain(naive).enumerate() {
        let gpu = Gpu::new(device);
        let problem = Problem::alive(sizes, format, seed as u64);
        let lender = Lender::new(&problem, format);
        let resident = gpu.prepare_resident(&lender.problem(&problem));
        let host = problem.layer_problem();
        let uploaded = gpu.prepare(&host).unwrap();
        for policy in WITH_KERNELS.iter().chain(&WITHOUT) {
            let [found, expected] =
                [resident.as_ref(), uploaded.as_ref()].map(|layer| scored(layer, &score(policy)).unwrap());
            assert_eq!(bits(&found), bits(&expected), "{policy}, {format:?}, {sizes:?}");
        }
        assert_eq!(output_norm(resident.as_ref()).to_bits(), output_norm(uploaded.as_ref()).to_bits());
    }
}

#[test]
fn no_number_of_the_layer_is_copied_to_the_device() {
    let _turn = turn();
    let device = device();
    if copied_in().is_none() {
        println!("skipped: a real device does not count");
        return;
    }
    let gpu = Gpu::new(Arc::clone(&device));
    let copied = |work: &dyn Fn()| {
        let before = copied_in().unwrap();
        work();
        copied_in().unwrap() - before
    };
    for (sizes, format) in sizes().into_iter().zip([Format::Bf16, Format::F16, Format::F32]) {
        let problem = Problem::alive(sizes, format, 1);
        let lender = Lender::new(&problem, format);
        let work = |layer: &dyn PreparedLayer, policy: &str| {
            scored(layer, &score(policy)).unwrap();
        };
        let resident =
            |policy: &str| copied(&|| work(gpu.prepare_resident(&lender.problem(&problem)).as_ref(), policy));
        let host = problem.layer_problem();
        let uploaded = |policy: &str| copied(&|| work(gpu.prepare(&host).unwrap().as_ref(), policy));
        let numbers = problem.query.len() + problem.key.len() + problem.value.len();
        let width = if format == Format::F32 { 4 } else { 2 };
        for policy in WITH_KERNELS {
            assert_eq!(uploaded(policy) - resident(policy), (numbers * width) as u64, "{policy}, {format:?}");
        }
        // SnapKV reads no projection: the one number is the sum's zero.
        assert_eq!(resident("snapkv"), 4);
    }
}

#[test]
fn errors_and_packed_rows_are_those_of_the_same_layer_on_the_host() {
    let _turn = turn();
    let (device, sizes) = (device(), sizes()[0]);
    let gpu = Gpu::new(Arc::clone(&device));
    for format in FORMATS {
        let problem = Problem::alive(sizes, format, 3);
        let host = problem.layer_problem();
        let lender = Lender::new(&problem, format);
        let resident = gpu.prepare_resident(&lender.problem(&problem));
        let uploaded = gpu.prepare(&host).unwrap();
        let scores = scored(uploaded.as_ref(), &score("laprox")).unwrap();
        let policy = "laprox".parse().unwrap();
        let scores = ModelScores::new(vec![scores]).unwrap();
        let set = laprox_reference::cut(&policy, &scores, CandidatesPerHead(20), sizes.window_len).unwrap();
        let set = set.layer(LayerOrdinal(0));
        assert_eq!(resident.gather(set).unwrap(), uploaded.gather(set).unwrap());
        let by_definition = Reference.prepare(&host).unwrap().evaluate(set).unwrap();
        let found = resident.evaluate(set).unwrap();
        assert_eq!(found.drop, by_definition.drop);
        assert_eq!(found.future, by_definition.future);
    }
}

#[test]
fn what_is_no_layer_on_the_device_is_refused() {
    let _turn = turn();
    let device = device();
    let gpu = Gpu::new(Arc::clone(&device));
    let problem = Problem::alive(Sizes::with_context(64), Format::Bf16, 5);
    let lender = Lender::new(&problem, Format::Bf16);
    let good = lender.activations(&problem);
    let on_host = problem.key.as_ptr().addr() as u64 / 16 * 16;
    let key = |key: DeviceTensor| ResidentActivations { key, ..good };
    let made = |activations| ResidentProblem::new(LayerIndex(7), problem.scale, activations);
    for (activations, named) in [
        (
            key(DeviceTensor { format: Format::F16, ..good.key }),
            "expected one format on the device, found bf16, f16, bf16",
        ),
        (
            key(DeviceTensor { shape: [1, 63, 64], ..good.key }),
            "value: expected [1, 63, 64], found [1, 64, 64]",
        ),
        (key(DeviceTensor { shape: [3, 64, 64], ..good.key }), "3 KV heads"),
    ] {
        let refusal = made(activations).unwrap_err().to_string();
        assert!(refusal.contains(named), "expected {named} in: {refusal}");
    }
    let scale = ResidentProblem::new(LayerIndex(7), f64::NAN, good).unwrap_err().to_string();
    assert!(scale.contains("attention_scale"), "{scale}");
    for (address, named) in [
        (on_host, "expected memory of the first device, found"),
        (0, "expected memory of the first device, found"),
        (good.key.address + 2, "expected an address at a multiple of 16 bytes"),
        // The last numbers lie behind the allocation.
        (good.key.address + 16, "expected memory of the first device, found"),
    ] {
        let problem = made(key(DeviceTensor { address, ..good.key })).unwrap();
        let refusal = scored(gpu.prepare_resident(&problem).as_ref(), &score("snapkv")).unwrap_err();
        let refusal = refusal.to_string();
        assert!(refusal.contains("k: ") && refusal.contains(named), "expected {named} in: {refusal}");
    }
}

#[test]
fn a_number_that_is_not_finite_is_refused_with_its_place() {
    let _turn = turn();
    let device = device();
    let clean = Problem::alive(Sizes::with_context(64), Format::F32, 5);
    let mut broken = clean.clone();
    broken.value[7 * 64] = f32::NAN;
    let lender = Lender::new(&broken, Format::F32);
    let layer = Gpu::new(Arc::clone(&device)).prepare_resident(&lender.problem(&clean));
    let refusal = scored(layer.as_ref(), &score("laprox:pool=none")).unwrap_err();
    assert!(matches!(refusal, Error::Score { position: Position(7), .. }), "{refusal}");
    let refusal = layer.reference().unwrap_err();
    assert!(matches!(refusal, Error::NonFinite { tensor: Tensor::Value, index: 448 }), "{refusal}");
}
