//! Model files that are damaged or ask for what is not implemented: one line each that names the file, and no panic.

use candle_core::quantized::gguf_file::Value;
use candle_core::{DType, Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::synthetic::{CONTEXT_LEN, Synthetic, load, tokens};

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

/// Asserts that the model is refused in one line that names the file and contains `expected`.
fn assert_refused(model: &Synthetic, expected: &str) {
    let refusal = model.load().err().unwrap_or_else(|| panic!("no refusal with {expected}")).to_string();
    assert!(refusal.contains(expected), "{refusal} against {expected}");
    assert!(refusal.contains("tiny.gguf") && !refusal.contains('\n'), "{refusal}");
}

#[test]
fn metadata_that_is_not_implemented_or_contradictory_is_refused() {
    let strange_merge = Value::Array(vec![text("left right")]);
    let cases = [
        ("general.architecture", text("gemma3"), "'gemma3' is not supported, only 'llama' and 'qwen2'"),
        ("general.architecture", Value::U32(1), "expected a string"),
        ("general.alignment", Value::U32(0), "general.alignment is 0"),
        ("llama.attention.sliding_window", Value::U32(512), "sliding_window': not supported"),
        ("llama.rope.scaling.type", text("yarn"), "'yarn' is not supported"),
        ("llama.rope.scaling.factor", Value::F32(4.0), "rope.scaling.factor': not supported"),
        ("llama.rope.dimension_count", Value::U32(4), "expected the head dimension 8, found 4"),
        ("llama.rope.freq_base", Value::F32(f32::NAN), "expected a positive number, found NaN"),
        ("llama.attention.head_count_kv", Value::U32(4), "expected a divisor of the 6 query heads"),
        ("llama.attention.key_length", Value::U32(7), "expected an even head dimension"),
        ("llama.block_count", Value::U32(0), "expected at least 1, found 0"),
        ("llama.block_count", Value::U32(1), "blk.1.attn_k.weight': not part of"),
        ("llama.block_count", Value::U32(3), "blk.2.attn_norm.weight': missing"),
        ("llama.embedding_length", Value::U64(u64::MAX), "up to 16777216"),
        ("tokenizer.ggml.model", text("llama"), "model': 'llama' is not supported"),
        ("tokenizer.ggml.pre", text("gpt-4o"), "pre': 'gpt-4o' is not supported"),
        ("tokenizer.ggml.add_eos_token", Value::Bool(true), "add_eos_token': not supported"),
        ("tokenizer.ggml.eos_token_id", Value::U32(300), "expected an id below 257, found 300"),
        ("tokenizer.ggml.token_type", Value::Array(Vec::new()), "expected one for each of 257 tokens"),
        ("tokenizer.ggml.merges", strange_merge, "merges': "),
    ];
    for (key, value, expected) in cases {
        let mut model = Synthetic::new("llama");
        model.set(key, value);
        assert_refused(&model, expected);
    }
}

#[test]
fn missing_metadata_is_named() {
    for key in ["general.architecture", "llama.context_length", "tokenizer.ggml.eos_token_id"] {
        let mut model = Synthetic::new("llama");
        model.metadata.remove(key);
        assert_refused(&model, &format!("metadata '{key}': missing"));
    }
}

#[test]
fn tensors_that_are_missing_misshapen_or_left_over_are_named() {
    let mut model = Synthetic::new("llama");
    model.tensors.remove("blk.1.ffn_up.weight");
    assert_refused(&model, "blk.1.ffn_up.weight': missing");
    let cases = [
        ("rope_freqs.weight", 4, "rope_freqs.weight': not part of the architecture"),
        ("blk.0.attn_q_norm.weight", 8, "blk.0.attn_q_norm.weight': not part of the architecture"),
        ("attn_q.bias", 48, "attn_q.bias': not part of the architecture"),
        ("blk.0.attn_output.bias", 20, "blk.0.attn_output.bias': not part of the architecture"),
        ("output_norm.weight", 21, "expected shape [20], found [21]"),
    ];
    for (name, len, expected) in cases {
        let mut model = Synthetic::new("llama");
        model.tensors.insert(name.to_owned(), zeros(&[len]));
        assert_refused(&model, expected);
    }
}

#[test]
fn a_truncated_file_is_refused_at_any_length() {
    let bytes = Synthetic::new("qwen2").bytes();
    // The writer pads the last tensor, a norm of 20 elements, by 16 bytes.
    let complete = bytes.len() - 16;
    for len in (0..complete).step_by(311).chain([complete - 1]) {
        let refusal =
            load(&bytes[..len]).err().unwrap_or_else(|| panic!("{len} bytes were enough")).to_string();
        assert!(refusal.contains("tiny.gguf") && !refusal.contains('\n'), "{refusal}");
    }
    assert!(load(&bytes[..complete]).is_ok());
}

#[test]
fn a_damaged_header_never_panics() {
    let bytes = Synthetic::new("llama").bytes();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..500 {
        let mut damaged = bytes.clone();
        for _ in 0..rng.random_range(1..4) {
            let position = rng.random_range(0..12_000);
            damaged[position] = rng.random();
        }
        if let Ok(model) = load(&damaged) {
            let mut cache = model.cache(model.config().context_len.min(CONTEXT_LEN)).unwrap();
            let _ = model.prefill(&tokens(4), 4, &mut cache, &mut ());
        }
    }
}
