//! The classes of transformers that are implemented: one row of a table per class.

use crate::model::architecture::{ARCHITECTURES, Architecture};
use crate::model::error::Result;

use super::document::Document;

/// A class of transformers, and its place in the table of architectures.
pub(super) struct Class {
    /// The element of `architectures` in config.json.
    name: &'static str,
    /// The value of `model_type`, by which transformers chooses the class.
    model_type: &'static str,
    /// The architecture's name in GGUF.
    architecture: &'static str,
    /// The keys of config.json that this class has beside those of all classes.
    pub(super) keys: &'static [&'static str],
    /// Names of tensors in GGUF and in transformers that differ from those of the other classes.
    pub(super) names: &'static [(&'static str, &'static str)],
    /// The biases that every model of the class has, by their names in GGUF, without the `blk.N.` of their layer.
    biases: &'static [&'static str],
    /// The width of a head if config.json does not say it; `None` stands for `hidden_size / num_attention_heads`.
    pub(super) head_dim: Option<usize>,
    /// Whether each query head has a KV head of its own if config.json does not say how many there are.
    pub(super) defaults_to_own_kv_heads: bool,
    /// Whether `sliding_window` is in force if `use_sliding_window` does not say so.
    pub(super) slides: bool,
}

/// The keys that give a class biases, with their names in GGUF.
const BIASES: [(&str, &[&str]); 2] = [
    ("attention_bias", &["attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias"]),
    ("mlp_bias", &["ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"]),
];

static CLASSES: [Class; 6] = [
    Class {
        name: "LlamaForCausalLM",
        model_type: "llama",
        architecture: "llama",
        keys: &["attention_bias", "mlp_bias"],
        names: &[],
        biases: &[],
        head_dim: None,
        defaults_to_own_kv_heads: true,
        slides: true,
    },
    Class {
        name: "MistralForCausalLM",
        model_type: "mistral",
        architecture: "llama",
        keys: &[],
        names: &[],
        biases: &[],
        head_dim: None,
        defaults_to_own_kv_heads: false,
        slides: true,
    },
    Class {
        name: "Qwen2ForCausalLM",
        model_type: "qwen2",
        architecture: "qwen2",
        keys: &[],
        names: &[],
        biases: &["attn_q.bias", "attn_k.bias", "attn_v.bias"],
        head_dim: None,
        defaults_to_own_kv_heads: false,
        slides: false,
    },
    Class {
        name: "Qwen3ForCausalLM",
        model_type: "qwen3",
        architecture: "qwen3",
        keys: &["attention_bias"],
        names: &[],
        biases: &[],
        head_dim: Some(128),
        defaults_to_own_kv_heads: false,
        slides: false,
    },
    Class {
        name: "Phi3ForCausalLM",
        model_type: "phi3",
        architecture: "phi3",
        keys: &["auto_map", "embd_pdrop", "resid_pdrop"],
        names: &[("ffn_up", "mlp.gate_up_proj")],
        biases: &[],
        head_dim: None,
        defaults_to_own_kv_heads: true,
        slides: true,
    },
    Class {
        name: "Olmo2ForCausalLM",
        model_type: "olmo2",
        architecture: "olmo2",
        keys: &["attention_bias"],
        names: &[],
        biases: &[],
        head_dim: None,
        defaults_to_own_kv_heads: true,
        slides: true,
    },
];

impl Class {
    /// Finds the row of a config.json.
    ///
    /// # Errors
    /// [`super::super::Error::Metadata`] when it names no class, another one, or a model type that belongs to another one.
    pub(super) fn read(config: &Document) -> Result<&'static Self> {
        const KEY: &str = "architectures";
        let names = config.required(KEY, config.get(KEY))?;
        let name =
            names.as_array().and_then(|names| if let [name] = &names[..] { name.as_str() } else { None });
        let Some(class) = CLASSES.iter().find(|class| Some(class.name) == name) else {
            let known: Vec<&str> = CLASSES.iter().map(|class| class.name).collect();
            return Err(
                config.unsupported(KEY, &format!("{names} is not supported, only {}", known.join(", ")))
            );
        };
        match config.text("model_type")? {
            Some(found) if found != class.model_type => {
                let reason = format!("expected '{}' of a {}, found '{found}'", class.model_type, class.name);
                Err(config.bad("model_type", reason))
            }
            _ => Ok(class),
        }
    }

    /// The biases of a model of the class, by their names in GGUF, without the `blk.N.` of their layer.
    pub(super) fn biases(&self, config: &Document) -> Result<Vec<&'static str>> {
        let mut biases = self.biases.to_vec();
        for (key, names) in BIASES.iter().filter(|(key, _)| self.keys.contains(key)) {
            if config.flag(key)?.unwrap_or(false) {
                biases.extend(*names);
            }
        }
        Ok(biases)
    }

    /// The row of the table of architectures.
    ///
    /// # Panics
    /// Never: the tests load a model of every class.
    pub(super) fn architecture(&self) -> &'static Architecture {
        let row = ARCHITECTURES.iter().find(|row| row.name == self.architecture);
        row.expect("every class has an architecture")
    }
}
