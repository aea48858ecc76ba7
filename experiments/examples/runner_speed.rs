//! The speed and memory of the model runner, one JSON line per run.
//!
//! ```sh
//! cargo run --release -p laprox-experiments --example runner_speed -- M.gguf --prompt 2048 --decode 64 --threads 2
//! ```
//!
//! A run prefills a prompt, decodes one sequence from the full cache, and then `--caches` evicted ones together. It prints
//! tokens per second of each, and the largest resident memory so far. `speed/against_llama_cpp.py` reads the lines.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use laprox_experiments::model::{CacheDtype, KvCache, Model, ModelFile, Segment, WeightForm};

#[derive(Parser)]
struct Arguments {
    /// The model.
    model: PathBuf,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 2048)]
    prompt: usize,
    /// Tokens that each sequence decodes.
    #[arg(long, default_value_t = 64)]
    decode: usize,
    /// Evicted caches that are decoded together; 0 for none.
    #[arg(long, default_value_t = 16)]
    caches: usize,
    /// Entries per KV head of an evicted cache.
    #[arg(long, default_value_t = 128)]
    budget: usize,
    /// Runs.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Tokens per pass of the prefill.
    #[arg(long, default_value_t = laprox_experiments::model::PREFILL_CHUNK)]
    chunk: usize,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How the weights are held.
    #[arg(long, value_enum, default_value_t = WeightForm::Stored)]
    weights: WeightForm,
    /// The element type of the KV cache.
    #[arg(long, value_enum, default_value_t = CacheDtype::F32)]
    cache_dtype: CacheDtype,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build_global()?;
    let start = Instant::now();
    let model = Model::load(&ModelFile::open(&arguments.model)?, arguments.weights)?;
    let model = model.with_cache_dtype(arguments.cache_dtype);
    let load_seconds = start.elapsed().as_secs_f64();
    for _ in 0..arguments.runs {
        run(&arguments, &model, load_seconds)?;
    }
    Ok(())
}

fn run(arguments: &Arguments, model: &Model, load_seconds: f64) -> Result<()> {
    let &Arguments { prompt, decode, caches, budget, chunk, .. } = arguments;
    ensure!(budget <= prompt && prompt > 0 && decode > 0, "expected a prompt, and a budget within it");
    let tokens: Vec<u32> = (0..prompt as u32).map(|index| (index * 7919 + 13) % 1000 + 100).collect();
    let start = Instant::now();
    let mut cache = model.cache(prompt + decode)?;
    model.prefill(&tokens, chunk, &mut cache, &mut ())?;
    let prefill = prompt as f64 / start.elapsed().as_secs_f64();

    let retained = |sequence: usize| -> Vec<u32> {
        let last = prompt - sequence.min(prompt - budget);
        (0..4.min(budget)).chain(last - (budget - 4.min(budget))..last).map(|entry| entry as u32).collect()
    };
    let evicted = |sequence| {
        let retained = retained(sequence);
        Ok::<_, anyhow::Error>(cache.retain(|_, _| &retained, decode)?)
    };
    let mut together = (0..caches).map(evicted).collect::<Result<Vec<_>>>()?;
    let one = decoded(model, std::slice::from_mut(&mut cache), decode)?;
    let many = if caches == 0 { 0.0 } else { decoded(model, &mut together, decode)? };
    let line = serde_json::json!({
        "load_seconds": load_seconds,
        "prefill": prefill,
        "decode_one": one,
        "decode_together": many,
        "resident_gib": resident_gib()?,
    });
    println!("{line}");
    Ok(())
}

/// Tokens per second of all sequences together, each of which runs the same tokens and ends with none.
fn decoded(model: &Model, caches: &mut [KvCache], decode: usize) -> Result<f64> {
    let start = Instant::now();
    for index in 0..decode as u32 {
        let tokens = &[index + 100];
        let mut segments: Vec<_> = caches.iter_mut().map(|cache| Segment { tokens, cache }).collect();
        let hidden = model.forward_segments(&mut segments, &mut ())?;
        model.logits(&hidden)?;
    }
    Ok((caches.len() * decode) as f64 / start.elapsed().as_secs_f64())
}

/// The largest resident memory so far, which Linux counts.
fn resident_gib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / f64::from(1 << 20))
}
