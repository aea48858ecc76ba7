//! A decoder written down in f64, one number at a time, on the weights as the file stores them.
//!
//! It rotates Llama's queries and keys in GGUF's interleaved layout, where the runner first permutes the weights to the
//! half-split one: products of queries and keys do not see the difference, so the logits must agree.

use std::f64::consts::TAU;

use super::synthetic::{
    EOS, FEED_FORWARD_DIM, HEAD_DIM, HIDDEN_DIM, KV_HEADS, LAYERS, LONGROPE, LONGROPE_FACTOR, LONGROPE_LEN,
    ORIGINAL_LEN, QUERY_HEADS, RMS_EPSILON, ROPE_THETA, SCALING_FACTOR, Scaling, Synthetic,
};

/// Where YaRN's ramp ends, in pairs per rotated channel. The text of the first training has 64 tokens, in which a pair turns
/// `64 / (2 pi 100^(2j/r))` times. No pair turns 32 times, so the ramp starts at pair 0. It ends where one turn is left, at
/// `r ln(64 / (2 pi)) / (2 ln 100)`.
const YARN_END: f64 = 0.252_000_026_4;
/// The turns within the length of the first training below and above which Llama 3 scales all and nothing of a frequency.
pub const LLAMA3_TURNS: [f64; 2] = [1.0, 4.0];

/// The activations of one layer, each `[tokens][heads * d]`, with the channels in the order of the file.
pub struct Layer {
    pub queries: Vec<Vec<f64>>,
    pub keys: Vec<Vec<f64>>,
    pub values: Vec<Vec<f64>>,
}

/// The logits after every token, `[tokens][vocabulary]`, and the activations of every layer.
pub fn run(model: &Synthetic, tokens: &[u32]) -> (Vec<Vec<f64>>, Vec<Layer>) {
    run_where(model, tokens, &|_| true)
}

/// A token's look at an earlier one, or at itself.
#[derive(Clone, Copy)]
pub struct Look {
    pub layer: usize,
    pub kv_head: usize,
    pub from: usize,
    pub to: usize,
}

/// The same where tokens only see what `sees` lets them.
pub fn run_where(
    model: &Synthetic,
    tokens: &[u32],
    sees: &dyn Fn(Look) -> bool,
) -> (Vec<Vec<f64>>, Vec<Layer>) {
    let embedding = matrix(model, "token_embd.weight", HIDDEN_DIM);
    let mut stream: Vec<Vec<f64>> = tokens.iter().map(|&token| embedding[token as usize].clone()).collect();
    let mut layers = Vec::new();
    for layer in 0..LAYERS {
        layers.push(add_attention(model, layer, &mut stream, sees));
        add_feed_forward(model, layer, &mut stream);
    }
    let normed = norm(model, "output_norm", &stream);
    let logits: Vec<_> = normed.iter().map(|row| product(&embedding, row)).collect();
    assert!(logits.iter().all(|row| row.len() == EOS as usize + 1));
    (logits, layers)
}

fn add_attention(
    model: &Synthetic,
    layer: usize,
    stream: &mut [Vec<f64>],
    sees: &dyn Fn(Look) -> bool,
) -> Layer {
    let input = block_input(model, layer, "attn_norm", stream);
    let project = |part: &str| linear(model, layer, part, HIDDEN_DIM, &input);
    let (mut queries, mut keys, values) = (project("attn_q"), project("attn_k"), project("attn_v"));
    for (rows, part) in [(&mut queries, "attn_q_norm"), (&mut keys, "attn_k_norm")] {
        let name = format!("blk.{layer}.{part}");
        *rows = match model.architecture {
            "qwen3" => rows.iter().map(|row| norm(model, &name, &heads_of(row)).concat()).collect(),
            "olmo2" => norm(model, &name, rows),
            _ => rows.clone(),
        };
        let text_len = rows.len();
        for (position, row) in rows.iter_mut().enumerate() {
            row.chunks_mut(HEAD_DIM).for_each(|head| rotate(model, (position, text_len), head));
        }
    }
    let heads: Vec<_> = (0..stream.len())
        .map(|row| {
            let attend = |head: usize| {
                let kv_head = head / (QUERY_HEADS / KV_HEADS);
                let seen: Vec<usize> =
                    (0..=row).filter(|&to| sees(Look { layer, kv_head, from: row, to })).collect();
                attend(head, &queries[row], &keys, &values, &seen)
            };
            (0..QUERY_HEADS).flat_map(attend).collect()
        })
        .collect();
    let output = linear(model, layer, "attn_output", QUERY_HEADS * HEAD_DIM, &heads);
    add(stream, &block_output(model, layer, "post_attention_norm", output));
    Layer { queries, keys, values }
}

fn attend(head: usize, query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>], seen: &[usize]) -> Vec<f64> {
    let query = &query[head * HEAD_DIM..][..HEAD_DIM];
    let kv_start = head / (QUERY_HEADS / KV_HEADS) * HEAD_DIM;
    let scale = (HEAD_DIM as f64).sqrt();
    let weight = |&position: &usize| (dot(query, &keys[position][kv_start..][..HEAD_DIM]) / scale).exp();
    let weights: Vec<f64> = seen.iter().map(weight).collect();
    let sum: f64 = weights.iter().sum();
    let channel = |channel| {
        let weighted = weights.iter().zip(seen).map(|(weight, &i)| weight * values[i][kv_start + channel]);
        weighted.sum::<f64>() / sum
    };
    (0..HEAD_DIM).map(channel).collect()
}

/// The input of attention or of the feed-forward layer.
fn block_input(model: &Synthetic, layer: usize, name: &str, stream: &[Vec<f64>]) -> Vec<Vec<f64>> {
    if model.architecture == "olmo2" {
        stream.to_vec()
    } else {
        norm(model, &format!("blk.{layer}.{name}"), stream)
    }
}

/// The addition of either to the stream.
fn block_output(model: &Synthetic, layer: usize, name: &str, output: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    if model.architecture == "olmo2" { norm(model, &format!("blk.{layer}.{name}"), &output) } else { output }
}

fn rotate(model: &Synthetic, (position, text_len): (usize, usize), head: &mut [f64]) {
    let pairs = model.rotary_dim() / 2;
    for pair in 0..pairs {
        let (first, second) = match model.architecture {
            "llama" => (2 * pair, 2 * pair + 1),
            "qwen2" | "qwen3" | "phi3" | "olmo2" => (pair, pair + pairs),
            other => panic!("{other}: the naive decoder does not know its rotary layout"),
        };
        let angle = position as f64 * frequency(model, pair, text_len);
        let (x, y) = (head[first], head[second]);
        head[first] = length(model) * (x * angle.cos() - y * angle.sin());
        head[second] = length(model) * (y * angle.cos() + x * angle.sin());
    }
}

/// The frequency of a pair of channels: divided by the file's divisor, and then scaled.
fn frequency(model: &Synthetic, pair: usize, text_len: usize) -> f64 {
    let rotary_dim = model.rotary_dim() as f64;
    let mut frequency = f64::from(ROPE_THETA).powf(-2.0 * pair as f64 / rotary_dim);
    if model.tensors.contains_key("rope_freqs.weight") {
        frequency /= f64::from(model.elements("rope_freqs.weight")[pair]);
    }
    let turns = frequency * ORIGINAL_LEN as f64 / TAU;
    let kept = match model.scaling {
        Scaling::None => 1.0,
        Scaling::Linear => 0.0,
        Scaling::Yarn => 1.0 - (pair as f64 / (rotary_dim * YARN_END).ceil()).min(1.0),
        Scaling::YarnBetween => 1.0 - (pair as f64 / (rotary_dim * YARN_END)).min(1.0),
        Scaling::LongRope => {
            return frequency / f64::from(LONGROPE[usize::from(text_len > LONGROPE_LEN)][pair]);
        }
        Scaling::Llama3 => ((turns - LLAMA3_TURNS[0]) / (LLAMA3_TURNS[1] - LLAMA3_TURNS[0])).clamp(0.0, 1.0),
    };
    kept * frequency + (1.0 - kept) * frequency / f64::from(SCALING_FACTOR)
}

/// How long rotated queries and keys are, relative to what they were before.
fn length(model: &Synthetic) -> f64 {
    match model.scaling {
        Scaling::None | Scaling::Linear | Scaling::Llama3 => 1.0,
        Scaling::Yarn | Scaling::YarnBetween => 1.0 + 0.1 * f64::from(SCALING_FACTOR).ln(),
        Scaling::LongRope => f64::from(LONGROPE_FACTOR),
    }
}

fn add_feed_forward(model: &Synthetic, layer: usize, stream: &mut [Vec<f64>]) {
    let input = block_input(model, layer, "ffn_norm", stream);
    let project = |part: &str| linear(model, layer, part, HIDDEN_DIM, &input);
    let (gate, up) = (project("ffn_gate"), project("ffn_up"));
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gated: Vec<Vec<f64>> = gate
        .iter()
        .zip(&up)
        .map(|(gate, up)| gate.iter().zip(up).map(|(&gate, up)| silu(gate) * up).collect())
        .collect();
    let output = linear(model, layer, "ffn_down", FEED_FORWARD_DIM, &gated);
    add(stream, &block_output(model, layer, "post_ffw_norm", output));
}

fn norm(model: &Synthetic, name: &str, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let weight = model.elements(&format!("{name}.weight"));
    let normed = |row: &Vec<f64>| {
        let root = (dot(row, row) / row.len() as f64 + f64::from(RMS_EPSILON)).sqrt();
        row.iter().zip(&weight).map(|(x, &w)| x / root * f64::from(w)).collect()
    };
    rows.iter().map(normed).collect()
}

fn linear(model: &Synthetic, layer: usize, part: &str, input_dim: usize, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let (query_dim, kv_dim) = (QUERY_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    let (stored, first, len) = match (model.architecture, part) {
        ("phi3", "attn_q") => ("attn_qkv", 0, query_dim),
        ("phi3", "attn_k") => ("attn_qkv", query_dim, kv_dim),
        ("phi3", "attn_v") => ("attn_qkv", query_dim + kv_dim, kv_dim),
        ("phi3", "ffn_gate") => ("ffn_up", 0, FEED_FORWARD_DIM),
        ("phi3", "ffn_up") => ("ffn_up", FEED_FORWARD_DIM, FEED_FORWARD_DIM),
        _ => (part, 0, usize::MAX),
    };
    let name = format!("blk.{layer}.{stored}");
    let weight: Vec<_> =
        matrix(model, &format!("{name}.weight"), input_dim).into_iter().skip(first).take(len).collect();
    let bias_name = format!("{name}.bias");
    let bias = model.tensors.contains_key(&bias_name).then(|| model.elements(&bias_name));
    let mut outputs: Vec<_> = rows.iter().map(|row| product(&weight, row)).collect();
    for (output, bias) in outputs.iter_mut().flat_map(|row| row.iter_mut().zip(bias.iter().flatten())) {
        *output += f64::from(*bias);
    }
    outputs
}

fn matrix(model: &Synthetic, name: &str, columns: usize) -> Vec<Vec<f64>> {
    let widen = |row: &[f32]| row.iter().copied().map(f64::from).collect();
    model.elements(name).chunks(columns).map(widen).collect()
}

/// The heads of a row of queries or keys.
fn heads_of(row: &[f64]) -> Vec<Vec<f64>> {
    row.chunks(HEAD_DIM).map(<[f64]>::to_vec).collect()
}

fn product(matrix: &[Vec<f64>], vector: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| dot(row, vector)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(stream: &mut [Vec<f64>], rows: &[Vec<f64>]) {
    for (x, y) in stream.iter_mut().flatten().zip(rows.iter().flatten()) {
        *x += y;
    }
}
