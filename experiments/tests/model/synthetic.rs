//! Tiny GGUF files with random weights.

use std::collections::BTreeMap;
use std::io::Cursor;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use laprox_experiments::model::{ARCHITECTURES, Model, ModelFile, Result, WeightForm};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

pub const LAYERS: usize = 2;
pub const QUERY_HEADS: usize = 6;
pub const KV_HEADS: usize = 2;
pub const HEAD_DIM: usize = 8;
pub const HIDDEN_DIM: usize = 20;
pub const FEED_FORWARD_DIM: usize = 28;
pub const VOCABULARY_LEN: usize = 257;
pub const CONTEXT_LEN: usize = 64;
pub const ROPE_THETA: f32 = 100.0;
pub const RMS_EPSILON: f32 = 1e-5;
pub const EOS: u32 = 256;
pub const SCALING_FACTOR: f32 = 3.0;

/// A GGUF file in the making: every byte is a token, and one control token ends a sequence.
pub struct Synthetic {
    pub architecture: &'static str,
    pub scaling: Scaling,
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, Tensor>,
}

/// The scaling of the rotary frequencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    None,
    Linear,
    Yarn,
    /// YaRN between pairs that are not whole numbers; only in a snapshot.
    YarnBetween,
    /// Only in a snapshot.
    Llama3,
    /// Two sets of divisors; only of phi3.
    LongRope,
}

/// The divisors for texts up to [`LONGROPE_LEN`] tokens and for longer ones, and the factor of rotated vectors.
pub const LONGROPE: [[f32; 3]; 2] = [[1.0, 1.5, 2.5], [1.25, 4.0, 9.0]];
pub const LONGROPE_LEN: usize = 32;
pub const LONGROPE_FACTOR: f32 = 1.25;

/// The tokens of the first training, where frequencies are scaled.
pub const ORIGINAL_LEN: usize = 64;

impl Synthetic {
    /// A model of an architecture, by its name in GGUF; qwen2's has biases on q, k and v, qwen3's norms of the heads of q and k,
    /// olmo2's norms of all of q and of k and of the blocks' outputs, phi3's fused projections, of which it rotates a part.
    pub fn new(architecture: &'static str) -> Self {
        let (metadata, tensors) = (metadata(architecture), BTreeMap::new());
        let mut model = Self { architecture, scaling: Scaling::None, metadata, tensors };
        if model.rotary_dim() != HEAD_DIM {
            model.set_own("rope.dimension_count", Value::U32(model.rotary_dim() as u32));
        }
        model.add_tensors();
        model
    }

    /// Every model that differs in its arithmetic: each architecture with each scaling, and divided frequencies.
    pub fn all() -> Vec<Self> {
        let mut models = Vec::new();
        for architecture in ARCHITECTURES.iter().map(|row| row.name) {
            for scaling in [Scaling::None, Scaling::Linear, Scaling::Yarn] {
                let mut model = Self::new(architecture);
                model.scale(scaling);
                models.push(model);
            }
        }
        for scaling in [Scaling::None, Scaling::Yarn] {
            let mut model = Self::new("llama");
            model.scale(scaling);
            let divisors = Tensor::new(&[1.0_f32, 1.0, 2.5, 8.0], &Device::Cpu).unwrap();
            model.tensors.insert("rope_freqs.weight".to_owned(), divisors);
            models.push(model);
        }
        models.push(Self::longrope());
        models
    }

    /// A phi3 with [`LONGROPE`].
    pub fn longrope() -> Self {
        let mut model = Self::new("phi3");
        model.scaling = Scaling::LongRope;
        for (length, divisors) in ["short", "long"].into_iter().zip(LONGROPE) {
            let divisors = Tensor::new(&divisors, &Device::Cpu).unwrap();
            model.tensors.insert(format!("rope_factors_{length}.weight"), divisors);
        }
        model.set_own("rope.scaling.attn_factor", Value::F32(LONGROPE_FACTOR));
        model.set_own("rope.scaling.original_context_length", Value::U32(LONGROPE_LEN as u32));
        model
    }

    /// The channels of a head that are rotated.
    pub fn rotary_dim(&self) -> usize {
        if self.architecture == "phi3" { HEAD_DIM - 2 } else { HEAD_DIM }
    }

    fn scale(&mut self, scaling: Scaling) {
        self.scaling = scaling;
        let name = match scaling {
            Scaling::None => return,
            Scaling::Linear => "linear",
            Scaling::Yarn => "yarn",
            Scaling::YarnBetween | Scaling::Llama3 | Scaling::LongRope => {
                panic!("{scaling:?} has no factor in GGUF")
            }
        };
        self.set_own("rope.scaling.type", Value::String(name.to_owned()));
        self.set_own("rope.scaling.factor", Value::F32(SCALING_FACTOR));
        // Three times as long as the first training.
        self.set_own("rope.scaling.original_context_length", Value::U32(ORIGINAL_LEN as u32));
        self.set_own("context_length", Value::U32(192));
    }

    /// Sets a key of the architecture.
    pub fn set_own(&mut self, key: &str, value: Value) {
        self.set(&format!("{}.{key}", self.architecture), value);
    }

    pub fn set(&mut self, key: &str, value: Value) {
        self.metadata.insert(key.to_owned(), value);
    }

    /// A tensor's elements, as the file stores them.
    pub fn elements(&self, name: &str) -> Vec<f32> {
        self.tensors[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let quantise = |tensor| QTensor::quantize(tensor, GgmlDType::F32).unwrap();
        let tensors: Vec<_> = self.tensors.iter().map(|(name, tensor)| (name, quantise(tensor))).collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let metadata: Vec<_> = self.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let mut file = Cursor::new(Vec::new());
        gguf_file::write(&mut file, &metadata, &tensors).unwrap();
        file.into_inner()
    }

    pub fn load(&self) -> Result<Model> {
        load(&self.bytes())
    }

    fn add_tensors(&mut self) {
        let biased = self.architecture == "qwen2";
        let (query_dim, kv_dim) = (QUERY_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        self.add("token_embd.weight", &[VOCABULARY_LEN, HIDDEN_DIM], &mut rng);
        self.add("output_norm.weight", &[HIDDEN_DIM], &mut rng);
        for layer in 0..LAYERS {
            let mut matrices = vec![
                ("attn_q", query_dim, HIDDEN_DIM),
                ("attn_k", kv_dim, HIDDEN_DIM),
                ("attn_v", kv_dim, HIDDEN_DIM),
                ("attn_output", HIDDEN_DIM, query_dim),
                ("ffn_gate", FEED_FORWARD_DIM, HIDDEN_DIM),
                ("ffn_up", FEED_FORWARD_DIM, HIDDEN_DIM),
                ("ffn_down", HIDDEN_DIM, FEED_FORWARD_DIM),
            ];
            if self.architecture == "phi3" {
                matrices.splice(0..3, [("attn_qkv", query_dim + 2 * kv_dim, HIDDEN_DIM)]);
                matrices.splice(2..4, [("ffn_up", 2 * FEED_FORWARD_DIM, HIDDEN_DIM)]);
            }
            for (part, out, input) in matrices {
                self.add(&format!("blk.{layer}.{part}.weight"), &[out, input], &mut rng);
                if biased && matches!(part, "attn_q" | "attn_k" | "attn_v") {
                    self.add(&format!("blk.{layer}.{part}.bias"), &[out], &mut rng);
                }
            }
            let norms = match self.architecture {
                "qwen3" => vec![("attn_q_norm", HEAD_DIM), ("attn_k_norm", HEAD_DIM)],
                "olmo2" => vec![("attn_q_norm", query_dim), ("attn_k_norm", kv_dim)],
                _ => vec![],
            };
            let of_blocks = match self.architecture {
                "olmo2" => ["post_attention_norm", "post_ffw_norm"],
                _ => ["attn_norm", "ffn_norm"],
            };
            for (norm, dim) in norms.into_iter().chain(of_blocks.map(|norm| (norm, HIDDEN_DIM))) {
                self.add(&format!("blk.{layer}.{norm}.weight"), &[dim], &mut rng);
            }
        }
    }

    /// Uniform in `-0.5..0.5`, around 1 for norms; wide enough that attention is far from uniform.
    fn add(&mut self, name: &str, shape: &[usize], rng: &mut ChaCha8Rng) {
        let centre = if name.contains("norm") { 1.0 } else { 0.0 };
        let elements: Vec<f32> =
            (0..shape.iter().product()).map(|_| centre + rng.random_range(-0.5..0.5)).collect();
        self.tensors.insert(name.to_owned(), Tensor::from_vec(elements, shape, &Device::Cpu).unwrap());
    }
}

/// Loads the bytes of a GGUF file from disk.
pub fn load(bytes: &[u8]) -> Result<Model> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    Model::load(&ModelFile::open(path)?, WeightForm::Stored)
}

/// A text of `len` tokens without an obvious pattern.
pub fn tokens(len: usize) -> Vec<u32> {
    (0..len as u32).map(|index| (index * index * 37 + 11) % 251).collect()
}

fn metadata(prefix: &str) -> BTreeMap<String, Value> {
    let size = |size: usize| Value::U32(u32::try_from(size).unwrap());
    let text = |text: &str| Value::String(text.to_owned());
    let mut alphabet: Vec<_> =
        ByteLevel::alphabet().into_iter().map(|byte| text(&byte.to_string())).collect();
    alphabet.sort_by_key(|value| value.to_string().unwrap().clone());
    alphabet.push(text("<|end|>"));
    let types = (0..VOCABULARY_LEN).map(|id| Value::I32(if id == EOS as usize { 3 } else { 1 })).collect();
    let entries = [
        ("general.architecture".to_owned(), text(prefix)),
        (format!("{prefix}.block_count"), size(LAYERS)),
        (format!("{prefix}.context_length"), size(CONTEXT_LEN)),
        (format!("{prefix}.embedding_length"), size(HIDDEN_DIM)),
        (format!("{prefix}.feed_forward_length"), size(FEED_FORWARD_DIM)),
        (format!("{prefix}.attention.head_count"), size(QUERY_HEADS)),
        (format!("{prefix}.attention.head_count_kv"), size(KV_HEADS)),
        (format!("{prefix}.attention.key_length"), size(HEAD_DIM)),
        (format!("{prefix}.attention.layer_norm_rms_epsilon"), Value::F32(RMS_EPSILON)),
        (format!("{prefix}.rope.freq_base"), Value::F32(ROPE_THETA)),
        ("tokenizer.ggml.model".to_owned(), text("gpt2")),
        ("tokenizer.ggml.pre".to_owned(), text("qwen2")),
        ("tokenizer.ggml.tokens".to_owned(), Value::Array(alphabet)),
        ("tokenizer.ggml.token_type".to_owned(), Value::Array(types)),
        ("tokenizer.ggml.merges".to_owned(), Value::Array(Vec::new())),
        ("tokenizer.ggml.eos_token_id".to_owned(), Value::U32(EOS)),
    ];
    entries.into_iter().collect()
}
