//! Snapshots of a hub's repository: the same models as in GGUF, and the refusals of everything else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Tensor};
use half::{bf16, f16};
use laprox_experiments::exit;
use laprox_experiments::model::{
    CaptureShape, CapturedSample, Model, ModelFile, Result, WeightForm, capture,
};
use laprox_reference::LayerIndex;
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::naive;
use super::synthetic::{
    CONTEXT_LEN, EOS, FEED_FORWARD_DIM, HEAD_DIM, HIDDEN_DIM, KV_HEADS, LAYERS, QUERY_HEADS, RMS_EPSILON,
    ROPE_THETA, Synthetic, VOCABULARY_LEN, tokens,
};
use super::tiny::{assert_close, rounding_bound};

const CLASSES: [(&str, &str, &str); 3] = [
    ("LlamaForCausalLM", "llama", "llama"),
    ("MistralForCausalLM", "mistral", "llama"),
    ("Qwen2ForCausalLM", "qwen2", "qwen2"),
];
const SHAPE: CaptureShape = CaptureShape { context_len: 30, window_len: 4, future_len: 10 };

/// The files of a snapshot in the making.
struct Snapshot {
    texts: BTreeMap<&'static str, Value>,
    weights: BTreeMap<String, Tensor>,
    dtype: Dtype,
}

impl Snapshot {
    /// The model that [`Synthetic`] writes as GGUF.
    fn new(class: &str, model_type: &str, architecture: &'static str) -> Self {
        let synthetic = Synthetic::new(architecture);
        let weights = synthetic.tensors.iter().map(|(name, tensor)| {
            let rotated = architecture == "llama" && (name.contains("attn_q") || name.contains("attn_k"));
            (own_name(name), if rotated { halves(tensor) } else { tensor.clone() })
        });
        let weights = weights.collect();
        let config = json!({
            "architectures": [class],
            "model_type": model_type,
            "hidden_size": HIDDEN_DIM,
            "intermediate_size": FEED_FORWARD_DIM,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": QUERY_HEADS,
            "num_key_value_heads": KV_HEADS,
            "head_dim": HEAD_DIM,
            "max_position_embeddings": CONTEXT_LEN,
            "rms_norm_eps": RMS_EPSILON,
            "rope_theta": ROPE_THETA,
            "rope_scaling": null,
            "hidden_act": "silu",
            "tie_word_embeddings": true,
            "vocab_size": VOCABULARY_LEN,
            "torch_dtype": "float32",
        });
        let texts = BTreeMap::from([
            ("config.json", config),
            ("tokenizer.json", tokenizer()),
            ("tokenizer_config.json", json!({"eos_token": "<|end|>"})),
            ("generation_config.json", json!({"eos_token_id": [EOS]})),
        ]);
        Self { texts, weights, dtype: Dtype::F32 }
    }

    fn llama() -> Self {
        Self::new("LlamaForCausalLM", "llama", "llama")
    }

    fn set(&mut self, file: &'static str, key: &str, value: Value) {
        self.texts.entry(file).or_insert_with(|| json!({}))[key] = value;
    }

    fn write_texts(&self, folder: &Path) {
        for (name, text) in &self.texts {
            fs::write(folder.join(name), text.to_string()).unwrap();
        }
    }

    fn weights(&self, wanted: impl Fn(&str) -> bool) -> Vec<u8> {
        let bytes: Vec<_> = self
            .weights
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, tensor)| (name, tensor.dims().to_vec(), encoded(tensor, self.dtype)))
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            (name.as_str(), TensorView::new(self.dtype, shape.clone(), bytes).unwrap())
        });
        serialize(views, None).unwrap()
    }

    fn write(&self, folder: &Path) {
        self.write_texts(folder);
        fs::write(folder.join("model.safetensors"), self.weights(|_| true)).unwrap();
    }

    /// Writes the layers' weights into one file and the others into a second one.
    fn write_sharded(&self, folder: &Path) {
        const FILES: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let of_layers = |name: &str| name.contains("layers");
        self.write_texts(folder);
        fs::write(folder.join(FILES[0]), self.weights(of_layers)).unwrap();
        fs::write(folder.join(FILES[1]), self.weights(|name| !of_layers(name))).unwrap();
        let places = self.weights.keys().map(|name| (name.clone(), FILES[usize::from(!of_layers(name))]));
        let index = json!({"metadata": {}, "weight_map": places.collect::<BTreeMap<_, _>>()});
        fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }

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

/// A name of GGUF, in transformers.
fn own_name(name: &str) -> String {
    let mut own = name.to_owned();
    for (gguf, transformers) in [
        ("blk.", "model.layers."),
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ] {
        own = own.replace(gguf, transformers);
    }
    own
}

/// Rows in the order of transformers: `j` and `j + d/2` of a head were `2j` and `2j + 1`.
fn halves(tensor: &Tensor) -> Tensor {
    let stored = |row: usize| {
        let (head, channel) = (row / HEAD_DIM, row % HEAD_DIM);
        (head * HEAD_DIM + 2 * (channel % (HEAD_DIM / 2)) + channel / (HEAD_DIM / 2)) as u32
    };
    let rows: Vec<u32> = (0..tensor.dims()[0]).map(stored).collect();
    tensor.index_select(&Tensor::new(rows, tensor.device()).unwrap(), 0).unwrap()
}

fn encoded(tensor: &Tensor, dtype: Dtype) -> Vec<u8> {
    let elements: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    let bytes = |x: f32| match dtype {
        Dtype::F32 => x.to_le_bytes().to_vec(),
        Dtype::F16 => f16::from_f32(x).to_le_bytes().to_vec(),
        Dtype::BF16 => bf16::from_f32(x).to_le_bytes().to_vec(),
        Dtype::F64 => f64::from(x).to_le_bytes().to_vec(),
        other => panic!("{other:?} is not written"),
    };
    elements.into_iter().flat_map(bytes).collect()
}

/// Every byte is a token, and one special token ends a sequence, as in [`Synthetic`].
fn tokenizer() -> Value {
    let mut alphabet: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
    alphabet.sort();
    let vocabulary: BTreeMap<_, _> = alphabet.into_iter().zip(0..).collect();
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [{
            "id": EOS, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": [],
        },
    })
}

fn logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let hidden = model.forward(tokens, &mut model.cache(tokens.len()).unwrap(), &mut ()).unwrap();
    model.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Asserts that queries, keys, values, output projections and logits are equal to the bit.
fn assert_same(model: &Model, other: &Model) {
    let captured = |model| capture(model, &tokens(40), SHAPE, &mut ()).unwrap();
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
        ("attention_bias", json!(true)),
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
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8.0})),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0})),
        ("rope_theta", json!(-1)),
        ("sliding_window", json!(CONTEXT_LEN - 1)),
        ("vocab_size", json!("many")),
        ("vocab_size", json!(VOCABULARY_LEN - 1)),
    ] {
        let mut snapshot = Snapshot::llama();
        snapshot.set("config.json", key, value);
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
    let mut qwen2 = Snapshot::new("Qwen2ForCausalLM", "qwen2", "qwen2");
    qwen2.set("config.json", "sliding_window", json!(8));
    assert!(qwen2.load().is_ok(), "Qwen2 slides only with use_sliding_window");
    qwen2.set("config.json", "use_sliding_window", json!(true));
    assert!(qwen2.refusal().contains("'sliding_window'"));
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
    let folder = TempDir::new().unwrap();
    Snapshot::llama().write(folder.path());
    for (name, text, expected) in [
        ("generation_config.json", "[1]", "expected a JSON object"),
        ("tokenizer_config.json", "{", "expected a JSON object"),
        ("tokenizer.json", "{}", "expected a tokenizer"),
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
