//! The tasks' prompts and the metrics: on a tiny synthetic model whose tokens are bytes, and, where `LAPROX_MODEL`
//! names SmolLM2-135M-Instruct, on that.

mod benchmarks;
mod generated;
#[path = "../model/given.rs"]
mod given;
mod metrics;
mod names;
mod needles;
mod smollm2;
mod support;
#[path = "../model/synthetic.rs"]
#[expect(dead_code, reason = "the model runner's tests need more of it")]
mod synthetic;
