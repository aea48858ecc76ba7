//! Times of the stages beside their floors, for Llama-3.1-8B's shapes: 32 layers, 32 query heads on 8 KV heads, d = 128,
//! w = 32.
//!
//! The copy rate is measured here. The rate of bf16 matrix products is read from `LAPROX_TFLOPS` and must be measured before.
//! Launches are recorded as graphs and replayed. Several layers' inputs take turns, more than the cache holds. Numbers among
//! the arguments are context lengths, instead of 32k and 128k. Without a device this says so and ends. With
//! `LAPROX_GPU_SIM=1` it runs tiny shapes under the interpreter, whose times mean nothing.

use std::error::Error;
use std::sync::Arc;

use half::f16;
use laprox_gpu::attend::{self, RowParts, Statistic, WindowStatistic};
use laprox_gpu::gather::Packed;
use laprox_gpu::project::{self, DeviceFactors};
use laprox_gpu::score::{self, DeviceScores};
use laprox_gpu::select::{ModelScores, Selected};
use laprox_gpu::{Device, DeviceError, DeviceLayer};
use laprox_reference::{Activations, Elements, LayerIndex, LayerProblem, LayerShape, Policy, TensorView};

const LAYERS: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let simulated = std::env::var_os("LAPROX_GPU_SIM").is_some_and(|value| value == "1");
    if simulated {
        laprox_ptxsim::driver::install()?;
    }
    let Some(device) = Device::open_for_timing()? else {
        println!("no device: nothing is measured");
        return Ok(());
    };
    let device = Arc::new(device);
    let copy_rate = device.copy_rate(if simulated { 1 << 20 } else { 1 << 32 })?;
    let tflops = std::env::var("LAPROX_TFLOPS").ok().and_then(|rate| rate.parse().ok());
    let bench = Bench { device, copy_rate, flop_rate: tflops.map(|rate: f64| rate * 1e12), simulated };
    println!(
        "{}, copies at {:.2} TB/s, bf16 products at {} TFLOP/s\n",
        bench.device.name(),
        copy_rate / 1e12,
        tflops.map_or_else(|| "unmeasured".to_owned(), |rate: f64| format!("{rate:.0}"))
    );
    println!("| stage | n | time, ms | floor, ms | time / floor | bound |\n|---|---|---|---|---|---|");
    let mut context_lens: Vec<usize> =
        std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if context_lens.is_empty() {
        context_lens = if simulated { vec![300] } else { vec![32 * 1024, 128 * 1024] };
    }
    for context_len in context_lens {
        bench.run(context_len)?;
    }
    Ok(())
}

struct Bench {
    device: Arc<Device>,
    /// Bytes per second.
    copy_rate: f64,
    /// Floating-point operations per second.
    flop_rate: Option<f64>,
    simulated: bool,
}

/// The least work for one layer.
#[derive(Clone, Copy, Default)]
struct Work {
    bytes: f64,
    flops: f64,
}

impl Bench {
    fn run(&self, context_len: usize) -> Result<(), Box<dyn Error>> {
        let shape = self.shape(context_len);
        let host = HostLayer::new(shape);
        // More than the cache holds, in turns.
        let turns = if self.simulated { 2 } else { (8 * 32 * 1024 / context_len).clamp(2, 8) };
        let problem = host.problem();
        let upload = |_| DeviceLayer::upload(&self.device, &problem);
        let layers = (0..turns).map(upload).collect::<Result<Vec<_>, _>>()?;
        let LayerShape { query_heads, kv_heads, head_dim, window_len, .. } = shape;
        let (n, heads, d) = (context_len as f64, query_heads as f64, head_dim as f64);
        let candidates = shape.candidate_len() as f64;
        let halves = 2.0 * kv_heads as f64 * n * d;

        let mut parts =
            layers.iter().map(|layer| RowParts::allocate(layer)).collect::<Result<Vec<_>, _>>()?;
        let squares = |layer: &DeviceLayer<'_>| WindowStatistic::allocate(layer, Statistic::Squares);
        let mut statistics = layers.iter().map(squares).collect::<Result<Vec<_>, _>>()?;
        let logits = 2.0 * heads * window_len as f64 * n * d;
        let rows = Work { bytes: halves, flops: logits };
        self.time("a. rows", shape, rows, turns, |turn| {
            attend::enqueue_rows(&layers[turn], &mut parts[turn])
        })?;
        let columns = Work { bytes: halves + 4.0 * heads * candidates, flops: logits };
        self.time("a. columns", shape, columns, turns, |turn| {
            attend::enqueue_columns(&layers[turn], &parts[turn], &mut statistics[turn])
        })?;
        let both = Work { bytes: rows.bytes + columns.bytes, flops: rows.flops + columns.flops };
        self.time("a. window statistics", shape, both, turns, |turn| {
            attend::enqueue_rows(&layers[turn], &mut parts[turn])?;
            attend::enqueue_columns(&layers[turn], &parts[turn], &mut statistics[turn])
        })?;

        let factors = DeviceFactors::upload(&layers[0])?;
        let mut norms =
            layers.iter().map(|layer| project::allocate_norms(layer)).collect::<Result<Vec<_>, _>>()?;
        // Two parts, and of the square the blocks that are not above the diagonal.
        let inside = (head_dim / 32 + 1) as f64 / (2 * (head_dim / 32)) as f64;
        let products = Work {
            bytes: halves + 4.0 * heads * candidates,
            flops: 4.0 * heads * candidates * d * d * inside,
        };
        self.time("b. projected value norms", shape, products, turns, |turn| {
            project::enqueue_norms(&layers[turn], &factors, &mut norms[turn])
        })?;

        let laprox = "laprox".parse::<Policy>()?.score().ok_or("laprox ranks")?;
        let mut scores = layers.iter().map(DeviceScores::allocate).collect::<Result<Vec<_>, _>>()?;
        for (layer, scores) in layers.iter().zip(&mut scores) {
            score::enqueue_scores(layer, &laprox, scores)?;
        }
        let reduced =
            Work { bytes: 8.0 * heads * candidates + 4.0 * kv_heads as f64 * candidates, flops: 0.0 };
        self.time("c. group, pool, sum", shape, reduced, turns, |turn| {
            score::enqueue_scores(&layers[turn], &laprox, &mut scores[turn]).map(|_| ())
        })?;

        self.select_and_gather(shape, &layers)
    }

    fn select_and_gather(&self, shape: LayerShape, layers: &[DeviceLayer<'_>]) -> Result<(), Box<dyn Error>> {
        let slots = LAYERS * shape.kv_heads * shape.candidate_len();
        let mut random = Random(1);
        let numbers: Vec<f32> = (0..slots).map(|_| random.next().abs()).collect();
        let scores = ModelScores::upload(&self.device, &numbers, &[1.0; LAYERS], shape)?;
        let mut selected = Selected::allocate(&scores, slots / 5)?;
        // Two looks at every score; one time for the whole model.
        let looks = Work { bytes: 8.0 * slots as f64 / LAYERS as f64, flops: 0.0 };
        self.time_once("d. model-wide top-K, 20 %", shape, looks, || scores.enqueue_top(&mut selected))?;

        let selected = scores.top(slots / 5)?;
        let rows = selected.set().rows(0)?;
        let mut packed =
            layers.iter().map(|layer| Packed::allocate(layer, rows)).collect::<Result<Vec<_>, _>>()?;
        let moved = Work { bytes: 8.0 * (rows * shape.head_dim) as f64, flops: 0.0 };
        self.time("e. gather of 20 %", shape, moved, layers.len(), |turn| {
            selected.set().enqueue_gather(0, &layers[turn], &mut packed[turn])
        })
    }

    /// Times a layer's launches over all turns, and prints the time of a model.
    fn time(
        &self,
        stage: &str,
        shape: LayerShape,
        work: Work,
        turns: usize,
        mut enqueue: impl FnMut(usize) -> Result<(), DeviceError>,
    ) -> Result<(), Box<dyn Error>> {
        let recorded = self.device.record(|| (0..turns).try_for_each(&mut enqueue))?;
        let milliseconds = recorded.median_milliseconds(15, self.replays())? * LAYERS as f64 / turns as f64;
        self.print(stage, shape, work, milliseconds);
        Ok(())
    }

    /// Times work that is done once for all layers.
    fn time_once(
        &self,
        stage: &str,
        shape: LayerShape,
        work: Work,
        enqueue: impl FnOnce() -> Result<(), DeviceError>,
    ) -> Result<(), Box<dyn Error>> {
        let milliseconds = self.device.record(enqueue)?.median_milliseconds(15, self.replays())?;
        self.print(stage, shape, work, milliseconds);
        Ok(())
    }

    fn replays(&self) -> usize {
        if self.simulated { 1 } else { 10 }
    }

    fn print(&self, stage: &str, shape: LayerShape, work: Work, milliseconds: f64) {
        let memory = work.bytes * LAYERS as f64 / self.copy_rate * 1e3;
        let products = self.flop_rate.map_or(0.0, |rate| work.flops * LAYERS as f64 / rate * 1e3);
        let (floor, bound) = if products > memory { (products, "tensor cores") } else { (memory, "memory") };
        let ratio = milliseconds / floor;
        println!(
            "| {stage} | {} | {milliseconds:.3} | {floor:.3} | {ratio:.2} | {bound} |",
            shape.context_len
        );
    }

    fn shape(&self, context_len: usize) -> LayerShape {
        let hidden_dim = if self.simulated { 256 } else { 4096 };
        let (query_heads, kv_heads) = if self.simulated { (4, 1) } else { (32, 8) };
        LayerShape {
            query_heads,
            kv_heads,
            head_dim: 128,
            hidden_dim,
            context_len,
            window_len: 32,
            future_len: 0,
        }
    }
}

/// Live numbers, quickly: xorshift.
struct Random(u64);

impl Random {
    /// Uniform in [-1, 1).
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// One layer's tensors on the host.
struct HostLayer {
    shape: LayerShape,
    query: Vec<f16>,
    key: Vec<f16>,
    value: Vec<f16>,
    projection: Vec<f16>,
}

impl HostLayer {
    fn new(shape: LayerShape) -> Self {
        let mut random = Random(0x5eed);
        let mut numbers =
            |count: usize| -> Vec<f16> { (0..count).map(|_| f16::from_f32(random.next())).collect() };
        let LayerShape { query_heads, kv_heads, head_dim, hidden_dim, context_len, window_len, .. } = shape;
        Self {
            shape,
            query: numbers(query_heads * window_len * head_dim),
            key: numbers(kv_heads * context_len * head_dim),
            value: numbers(kv_heads * context_len * head_dim),
            projection: numbers(hidden_dim * query_heads * head_dim),
        }
    }

    fn problem(&self) -> LayerProblem<'_> {
        let LayerShape { query_heads, kv_heads, head_dim, hidden_dim, context_len, window_len, .. } =
            self.shape;
        let cached = [kv_heads, context_len, head_dim];
        let activations = Activations {
            query: view([query_heads, window_len, head_dim], &self.query),
            key: view(cached, &self.key),
            value: view(cached, &self.value),
            output_projection: view([hidden_dim, query_heads * head_dim], &self.projection),
            future_query: None,
        };
        let scale = (head_dim as f64).sqrt().recip();
        LayerProblem::new(LayerIndex(0), scale, activations).expect("random numbers are finite")
    }
}

fn view<const RANK: usize>(shape: [usize; RANK], numbers: &[f16]) -> TensorView<'_, RANK> {
    TensorView::new(shape, Elements::F16(numbers)).expect("the numbers were drawn for the shape")
}
