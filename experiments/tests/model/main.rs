//! The model runner: against a naive decoder on tiny synthetic models, on damaged files, and, where `LAPROX_MODEL`
//! names SmolLM2-135M-Instruct, against what transformers computes from the same file.

mod chat;
mod damaged;
mod eval;
mod given;
mod hub;
mod naive;
mod pipeline;
mod reweighted;
mod sentence_piece;
mod snapshot;
mod sources;
mod stored;
mod supplements;
mod synthetic;
mod tiny;
mod tokens;

mod smollm2;
