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
    /// The biases that the class has, by their names in GGUF, without the `blk.N.` of their layer.
    pub(super) biases: &'static [&'static str],
    /// Whether each query head has a KV head of its own if config.json does not say how many there are.
    pub(super) defaults_to_own_kv_heads: bool,
    /// Whether `sliding_window` is in force if `use_sliding_window` does not say so.
    pub(super) slides: bool,
}

static CLASSES: [Class; 3] = [
    Class {
        name: "LlamaForCausalLM",
        model_type: "llama",
        architecture: "llama",
        biases: &[],
        defaults_to_own_kv_heads: true,
        slides: true,
    },
    Class {
        name: "MistralForCausalLM",
        model_type: "mistral",
        architecture: "llama",
        biases: &[],
        defaults_to_own_kv_heads: false,
        slides: true,
    },
    Class {
        name: "Qwen2ForCausalLM",
        model_type: "qwen2",
        architecture: "qwen2",
        biases: &["attn_q.bias", "attn_k.bias", "attn_v.bias"],
        defaults_to_own_kv_heads: false,
        slides: false,
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

    /// The row of the table of architectures.
    ///
    /// # Panics
    /// Never: the tests load a model of every class.
    pub(super) fn architecture(&self) -> &'static Architecture {
        let row = ARCHITECTURES.iter().find(|row| row.name == self.architecture);
        row.expect("every class has an architecture")
    }
}
