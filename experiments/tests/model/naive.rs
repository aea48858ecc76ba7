//! A decoder written down in f64, one number at a time, on the weights as the file stores them.
//!
//! It rotates Llama's queries and keys in GGUF's interleaved layout, where the runner first permutes the weights to the
//! half-split one: products of queries and keys do not see the difference, so the logits must agree.

use std::f64::consts::TAU;

use super::synthetic::{
    EOS, FEED_FORWARD_DIM, HEAD_DIM, HIDDEN_DIM, KV_HEADS, LAYERS, ORIGINAL_LEN, QUERY_HEADS, RMS_EPSILON,
    ROPE_THETA, SCALING_FACTOR, Scaling, Synthetic,
};

/// The share of its frequency that YaRN leaves to each pair of channels. The text of the first training has 64 tokens, in
/// which a pair turns `64 / (2 pi 100^(j/4))` times. No pair turns 32 times, so the ramp starts at pair 0. It ends where one
/// turn is left, at `4 ln(64 / (2 pi)) / ln(100) = 2.02`, rounded up.
const YARN_KEPT: [f64; HEAD_DIM / 2] = [1.0, 2.0 / 3.0, 1.0 / 3.0, 0.0];

/// The same end, not rounded.
const YARN_END: f64 = 2.016_000_211_251_544;
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
    let normed = norm(model, &format!("blk.{layer}.attn_norm"), stream);
    let project = |part: &str| linear(model, &format!("blk.{layer}.{part}"), HIDDEN_DIM, &normed);
    let (mut queries, mut keys, values) = (project("attn_q"), project("attn_k"), project("attn_v"));
    for (rows, part) in [(&mut queries, "attn_q_norm"), (&mut keys, "attn_k_norm")] {
        if model.architecture == "qwen3" {
            let name = format!("blk.{layer}.{part}");
            let normed = |row: &Vec<f64>| norm(model, &name, &heads_of(row)).concat();
            *rows = rows.iter().map(normed).collect();
        }
        for (position, row) in rows.iter_mut().enumerate() {
            row.chunks_mut(HEAD_DIM).for_each(|head| rotate(model, position, head));
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
    let output = linear(model, &format!("blk.{layer}.attn_output"), QUERY_HEADS * HEAD_DIM, &heads);
    add(stream, &output);
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

fn rotate(model: &Synthetic, position: usize, head: &mut [f64]) {
    for pair in 0..HEAD_DIM / 2 {
        let (first, second) = match model.architecture {
            "llama" => (2 * pair, 2 * pair + 1),
            "qwen2" | "qwen3" => (pair, pair + HEAD_DIM / 2),
            other => panic!("{other}: the naive decoder does not know its rotary layout"),
        };
        let angle = position as f64 * frequency(model, pair);
        let (x, y) = (head[first], head[second]);
        head[first] = length(model) * (x * angle.cos() - y * angle.sin());
        head[second] = length(model) * (y * angle.cos() + x * angle.sin());
    }
}

/// The frequency of a pair of channels: divided by the file's divisor, and then scaled.
fn frequency(model: &Synthetic, pair: usize) -> f64 {
    let mut frequency = f64::from(ROPE_THETA).powf(-2.0 * pair as f64 / HEAD_DIM as f64);
    if model.tensors.contains_key("rope_freqs.weight") {
        frequency /= f64::from(model.elements("rope_freqs.weight")[pair]);
    }
    let turns = frequency * ORIGINAL_LEN as f64 / TAU;
    let kept = match model.scaling {
        Scaling::None => 1.0,
        Scaling::Linear => 0.0,
        Scaling::Yarn => YARN_KEPT[pair],
        Scaling::YarnBetween => 1.0 - (pair as f64 / YARN_END).min(1.0),
        Scaling::Llama3 => ((turns - LLAMA3_TURNS[0]) / (LLAMA3_TURNS[1] - LLAMA3_TURNS[0])).clamp(0.0, 1.0),
    };
    kept * frequency + (1.0 - kept) * frequency / f64::from(SCALING_FACTOR)
}

/// How long rotated queries and keys are, relative to what they were before.
fn length(model: &Synthetic) -> f64 {
    if matches!(model.scaling, Scaling::Yarn | Scaling::YarnBetween) {
        1.0 + 0.1 * f64::from(SCALING_FACTOR).ln()
    } else {
        1.0
    }
}

fn add_feed_forward(model: &Synthetic, layer: usize, stream: &mut [Vec<f64>]) {
    let normed = norm(model, &format!("blk.{layer}.ffn_norm"), stream);
    let project = |part: &str| linear(model, &format!("blk.{layer}.{part}"), HIDDEN_DIM, &normed);
    let (gate, up) = (project("ffn_gate"), project("ffn_up"));
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gated: Vec<Vec<f64>> = gate
        .iter()
        .zip(&up)
        .map(|(gate, up)| gate.iter().zip(up).map(|(&gate, up)| silu(gate) * up).collect())
        .collect();
    add(stream, &linear(model, &format!("blk.{layer}.ffn_down"), FEED_FORWARD_DIM, &gated));
}

fn norm(model: &Synthetic, name: &str, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let weight = model.elements(&format!("{name}.weight"));
    let normed = |row: &Vec<f64>| {
        let root = (dot(row, row) / row.len() as f64 + f64::from(RMS_EPSILON)).sqrt();
        row.iter().zip(&weight).map(|(x, &w)| x / root * f64::from(w)).collect()
    };
    rows.iter().map(normed).collect()
}

fn linear(model: &Synthetic, name: &str, input_dim: usize, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let weight = matrix(model, &format!("{name}.weight"), input_dim);
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
