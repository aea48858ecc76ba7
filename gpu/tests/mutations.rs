//! Every barrier and every wait is needed, and its loss is seen. Each is deleted in turn from the PTX that ships. The real
//! host code then runs the rest under the interpreter, which must report it.
//!
//! This tests the interpreter as much as the kernels. It does not run on a GPU, where a race may well go right.

mod common;

use std::error::Error;
use std::sync::Arc;

use laprox_gpu::attend::Statistic;
use laprox_gpu::gram::DeviceGram;
use laprox_gpu::select::ModelScores;
use laprox_gpu::{Device, DeviceLayer, Format, Gpu, ptx};
use laprox_reference::layer::Layer;
use laprox_reference::oracle::{PairGram, Rows};
use laprox_reference::{Backend, Form, LayerShape};

use common::problem::{Problem, Sizes};

/// The lines of the text that synchronise, with the kernel that each belongs to.
fn synchronisations(text: &str) -> Vec<(usize, String)> {
    let mut kernel = String::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some((_, entry)) = line.split_once(".visible .entry ") {
            kernel = entry.trim_end_matches('(').to_owned();
        }
        if ["bar.sync", "cp.async.wait"].iter().any(|opcode| line.trim().starts_with(opcode)) {
            found.push((index, kernel.clone()));
        }
    }
    found
}

fn without_line(text: &str, dropped: usize) -> String {
    let lines = text.lines().enumerate();
    lines.map(|(index, line)| if index == dropped { "" } else { line }).collect::<Vec<_>>().join("\n")
}

/// Runs a kernel through the host code that ships. Three splits of several tiles each, so that stages are used again.
fn exercise(kernel: &str, device: Device) -> Result<(), Box<dyn Error>> {
    let device = Arc::new(if kernel.ends_with("_naive") { device.naive() } else { device });
    let format = if kernel.contains("bf16") { Format::Bf16 } else { Format::F16 };
    let head_dim = if kernel.contains("d128") { 128 } else { 64 };
    let stage = kernel.split('_').next().unwrap_or_default();
    let context_len = if stage == "gram" { 120 } else { 600 };
    let sizes = Sizes { head_dim, group_size: 2, window_len: 8, ..Sizes::with_context(context_len) };
    let problem = Problem::alive(sizes, format, 1);
    let lent = problem.layer_problem();
    match stage {
        "attend" => {
            let layer = DeviceLayer::upload(&device, &lent)?;
            layer.window_statistic(Statistic::Squares)?.download(&device)?;
        }
        "project" => drop(DeviceLayer::upload(&device, &lent)?.projected_value_norms()?),
        "score" => {
            let policy = if kernel == "score_exact_naive" { "laprox:gqa=exact" } else { "snapkv" };
            let scores = DeviceLayer::upload(&device, &lent)?.score(&common::score(policy))?;
            scores.ok_or("no kernel")?.download_sum(&device)?;
        }
        "select" => {
            let scores: Vec<f32> = (0..24_000).map(|slot| ((slot * 37) % 101) as f32).collect();
            let shape = LayerShape { context_len: 6002, window_len: 2, ..lent.shape() };
            ModelScores::upload(&device, &scores, &[1.0; 4], shape)?.top(500)?.download()?;
        }
        "evaluate" => {
            let layer = Gpu::new(device).prepare(&lent)?;
            layer.statistic(laprox_reference::Statistic::OutputNorm, sizes.window_len)?;
        }
        "gram" => {
            let layer = Layer::new(&lent).unwrap();
            let gram = DeviceGram::new(&device, &layer, Form::LayerWise, Rows::Window)?;
            gram.product(&[0.5; 112])?;
        }
        _ => return Err(format!("nothing runs {kernel}").into()),
    }
    Ok(())
}

#[test]
fn every_barrier_and_every_wait_is_missed() {
    let synchronisations = synchronisations(ptx::TEXT);
    let waits = ptx::TEXT.matches("cp.async.wait").count();
    assert!(waits >= 8 && synchronisations.len() > waits + 20, "{} places", synchronisations.len());
    let mut survivors = Vec::new();
    for (line, kernel) in &synchronisations {
        let text = without_line(ptx::TEXT, *line);
        let report = exercise(kernel, common::simulated(|| Device::open_with(&text)));
        let report = report.map_err(|error| error.to_string());
        let instruction = ptx::TEXT.lines().nth(*line).unwrap_or_default().trim();
        match report {
            Err(report) if report.contains(&format!("kernel {kernel}, block")) => {
                println!("{kernel}, line {}, without {instruction} {report}", line + 1);
            }
            other => survivors.push(format!("{kernel}, line {}, {instruction} {other:?}", line + 1)),
        }
    }
    assert!(survivors.is_empty(), "{} of {}: {survivors:#?}", survivors.len(), synchronisations.len());
    println!("{} of {} deletions reported", synchronisations.len(), synchronisations.len());
}

/// The text that ships passes the same runs, so a report is about the deletion.
#[test]
fn nothing_is_reported_of_the_text_that_ships() {
    let mut kernels: Vec<String> =
        synchronisations(ptx::TEXT).into_iter().map(|(_, kernel)| kernel).collect();
    kernels.dedup();
    for kernel in kernels {
        exercise(&kernel, common::simulated(Device::open)).unwrap();
    }
}
