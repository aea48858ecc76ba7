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
        ("general.architecture", text("gemma3"), "'gemma3' is not supported, only 'llama', 'qwen2', 'qwen3'"),
        ("general.architecture", Value::U32(1), "expected a string"),
        ("general.alignment", Value::U32(0), "general.alignment': expected a power of two, found 0"),
        ("general.alignment", Value::U32(48), "general.alignment': expected a power of two, found 48"),
        ("general.alignment\0\0", Value::U32(0), "general.alignment': expected a power of two, found 0"),
        ("split.count", Value::U16(3), "expected a whole GGUF file, found part 1 of 3 (merge them"),
        ("llama.attention.sliding_window", Value::F32(512.0), "sliding_window': expected an unsigned number"),
        (
            "llama.rope.scaling.type",
            text("dynamic"),
            "'dynamic' is not supported, only 'none', 'linear', 'yarn' and 'longrope'",
        ),
        ("llama.rope.scaling.factor", Value::F32(-4.0), "expected a positive number, found -4"),
        ("llama.rope.scaling.attn_factor", Value::F32(-1.0), "expected a positive number, found -1"),
        ("llama.rope.scaling.yarn_attn_factor", Value::F32(1.2), "attn_factor': not supported, only 1"),
        ("llama.expert_count", Value::U32(8), "expert_count': not supported, only 0"),
        ("llama.attention.causal", Value::Bool(false), "attention.causal': not supported, only 1"),
        (
            "llama.tensor_data_layout",
            text("other"),
            "not supported, only 'Meta AI original pth' or 'reference'",
        ),
        ("llama.a\nb\u{1b}[2J", Value::U32(1), "'llama.a\\nb\\u{1b}[2J': not supported"),
        ("llama.rope.dimension_count", Value::U32(4), "expected the head dimension 8, found 4"),
        ("llama.rope.freq_base", Value::F32(f32::NAN), "expected a positive number, found NaN"),
        ("llama.attention.head_count_kv", Value::U32(4), "expected a divisor of the 6 query heads"),
        ("llama.attention.key_length", Value::U32(7), "expected an even head dimension"),
        ("llama.block_count", Value::U32(0), "expected at least 1, found 0"),
        ("llama.block_count", Value::U32(1), "blk.1.attn_k.weight': not part of"),
        ("llama.block_count", Value::U32(3), "blk.2.attn_q.weight': missing"),
        ("llama.embedding_length", Value::U64(u64::MAX), "up to 16777216"),
        (
            "tokenizer.ggml.model",
            text("t5"),
            "model': 't5' is not supported, only 'gpt2' (byte-level BPE) and",
        ),
        ("tokenizer.ggml.pre", text("chameleon"), "pre': 'chameleon' is not supported"),
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
fn metadata_whose_value_changes_nothing_is_accepted() {
    for (key, value) in [
        ("attention.causal", Value::Bool(true)),
        ("attention.head_count_kv", Value::Array(vec![Value::U32(2); 2])),
        ("attention.sliding_window", Value::U32(0)),
        ("expert_count", Value::U32(0)),
        ("expert_used_count", Value::U32(0)),
        ("final_logit_softcapping", Value::F32(0.0)),
        ("logit_scale", Value::F32(1.0)),
        ("rope.scale_linear", Value::F32(1.0)),
        ("rope.scaling.factor", Value::F32(1.0)),
        ("rope.scaling.finetuned", Value::Bool(false)),
        ("rope.scaling.type", text("linear")),
        ("tensor_data_layout", text("Meta AI original pth")),
    ] {
        let mut model = Synthetic::new("llama");
        model.set(&format!("llama.{key}"), value);
        model.load().map_or_else(|refusal| panic!("{key}: {refusal}"), drop);
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
        ("rope_freqs.weight", 4, "rope_freqs.weight': expected positive numbers, found 0"),
        ("rope_freqs.weight", 5, "rope_freqs.weight': expected shape [4], found [5]"),
        ("blk.0.attn_q_norm.weight", 8, "blk.0.attn_q_norm.weight': not part of the architecture"),
        ("attn_q.bias", 48, "attn_q.bias': not part of the architecture"),
        ("blk.0.attn_norm.bias", 20, "blk.0.attn_norm.bias': not part of the architecture"),
        ("output_norm.weight", 21, "expected shape [20], found [21]"),
    ];
    for (name, len, expected) in cases {
        let mut model = Synthetic::new("llama");
        model.tensors.insert(name.to_owned(), zeros(&[len]));
        assert_refused(&model, expected);
    }
}

#[test]
fn qwen3_has_norms_of_heads_and_no_biases_of_the_feed_forward_layer() {
    let mut model = Synthetic::new("qwen3");
    model.tensors.remove("blk.1.attn_k_norm.weight");
    assert_refused(&model, "blk.1.attn_k_norm.weight': missing");
    let mut model = Synthetic::new("qwen3");
    model.tensors.insert("blk.0.ffn_down.bias".to_owned(), zeros(&[20]));
    assert_refused(&model, "blk.0.ffn_down.bias': not part of the architecture");
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
fn the_type_of_a_tensor_that_is_not_supported_is_named() {
    let good = Synthetic::new("llama").bytes();
    for (id, name) in [(20, "IQ4_NL"), (39, "MXFP4"), (15, "Q8_K"), (1000, "number 1000")] {
        let mut bytes = good.clone();
        let place = tensor_type(&bytes, "blk.1.ffn_up.weight", 2);
        bytes[place..place + 4].copy_from_slice(&u32::to_le_bytes(id));
        let refusal = load(&bytes).err().unwrap().to_string();
        let expected =
            format!("'blk.1.ffn_up.weight': type {name} is not supported, only F32, F16, BF16, Q4_0");
        assert!(refusal.contains(&expected), "{refusal}");
    }
}

#[test]
fn tensors_that_reach_beyond_the_file_or_into_another_are_refused() {
    let good = Synthetic::new("llama").bytes();
    let refusal = |place: usize, number: u64| {
        let mut bytes = good.clone();
        bytes[place..place + 8].copy_from_slice(&number.to_le_bytes());
        load(&bytes).err().unwrap().to_string()
    };
    let kind = tensor_type(&good, "blk.1.ffn_up.weight", 2);
    for offset in [good.len() as u64, 1 << 40, u64::MAX - 31, u64::MAX] {
        assert!(refusal(kind + 4, offset).contains("ffn_up.weight': reaches beyond the end of the file"));
    }
    assert!(refusal(kind + 4, 0).contains("': its bytes are those of '"));
    for extent in [1 << 32, u64::MAX / 4, u64::MAX] {
        assert!(refusal(kind - 8, extent).contains("ffn_up.weight': reaches beyond the end of the file"));
    }
}

/// The place of a tensor's type in the file.
fn tensor_type(bytes: &[u8], name: &str, rank: usize) -> usize {
    let start = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    start + name.len() + 4 + 8 * rank
}

/// The start of a file that claims some tensors and metadata, followed by `rest`.
fn header(tensors: u64, keys: u64, rest: &[&[u8]]) -> Vec<u8> {
    let counts = [tensors.to_le_bytes(), keys.to_le_bytes()].concat();
    [b"GGUF".as_slice(), &3_u32.to_le_bytes(), &counts, &rest.concat()].concat()
}

/// A string behind its length.
fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

#[test]
fn headers_that_claim_more_than_they_hold_are_refused_at_once() {
    let (key, kind) = (string(b"a"), |kind: u32| kind.to_le_bytes());
    let most = u64::MAX.to_le_bytes();
    let (list, number) = ([&kind(9)[..], &1_u64.to_le_bytes()].concat(), kind(4));
    let entry = [&key[..], &number, &number].concat();
    for (bytes, expected) in [
        (header(u64::MAX, 0, &[]), "at most 65536 tensors"),
        (header(0, 1 << 40, &[]), "at most 65536 metadata keys"),
        (header(0, 1, &[&most]), "ends inside its header"),
        (header(0, 1, &[&key, &kind(8), &most]), "ends inside its header"),
        (header(0, 1, &[&key, &kind(9), &kind(0), &most]), "ends inside its header"),
        (header(0, 1, &[&key, &kind(9), &kind(12), &(1_u64 << 61).to_le_bytes()]), "ends inside its header"),
        (header(0, 1, &[&key, &kind(9), &kind(8), &most]), "ends inside its header"),
        (header(0, 1, &[&key, &kind(9), &list.repeat(100)]), "at most 8 lists in one another"),
        (header(0, 1, &[&key, &kind(13)]), "a type of values from 0 to 12, found 13"),
        (header(0, 1, &[&key, &kind(7), &[2]]), "0 or 1 for a truth value, found 2"),
        (header(0, 2, &[&entry, &entry]), "names 'a' twice"),
        (header(0, 2, &[&entry, &string(b"a\0"), &number, &number]), "names 'a' twice"),
        (header(1, 0, &[&key, &kind(5)]), "at most 4 extents of a tensor, found 5"),
        ([b"GGUF".as_slice(), &kind(1), &[0; 16]].concat(), "expected version 2 or 3, found version 1"),
        ([b"GGUF".as_slice(), &3_u32.to_be_bytes(), &[0; 16]].concat(), "found big-endian ones"),
    ] {
        let refusal = load(&bytes).err().unwrap().to_string();
        assert!(refusal.contains(expected), "{refusal} against {expected}");
    }
}

#[test]
fn long_text_from_a_file_is_cut() {
    let mut model = Synthetic::new("llama");
    model.set(&format!("llama.{}", "x".repeat(1 << 20)), Value::U32(1));
    let refusal = model.load().err().unwrap().to_string();
    assert!(refusal.contains("x [..] x") && refusal.len() < 1000, "{} bytes", refusal.len());
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
