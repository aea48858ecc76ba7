//! Snapshots of a hub's repository: the same models as in GGUF, and the refusals of everything else.

use std::fs;
use std::path::Path;

use candle_core::DType;
use laprox_experiments::exit;
use laprox_experiments::model::{
    CaptureShape, CapturedSample, Model, ModelFile, Result, Wanted, WeightForm, capture,
};
use laprox_reference::LayerIndex;
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::hub::Snapshot;
use super::naive::{self, LLAMA3_TURNS};
use super::synthetic::{
    CONTEXT_LEN, EOS, HEAD_DIM, LAYERS, LONGROPE, LONGROPE_FACTOR, LONGROPE_LEN, ORIGINAL_LEN, ROPE_THETA,
    SCALING_FACTOR, Scaling, Synthetic, VOCABULARY_LEN, tokens,
};
use super::tiny::{assert_close, rounding_bound};

const CLASSES: [(&str, &str, &str); 6] = [
    ("LlamaForCausalLM", "llama", "llama"),
    ("MistralForCausalLM", "mistral", "llama"),
    ("Qwen2ForCausalLM", "qwen2", "qwen2"),
    ("Qwen3ForCausalLM", "qwen3", "qwen3"),
    ("Phi3ForCausalLM", "phi3", "phi3"),
    ("Olmo2ForCausalLM", "olmo2", "olmo2"),
];
const SHAPE: CaptureShape = CaptureShape { context_len: 30, window_len: 4, future_len: 10 };

impl Snapshot {
    fn load(&self) -> Result<Model> {
        let folder = TempDir::new().unwrap();
        self.write(folder.path());
        load(folder.path())
    }

    fn refusal(&self) -> String {
        let folder = TempDir::new().unwrap();
        self.write(folder.path());
        refusal(folder.path())
    }
}

fn load(folder: &Path) -> Result<Model> {
    Model::load(&ModelFile::open(folder)?, WeightForm::Stored)
}

/// The line of a refusal, which is bad input.
fn refusal(folder: &Path) -> String {
    let error = load(folder).err().expect("a refusal");
    let line = error.to_string();
    assert!(line.starts_with(folder.to_str().unwrap()) && !line.contains('\n'), "{line}");
    assert_eq!(exit::code(&error.into()), 2, "{line}");
    line
}

fn logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let hidden = model.forward(tokens, &mut model.cache(tokens.len()).unwrap(), &mut ()).unwrap();
    model.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Asserts that queries, keys, values, output projections and logits are equal to the bit.
fn assert_same(model: &Model, other: &Model) {
    let captured = |model| capture(model, &tokens(40), SHAPE, Wanted::NOTHING, &mut ()).unwrap();
    let (sample, other_sample): (CapturedSample, CapturedSample) = (captured(model), captured(other));
    for layer in (0..LAYERS).map(LayerIndex) {
        assert!(sample.layer(layer).unwrap() == other_sample.layer(layer).unwrap(), "{layer:?}");
        assert!(model.output_projection(layer).unwrap() == other.output_projection(layer).unwrap());
    }
    assert!(logits(model, &tokens(40)) == logits(other, &tokens(40)));
}

#[test]
fn a_snapshot_is_the_model_that_gguf_holds() {
    for (class, model_type, architecture) in CLASSES {
        let model = Snapshot::new(class, model_type, architecture).load().unwrap();
        let synthetic = Synthetic::new(architecture);
        assert_same(&model, &synthetic.load().unwrap());
        let expected = naive::run(&synthetic, &tokens(40)).0.concat();
        assert_close(&logits(&model, &tokens(40)), &expected, rounding_bound(40));
        assert_eq!((model.source_dtype(), model.config().architecture.name), ("f32", architecture));
    }
}

#[test]
fn a_sharded_snapshot_is_the_whole_one() {
    let (snapshot, folder) = (Snapshot::new("Qwen2ForCausalLM", "qwen2", "qwen2"), TempDir::new().unwrap());
    snapshot.write_sharded(folder.path());
    assert_same(&load(folder.path()).unwrap(), &snapshot.load().unwrap());
}

#[test]
fn narrow_weights_are_the_rounded_ones() {
    for (dtype, narrow, name) in [(Dtype::BF16, DType::BF16, "bf16"), (Dtype::F16, DType::F16, "f16")] {
        let (mut stored, mut rounded) = (Snapshot::llama(), Snapshot::llama());
        stored.dtype = dtype;
        for tensor in rounded.weights.values_mut() {
            *tensor = tensor.to_dtype(narrow).unwrap().to_dtype(DType::F32).unwrap();
        }
        let stored = stored.load().unwrap();
        assert_same(&stored, &rounded.load().unwrap());
        assert_eq!(stored.source_dtype(), name);
    }
    let mut wide = Snapshot::llama();
    wide.dtype = Dtype::F64;
    assert!(wide.refusal().contains("type F64 is not supported, only BF16, F16, F32"));
}

#[test]
fn the_output_matrix_is_the_embedding_only_where_it_is_tied() {
    let tied = Snapshot::llama();
    let mut untied = Snapshot::llama();
    untied.set("config.json", "tie_word_embeddings", json!(false));
    assert!(untied.refusal().ends_with("tensor 'lm_head.weight': missing"));
    let embedding = &tied.weights["model.embed_tokens.weight"];
    untied.weights.insert("lm_head.weight".to_owned(), (embedding * 2.0).unwrap());
    let [tied_logits, untied_logits] =
        [&tied, &untied].map(|model| logits(&model.load().unwrap(), &tokens(3)));
    assert_eq!(untied_logits, tied_logits.iter().map(|logit| 2.0 * logit).collect::<Vec<_>>());

    untied.set("config.json", "tie_word_embeddings", json!(true));
    assert!(untied.refusal().contains("differs from 'model.embed_tokens.weight'"));
    untied.weights.insert("lm_head.weight".to_owned(), embedding.clone());
    assert_same(&untied.load().unwrap(), &tied.load().unwrap());
}

#[test]
fn a_value_that_asks_for_more_is_refused_by_its_key() {
    for (key, value) in [
        ("architectures", json!(["GemmaForCausalLM"])),
        ("head_dim", json!(7)),
        ("hidden_act", json!("gelu")),
        ("layer_types", json!(["full_attention", "sliding_attention"])),
        ("logit_softcap", json!(30.0)),
        ("model_type", json!("mistral")),
        ("num_key_value_heads", json!(4)),
        ("partial_rotary_factor", json!(0.5)),
        ("quantization_config", json!({"quant_method": "gptq"})),
        ("rms_norm_eps", json!(null)),
        ("rope_parameters", json!({"rope_type": "default", "partial_rotary_factor": 0.5})),
        ("rope_scaling.low_freq_factor", json!({"rope_type": "llama3", "factor": 8.0})),
        (
            "rope_scaling.high_freq_factor",
            json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}),
        ),
        ("rope_scaling.factor", json!({"type": "linear", "factor": 0})),
        ("rope_scaling.rope_type", json!({"rope_type": "dynamic", "factor": 2.0})),
        ("rope_scaling.short_factor", json!({"type": "yarn", "factor": 2.0, "short_factor": [1.0]})),
        ("rope_scaling.original_max_position_embeddings", json!({"type": "longrope"})),
        ("rope_parameters.full_attention", json!({"full_attention": {"rope_type": "default"}})),
        ("rope_theta", json!(-1)),
        ("vocab_size", json!("many")),
        ("vocab_size", json!(VOCABULARY_LEN - 1)),
    ] {
        let mut snapshot = Snapshot::llama();
        let (top, _) = key.split_once('.').unwrap_or((key, ""));
        snapshot.set("config.json", top, value);
        assert!(snapshot.refusal().contains(key), "{key}: {}", snapshot.refusal());
    }
}

#[test]
fn a_value_that_changes_nothing_is_accepted() {
    let expected = Snapshot::llama().load().unwrap();
    for (key, value) in [
        ("_name_or_path", json!("somewhere")),
        ("attention_bias", json!(false)),
        ("partial_rotary_factor", json!(1)),
        ("pretraining_tp", json!(1)),
        ("quantization_config", json!(null)),
        ("rope_parameters", json!({"rope_type": "default", "rope_theta": ROPE_THETA})),
        ("sliding_window", json!(CONTEXT_LEN)),
        ("transformers_version", json!("4.56.0")),
    ] {
        let mut snapshot = Snapshot::llama();
        snapshot.set("config.json", key, value);
        assert_same(&snapshot.load().unwrap(), &expected);
    }
}

#[test]
fn a_text_is_not_longer_than_a_window_in_force() {
    let most = |snapshot: &Snapshot| snapshot.load().unwrap().config().max_len().to_string();
    let mut llama = Snapshot::llama();
    llama.set("config.json", "sliding_window", json!(CONTEXT_LEN - 1));
    assert_eq!(most(&llama), "the model's sliding window 63");
    let mut qwen2 = Snapshot::new("Qwen2ForCausalLM", "qwen2", "qwen2");
    qwen2.set("config.json", "sliding_window", json!(8));
    assert_eq!(most(&qwen2), "the model's context length 64");
    qwen2.set("config.json", "use_sliding_window", json!(true));
    assert_eq!(most(&qwen2), "the model's sliding window 8");
}

/// The keys of a scaling in config.json.
fn scaling(scaling: Scaling) -> Value {
    let [low, high] = LLAMA3_TURNS;
    let name = match scaling {
        Scaling::None => "default",
        Scaling::Linear => "linear",
        Scaling::Yarn | Scaling::YarnBetween => "yarn",
        Scaling::Llama3 => "llama3",
        Scaling::LongRope => "longrope",
    };
    let mut keys = json!({ "rope_type": name });
    if scaling == Scaling::LongRope {
        let [short, long] = LONGROPE;
        (keys["short_factor"], keys["long_factor"]) = (json!(short), json!(long));
        keys["attention_factor"] = json!(LONGROPE_FACTOR);
        keys["original_max_position_embeddings"] = json!(LONGROPE_LEN);
    } else if scaling != Scaling::None {
        keys["factor"] = json!(SCALING_FACTOR);
    }
    if matches!(scaling, Scaling::Yarn | Scaling::YarnBetween | Scaling::Llama3) {
        keys["original_max_position_embeddings"] = json!(ORIGINAL_LEN);
    }
    if scaling == Scaling::YarnBetween {
        keys["truncate"] = json!(false);
    }
    if scaling == Scaling::Llama3 {
        (keys["low_freq_factor"], keys["high_freq_factor"]) = (json!(low), json!(high));
    }
    keys
}

#[test]
fn a_scaled_rotation_agrees_with_a_naive_decoder_in_either_spelling() {
    for (class, model_type, architecture) in CLASSES {
        for kind in [Scaling::None, Scaling::Linear, Scaling::Yarn, Scaling::YarnBetween, Scaling::Llama3] {
            let mut synthetic = Synthetic::new(architecture);
            synthetic.scaling = kind;
            let expected = naive::run(&synthetic, &tokens(40)).0.concat();
            let (mut old, mut new) = (
                Snapshot::new(class, model_type, architecture),
                Snapshot::new(class, model_type, architecture),
            );
            let mut keys = scaling(kind);
            keys["rope_theta"] = json!(ROPE_THETA);
            new.set("config.json", "rope_parameters", keys.clone());
            new.set("config.json", "rope_theta", json!(null));
            (keys["type"], keys["rope_type"], keys["rope_theta"]) =
                (keys["rope_type"].clone(), json!(null), json!(null));
            old.set("config.json", "rope_scaling", keys);
            let model = new.load().unwrap();
            assert_close(&logits(&model, &tokens(40)), &expected, rounding_bound(40));
            assert_same(&old.load().unwrap(), &model);
        }
    }
}

#[test]
fn longrope_divides_by_the_length_of_the_text() {
    let synthetic = Synthetic::longrope();
    let mut snapshot = Snapshot::of(&synthetic, "Phi3ForCausalLM", "phi3");
    let mut keys = scaling(Scaling::LongRope);
    snapshot.set("config.json", "rope_scaling", keys.clone());
    assert_same(&snapshot.load().unwrap(), &synthetic.load().unwrap());
    // Phi3's own spelling has the length of the first training beside the scaling.
    keys["original_max_position_embeddings"] = json!(null);
    keys["type"] = keys["rope_type"].take();
    snapshot.set("config.json", "original_max_position_embeddings", json!(LONGROPE_LEN));
    snapshot.set("config.json", "rope_scaling", keys.clone());
    let model = snapshot.load().unwrap();
    for len in [LONGROPE_LEN, LONGROPE_LEN + 1] {
        let expected = naive::run(&synthetic, &tokens(len)).0.concat();
        assert_close(&logits(&model, &tokens(len)), &expected, rounding_bound(len));
    }
    keys["long_factor"] = json!([1.0, 2.0]);
    snapshot.set("config.json", "rope_scaling", keys.clone());
    assert!(snapshot.refusal().contains("'rope_scaling.long_factor': expected a list of 3 positive numbers"));
    keys["long_factor"] = json!(LONGROPE[1]);
    keys["attention_factor"] = json!(null);
    snapshot.set("config.json", "rope_scaling", keys);
    snapshot.set("config.json", "max_position_embeddings", json!(4 * LONGROPE_LEN));
    let queries = |model| {
        capture(model, &tokens(40), SHAPE, Wanted::NOTHING, &mut ())
            .unwrap()
            .layer(LayerIndex(0))
            .unwrap()
            .queries
    };
    let rotated = |queries: &ndarray::Array3<f32>| queries.iter().copied().collect::<Vec<f32>>();
    let [stated, inferred] = [queries(&model), queries(&snapshot.load().unwrap())].map(|all| rotated(&all));
    // Only the rotated channels have the factor.
    let ratio = (1.0 + 4_f64.ln() / (LONGROPE_LEN as f64).ln()).sqrt() / f64::from(LONGROPE_FACTOR);
    let factor = |index: usize| if index % HEAD_DIM < synthetic.rotary_dim() { ratio } else { 1.0 };
    let expected: Vec<f64> = stated.iter().enumerate().map(|(i, &x)| factor(i) * f64::from(x)).collect();
    assert_close(&inferred, &expected, 1e-6);
}

#[test]
fn a_scaling_makes_longer_texts_of_those_of_the_training() {
    let most = |keys: Value| {
        let mut snapshot = Snapshot::llama();
        snapshot.set("config.json", "rope_scaling", keys);
        snapshot.load().unwrap().config().max_len().tokens
    };
    assert_eq!(most(json!({"type": "yarn", "factor": 3.0})), 3 * CONTEXT_LEN);
    assert_eq!(
        most(json!({"type": "yarn", "factor": 3.0, "original_max_position_embeddings": 16})),
        CONTEXT_LEN
    );
    assert_eq!(most(json!({"type": "default"})), CONTEXT_LEN);
}

/// YaRN's factor of rotated queries and keys, on queries of the first layer.
#[test]
fn the_factor_of_rotated_vectors_is_stated_or_follows() {
    let queries = |further: &[(&str, Value)]| {
        let mut keys = scaling(Scaling::Yarn);
        further.iter().for_each(|(key, value)| keys[*key] = value.clone());
        let mut snapshot = Snapshot::llama();
        snapshot.set("config.json", "rope_scaling", keys);
        snapshot.set("config.json", "max_position_embeddings", json!(3 * ORIGINAL_LEN));
        let sample =
            capture(&snapshot.load().unwrap(), &tokens(40), SHAPE, Wanted::NOTHING, &mut ()).unwrap();
        sample.layer(LayerIndex(0)).unwrap().queries
    };
    let plain = queries(&[("attention_factor", json!(1.0))]);
    let log = f64::from(SCALING_FACTOR).ln();
    for (keys, factor) in [
        (vec![], 1.0 + 0.1 * log),
        (vec![("factor", json!(null))], 1.0 + 0.1 * log),
        (vec![("attention_factor", json!(1.25)), ("mscale", json!(7.0))], 1.25),
        (vec![("mscale", json!(2.0))], 1.0 + 0.1 * log),
        (
            vec![("mscale", json!(2.0)), ("mscale_all_dim", json!(0.5))],
            (1.0 + 0.2 * log) / (1.0 + 0.05 * log),
        ),
    ] {
        let expected: Vec<f64> = plain.iter().map(|&x| factor * f64::from(x)).collect();
        let found: Vec<f32> = queries(&keys).iter().copied().collect();
        assert_close(&found, &expected, 1e-6);
    }
}

#[test]
fn biases_are_those_that_the_configuration_asks_for() {
    for (class, model_type, key, parts) in [
        (
            "LlamaForCausalLM",
            "llama",
            "attention_bias",
            ["attn_q", "attn_k", "attn_v", "attn_output"].as_slice(),
        ),
        ("LlamaForCausalLM", "llama", "mlp_bias", &["ffn_gate", "ffn_up", "ffn_down"]),
        ("Qwen3ForCausalLM", "qwen3", "attention_bias", &["attn_q", "attn_k", "attn_v", "attn_output"]),
        ("Olmo2ForCausalLM", "olmo2", "attention_bias", &["attn_q", "attn_k", "attn_v", "attn_output"]),
    ] {
        let mut synthetic = Synthetic::new(model_type);
        for (layer, part) in (0..LAYERS).flat_map(|layer| parts.iter().map(move |part| (layer, part))) {
            let weight = &synthetic.tensors[&format!("blk.{layer}.{part}.weight")];
            let bias = weight.get_on_dim(1, 0).unwrap().contiguous().unwrap();
            synthetic.tensors.insert(format!("blk.{layer}.{part}.bias"), bias);
        }
        let mut snapshot = Snapshot::of(&synthetic, class, model_type);
        assert!(snapshot.refusal().contains(".bias': not part of the architecture"));
        snapshot.set("config.json", key, json!(true));
        let (model, gguf) = (snapshot.load().unwrap(), synthetic.load().unwrap());
        assert_same(&model, &gguf);
        let expected = naive::run(&synthetic, &tokens(40)).0.concat();
        assert_close(&logits(&model, &tokens(40)), &expected, rounding_bound(40));
        let first = snapshot.weights.keys().find(|name| name.ends_with(".bias")).unwrap().clone();
        snapshot.weights.remove(&first);
        assert!(snapshot.refusal().ends_with(&format!("tensor '{first}': missing")));
    }
}

#[test]
fn every_tensor_is_there_has_its_shape_and_is_used() {
    const QUERY: &str = "model.layers.1.self_attn.q_proj.weight";
    let mut missing = Snapshot::llama();
    let query = missing.weights.remove(QUERY).unwrap();
    assert!(missing.refusal().ends_with(&format!("tensor '{QUERY}': missing")));
    missing.weights.insert(QUERY.to_owned(), query.t().unwrap());
    assert!(missing.refusal().contains("expected shape [48, 20], found [20, 48]"));

    let mut further = Snapshot::llama();
    let norm = further.weights["model.norm.weight"].clone();
    further.weights.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), norm.clone());
    assert!(further.load().is_ok(), "the frequencies follow from config.json");
    further.weights.insert("model.layers.0.self_attn.q_norm.weight".to_owned(), norm);
    assert!(further.refusal().contains("q_norm.weight': not part of the architecture"));

    let mut biased = Snapshot::new("Qwen2ForCausalLM", "qwen2", "qwen2");
    let bias = biased.weights.remove("model.layers.0.self_attn.q_proj.bias").unwrap();
    assert!(biased.refusal().ends_with("q_proj.bias': missing"));
    let mut llama = Snapshot::llama();
    llama.weights.insert("model.layers.0.self_attn.q_proj.bias".to_owned(), bias);
    assert!(llama.refusal().contains("q_proj.bias': not part of the architecture"));
}

#[test]
fn damaged_weights_are_refused() {
    let folder = TempDir::new().unwrap();
    Snapshot::llama().write(folder.path());
    let file = folder.path().join("model.safetensors");
    let whole = fs::read(&file).unwrap();
    for (bytes, found) in [
        (b"".as_slice(), "an empty file"),
        (&whole[..7], "a header of 0 bytes in a file of 7"),
        (&whole[..100], "in a file of 100"),
        (&whole[..whole.len() - 1], "not fully covered"),
        (&[&u64::MAX.to_le_bytes(), &whole[8..]].concat(), "a header of 18446744073709551615 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a Git LFS pointer"),
    ] {
        fs::write(&file, bytes).unwrap();
        let line = refusal(folder.path());
        assert!(line.contains("expected a whole safetensors file") && line.contains(found), "{line}");
    }
    fs::remove_file(&file).unwrap();
    assert!(refusal(folder.path()).contains("expected model.safetensors or model.safetensors.index.json"));
}

#[test]
fn an_index_names_files_in_the_folder_and_what_they_hold() {
    let folder = TempDir::new().unwrap();
    let snapshot = Snapshot::llama();
    snapshot.write_sharded(folder.path());
    let index = folder.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    for outside in
        ["../model.safetensors", "/model.safetensors", "a/model.safetensors", "..", "", "config.json"]
    {
        fs::write(&index, text.replace(second, outside)).unwrap();
        assert!(refusal(folder.path()).contains("expected the names of files in the folder"), "{outside}");
    }
    fs::write(&index, text.replace("model.norm.weight\":\"model-00002", "model.norm.weight\":\"model-00001"))
        .unwrap();
    assert!(refusal(folder.path()).ends_with(&format!("not in {first}, as the index says")));
    fs::write(&index, "{\"weight_map\": {}}").unwrap();
    assert!(refusal(folder.path()).contains("'weight_map': missing"));
    fs::write(&index, &text).unwrap();
    fs::remove_file(folder.path().join(second)).unwrap();
    assert!(refusal(folder.path()).contains("expected a safetensors file, found nothing"));
}

#[test]
fn a_file_that_is_missing_or_no_json_is_refused() {
    const PRECOMPILED: &str =
        "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Precompiled\"}]}}";
    let folder = TempDir::new().unwrap();
    Snapshot::llama().write(folder.path());
    for (name, text, expected) in [
        ("generation_config.json", "[1]", "expected a JSON object"),
        ("tokenizer_config.json", "{", "expected a JSON object"),
        ("tokenizer.json", "{}", "expected a tokenizer"),
        ("tokenizer.json", "{\"decoder\": {\"type\"", "expected a JSON object"),
        ("tokenizer.json", "{\"decoder\": {\"type\": \"\n\"}}", "expected a JSON object"),
        ("tokenizer.json", "{\"decoder\": {\"type\": 1}}", "expected a tokenizer"),
        ("tokenizer.json", PRECOMPILED, "'Precompiled' is not supported"),
        ("config.json", "nothing", "expected a JSON object"),
    ] {
        let (file, whole) = (folder.path().join(name), fs::read(folder.path().join(name)).unwrap());
        fs::write(&file, text).unwrap();
        assert!(refusal(folder.path()).contains(expected), "{name}: {}", refusal(folder.path()));
        fs::write(&file, whole).unwrap();
    }
    for name in ["tokenizer.json", "config.json"] {
        fs::remove_file(folder.path().join(name)).unwrap();
        assert!(refusal(folder.path()).contains(&format!("expected {name}, found none")));
    }
}

#[test]
fn a_text_has_one_start_token_where_the_snapshot_asks_for_one() {
    let template = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [EOS], "tokens": ["<|end|>"]}},
    });
    for (template, add_bos, adds) in [
        (None, None, false),
        (None, Some(false), false),
        (None, Some(true), true),
        (Some(&template), None, true),
        (Some(&template), Some(true), true),
        (Some(&template), Some(false), false),
    ] {
        let mut snapshot = Snapshot::llama();
        snapshot.set("tokenizer.json", "post_processor", json!(template));
        snapshot.set("tokenizer_config.json", "bos_token", json!({"content": "<|end|>"}));
        snapshot.set("tokenizer_config.json", "add_bos_token", json!(add_bos));
        let model = snapshot.load().unwrap();
        let starts = |text: &str| {
            let tokens = model.tokenizer().encode(text).unwrap();
            tokens.iter().take_while(|&&token| token == EOS).count()
        };
        assert_eq!(starts("abc"), usize::from(adds), "{template:?}, {add_bos:?}");
        assert_eq!(starts("<|end|>abc"), 1, "one that the text has is the one");
        assert_eq!(model.tokenizer().encode_further("abc").unwrap().len(), 3);
    }
}

#[test]
fn ends_are_those_of_generation_before_those_of_the_model() {
    let mut snapshot = Snapshot::llama();
    snapshot.set("config.json", "eos_token_id", json!(3));
    snapshot.set("generation_config.json", "eos_token_id", json!([4, 5]));
    let ends = |snapshot: &Snapshot| {
        let model = snapshot.load().unwrap();
        (0..=EOS).filter(|&token| model.tokenizer().ends(token)).collect::<Vec<_>>()
    };
    assert_eq!(ends(&snapshot), [4, 5, EOS]);
    snapshot.texts.remove("generation_config.json");
    assert_eq!(ends(&snapshot), [3, EOS]);
    snapshot.set("config.json", "eos_token_id", json!(EOS + 1));
    assert!(snapshot.refusal().contains("'eos_token_id': expected an id below 257"));
    snapshot.set("config.json", "eos_token_id", json!(null));
    snapshot.set("tokenizer_config.json", "eos_token", json!(null));
    assert!(snapshot.refusal().contains("'eos_token': missing"));
    snapshot.set("tokenizer_config.json", "eos_token", json!("<|unknown|>"));
    assert!(snapshot.refusal().contains("'<|unknown|>' is not in tokenizer.json"));
}

#[test]
fn a_chat_template_comes_from_its_file_before_the_configuration() {
    let mut snapshot = Snapshot::llama();
    let render = |snapshot: &Snapshot, file: Option<&str>| {
        let folder = TempDir::new().unwrap();
        snapshot.write(folder.path());
        if let Some(text) = file {
            fs::write(folder.path().join("chat_template.jinja"), text).unwrap();
        }
        load(folder.path()).unwrap().chat().render("Hello").ok()
    };
    assert_eq!(render(&snapshot, None), None);
    snapshot.set("tokenizer_config.json", "chat_template", json!("{{ messages[0].content }}{{ eos_token }}"));
    assert_eq!(render(&snapshot, None).as_deref(), Some("Hello<|end|>"));
    assert_eq!(render(&snapshot, Some("of the file")).as_deref(), Some("of the file"));
    let several = json!([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]);
    snapshot.set("tokenizer_config.json", "chat_template", several);
    assert_eq!(render(&snapshot, None).as_deref(), Some("b"));
}

#[test]
fn a_snapshot_has_the_name_of_its_repository_and_the_digest_of_its_files() {
    let root = TempDir::new().unwrap();
    let [cached, local] =
        ["models--Owner--Tiny-1.5B/snapshots/0123abc", "local"].map(|name| root.path().join(name));
    let mut snapshot = Snapshot::llama();
    for folder in [&cached, &local] {
        fs::create_dir_all(folder).unwrap();
        snapshot.write(folder);
    }
    let [cached, opened] = [&cached, &local].map(|folder| ModelFile::open(folder).unwrap());
    assert_eq!([cached.name(), opened.name()], ["Tiny-1.5B", "local"]);
    assert_eq!(cached.sha256(), opened.sha256());
    assert_eq!((opened.gguf(), opened.namesake()), (None, None));
    fs::write(local.join("README.md"), "not read").unwrap();
    assert_eq!(ModelFile::open(&local).unwrap().sha256(), opened.sha256());
    snapshot.set("tokenizer_config.json", "add_bos_token", json!(false));
    snapshot.write(&local);
    assert_ne!(ModelFile::open(&local).unwrap().sha256(), opened.sha256());
}
