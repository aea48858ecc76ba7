//! The tensors of safetensors files, under their names in transformers.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::model::error::{Error, Result};
use crate::model::foreign;
use crate::model::stored::Matrix;
use crate::model::tensor_file::TensorFile;

use super::class::Class;
use super::files::{SnapshotFiles, WeightFile};

/// The most bytes of a file's header. A tensor takes a hundred.
const MAX_HEADER_LEN: u64 = 1 << 24;

const EMBEDDING: &str = "model.embed_tokens.weight";
const LOGITS: &str = "lm_head.weight";

/// The names of tensors in GGUF and in transformers, without their layer and without `.weight` or `.bias`.
const NAMES: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The tensors of a snapshot.
pub(in crate::model) struct SnapshotTensors<'a> {
    files: &'a SnapshotFiles,
    /// Names in GGUF and in transformers that go before those of [`NAMES`].
    names: &'static [(&'static str, &'static str)],
    /// The biases that the model has, by their names in GGUF.
    biases: Vec<&'static str>,
    /// Whether the embedding is the output matrix.
    tied: bool,
    /// The tensors, with the number of their file.
    tensors: BTreeMap<String, (usize, TensorView<'a>)>,
}

impl<'a> SnapshotTensors<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`Error::Contents`] when a header is damaged, [`Error::Tensor`] when two files hold a tensor, or the index and a file
    /// contradict each other.
    pub(super) fn read(
        files: &'a SnapshotFiles,
        class: &Class,
        biases: Vec<&'static str>,
        tied: bool,
    ) -> Result<Self> {
        let mut read = Self { files, names: class.names, biases, tied, tensors: BTreeMap::new() };
        for (number, file) in files.weights().iter().enumerate() {
            for (name, tensor) in parse(file)?.tensors() {
                if read.tensors.insert(name.clone(), (number, tensor)).is_some() {
                    return Err(bad(file, &name, "in another file, too".to_owned()));
                }
            }
        }
        read.check_index()?;
        read.drop_copies()?;
        Ok(read)
    }

    fn check_index(&self) -> Result<()> {
        let weights = self.files.weights();
        for (tensor, name) in self.files.index() {
            let place = self.tensors.get(tensor).map(|(number, _)| &weights[*number]);
            if !place.is_some_and(|place| place.path.ends_with(name)) {
                return Err(self.bad_tensor(tensor, format!("not in {name}, as the index says")));
            }
        }
        Ok(())
    }

    /// Takes out what follows from the rest: old files hold the rotary frequencies, and some a second embedding.
    fn drop_copies(&mut self) -> Result<()> {
        self.tensors.retain(|name, _| !name.ends_with(".rotary_emb.inv_freq"));
        if self.tied
            && let Some((_, logits)) = self.tensors.get(LOGITS)
        {
            if self.tensors.get(EMBEDDING).is_none_or(|(_, embedding)| embedding.data() != logits.data()) {
                let reason = format!("differs from '{EMBEDDING}', but config.json has tie_word_embeddings");
                return Err(self.bad_tensor(LOGITS, reason));
            }
            self.tensors.remove(LOGITS);
        }
        Ok(())
    }

    /// The element type of most of the model's matrix elements, as dumps name it: `bf16`, `f16`, `f32`.
    pub(in crate::model) fn source_dtype(&self) -> String {
        let mut bytes = BTreeMap::<Dtype, usize>::new();
        for (_, tensor) in self.tensors.values().filter(|(_, tensor)| tensor.shape().len() == 2) {
            *bytes.entry(tensor.dtype()).or_default() += tensor.shape().iter().product::<usize>();
        }
        let most = bytes.into_iter().max_by_key(|(_, count)| *count);
        most.map_or_else(String::new, |(dtype, _)| format!("{dtype:?}").to_lowercase())
    }
}

impl SnapshotTensors<'_> {
    /// A copy of a tensor's bytes: the files are not needed, and may change, once the model is loaded.
    fn stored(&self, own_name: &str, shape: &[usize], rows: usize) -> Result<Matrix> {
        let bad = |reason| self.bad_tensor(own_name, reason);
        let (_, tensor) = self.tensors.get(own_name).ok_or_else(|| bad("missing".to_owned()))?;
        if tensor.shape() != shape {
            return Err(bad(format!("expected shape {shape:?}, found {:?}", tensor.shape())));
        }
        let columns = shape.iter().product::<usize>() / rows;
        let element = element(tensor.dtype()).map_err(bad)?;
        Ok(Matrix::owned(tensor.data().to_vec(), element, [rows, columns]))
    }
}

impl TensorFile for SnapshotTensors<'_> {
    fn names(&self) -> BTreeSet<String> {
        self.tensors.keys().cloned().collect()
    }

    /// `blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`.
    fn own_name(&self, name: &str) -> String {
        let layer = name.strip_prefix("blk.").and_then(|below| below.split_once('.'));
        let (scope, below) = layer.map_or_else(
            || (String::new(), name),
            |(layer, below)| (format!("model.layers.{layer}."), below),
        );
        let (part, kind) = below.rsplit_once('.').unwrap_or((below, ""));
        let mut names = self.names.iter().chain(NAMES);
        let own = names.find(|(gguf, _)| *gguf == part).map_or(part, |(_, own)| own);
        format!("{scope}{own}.{kind}")
    }

    /// Whether the model has it: a snapshot lacks nothing that its class and its config.json ask for.
    fn has(&self, _: &str, name: &str, _: &[&str]) -> bool {
        if name == "output.weight" { !self.tied } else { self.biases.contains(&name) }
    }

    fn tensor(&self, own_name: &str, shape: &[usize]) -> Result<Tensor> {
        let numbers = self.stored(own_name, shape, 1)?.numbers();
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    }

    fn matrix(&self, own_name: &str, shape: [usize; 2]) -> Result<Matrix> {
        self.stored(own_name, &shape, shape[0])
    }

    fn bad_tensor(&self, own_name: &str, reason: String) -> Error {
        let file = self.tensors.get(own_name).map(|(number, _)| &self.files.weights()[*number].path);
        let file = file.map_or(self.files.folder(), |path| path);
        Error::Tensor { file: file.to_path_buf(), tensor: own_name.to_owned(), reason }
    }
}

/// Reads a file's header, whose length is compared with the file's before anything else.
fn parse(file: &WeightFile) -> Result<SafeTensors<'_>> {
    let damaged = |found: String| Error::contents(&file.path, "a whole safetensors file", found);
    let bytes: &[u8] = &file.map;
    let header_len = bytes.first_chunk().map_or(0, |len| u64::from_le_bytes(*len));
    if header_len == 0 || header_len > MAX_HEADER_LEN.min(bytes.len() as u64) {
        let head = &bytes[..bytes.len().min(foreign::HEAD_LEN)];
        let kind = foreign::kind(head).filter(|_| header_len > MAX_HEADER_LEN || bytes.is_empty());
        let header = format!("a header of {header_len} bytes in a file of {}", bytes.len());
        return Err(damaged(kind.unwrap_or(header)));
    }
    SafeTensors::deserialize(bytes).map_err(|fault| damaged(format!("a fault: {fault}")))
}

fn bad(file: &WeightFile, tensor: &str, reason: String) -> Error {
    Error::Tensor { file: file.path.clone(), tensor: tensor.to_owned(), reason }
}

/// The element type, as ggml names it.
fn element(dtype: Dtype) -> std::result::Result<GgmlDType, String> {
    match dtype {
        Dtype::F32 => Ok(GgmlDType::F32),
        Dtype::BF16 => Ok(GgmlDType::BF16),
        Dtype::F16 => Ok(GgmlDType::F16),
        other => Err(format!("type {other:?} is not supported, only BF16, F16, F32")),
    }
}
