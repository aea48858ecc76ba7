//! Tiny snapshots of a hub's repository with random weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::{Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::synthetic::{
    CONTEXT_LEN, EOS, FEED_FORWARD_DIM, HEAD_DIM, HIDDEN_DIM, KV_HEADS, LAYERS, QUERY_HEADS, RMS_EPSILON,
    ROPE_THETA, Synthetic, VOCABULARY_LEN,
};

/// The files of a snapshot in the making.
pub struct Snapshot {
    pub texts: BTreeMap<&'static str, Value>,
    pub weights: BTreeMap<String, Tensor>,
    pub dtype: Dtype,
}

impl Snapshot {
    /// The model that [`Synthetic`] writes as GGUF.
    pub fn new(class: &str, model_type: &str, architecture: &'static str) -> Self {
        Self::of(&Synthetic::new(architecture), class, model_type)
    }

    pub fn of(synthetic: &Synthetic, class: &str, model_type: &str) -> Self {
        let architecture = synthetic.architecture;
        let weights = synthetic.tensors.iter().map(|(name, tensor)| {
            let rotated = architecture == "llama" && (name.contains("attn_q") || name.contains("attn_k"));
            (own_name(architecture, name), if rotated { halves(tensor) } else { tensor.clone() })
        });
        let weights = weights.filter(|(name, _)| !name.starts_with("rope_factors")).collect();
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
            "partial_rotary_factor": synthetic.rotary_dim() as f64 / HEAD_DIM as f64,
        });
        let texts = BTreeMap::from([
            ("config.json", config),
            ("tokenizer.json", tokenizer()),
            ("tokenizer_config.json", json!({"eos_token": "<|end|>"})),
            ("generation_config.json", json!({"eos_token_id": [EOS]})),
        ]);
        Self { texts, weights, dtype: Dtype::F32 }
    }

    pub fn llama() -> Self {
        Self::new("LlamaForCausalLM", "llama", "llama")
    }

    pub fn set(&mut self, file: &'static str, key: &str, value: Value) {
        self.texts.entry(file).or_insert_with(|| json!({}))[key] = value;
    }

    pub fn write_texts(&self, folder: &Path) {
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

    pub fn write(&self, folder: &Path) {
        self.write_texts(folder);
        fs::write(folder.join("model.safetensors"), self.weights(|_| true)).unwrap();
    }

    /// Writes the layers' weights into one file and the others into a second one.
    pub fn write_sharded(&self, folder: &Path) {
        const FILES: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let of_layers = |name: &str| name.contains("layers");
        self.write_texts(folder);
        fs::write(folder.join(FILES[0]), self.weights(of_layers)).unwrap();
        fs::write(folder.join(FILES[1]), self.weights(|name| !of_layers(name))).unwrap();
        let places = self.weights.keys().map(|name| (name.clone(), FILES[usize::from(!of_layers(name))]));
        let index = json!({"metadata": {}, "weight_map": places.collect::<BTreeMap<_, _>>()});
        fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }
}

/// A name of GGUF, in transformers.
fn own_name(architecture: &str, name: &str) -> String {
    let mut own = name.to_owned();
    if architecture == "phi3" {
        own = own.replace("ffn_up", "mlp.gate_up_proj");
    }
    for (gguf, transformers) in [
        ("blk.", "model.layers."),
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("attn_output", "self_attn.o_proj"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
        ("attn_qkv", "self_attn.qkv_proj"),
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
