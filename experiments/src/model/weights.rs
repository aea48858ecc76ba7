//! A model's weights in the layout of PyTorch: `[out, in]` matrices, half-split rotary channels. Norms and biases are f32.

use std::collections::BTreeSet;

use candle_core::Tensor;
use candle_nn::{Module, RmsNorm};

use super::architecture::RotaryLayout;
use super::config::Config;
use super::error::Result;
use super::linear::Linear;
use super::stored::Matrix;
use super::tensor_file::TensorFile;

/// All weights of a model.
pub(super) struct Weights {
    /// `[vocabulary, D]`.
    pub(super) embedding: Matrix,
    /// The decoder layers, first to last.
    pub(super) layers: Vec<LayerWeights>,
    /// The norm before the logits.
    pub(super) final_norm: RmsNorm,
    /// The divisors of the rotary frequencies, `[d/2]`, if the file holds them.
    pub(super) rope_divisors: Option<Vec<f32>>,
    /// `[vocabulary, D]`; the embedding itself if the file holds no `output.weight`.
    pub(super) logits: Linear,
}

/// The weights of one decoder layer. A projection has a bias if the file has one.
pub(super) struct LayerWeights {
    /// The norm before attention.
    pub(super) attention_norm: RmsNorm,
    /// `[H*d, D]`.
    pub(super) query: Rotated,
    /// `[Hkv*d, D]`.
    pub(super) key: Rotated,
    /// `[Hkv*d, D]`.
    pub(super) value: Linear,
    /// `[D, H*d]`.
    pub(super) output_projection: Linear,
    /// The norm before the feed-forward layer.
    pub(super) feed_forward_norm: RmsNorm,
    /// `[F, D]`.
    pub(super) gate: Linear,
    /// `[F, D]`.
    pub(super) up: Linear,
    /// `[D, F]`.
    pub(super) down: Linear,
}

/// How matrices are held. Products are the same to the bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WeightForm {
    /// As the file stores them: each number is widened to f32 when it is multiplied.
    #[default]
    Stored,
    /// Widened to f32 when the model is loaded.
    F32,
}

/// A projection whose outputs are rotated, and the norm of each head between the two, if the architecture has one.
pub(super) struct Rotated {
    pub(super) projection: Linear,
    norm: Option<RmsNorm>,
}

impl Rotated {
    /// The projected rows `[c, heads*d]`, each head's divided by its norm if the architecture has one.
    pub(super) fn normed(&self, rows: Tensor, heads: usize) -> Result<Tensor> {
        let Some(norm) = &self.norm else {
            return Ok(rows);
        };
        Ok(norm.forward(&rows.reshape((rows.dim(0)?, heads, ()))?)?.reshape(rows.shape())?)
    }
}

impl Weights {
    /// Reads every tensor of the file, whose queries and keys have their channels in the order `rotary`.
    ///
    /// # Errors
    /// [`super::Error::Tensor`] when a tensor is missing, misshapen, or left over at the end: a tensor that
    /// nothing reads belongs to arithmetic that is not implemented.
    pub(super) fn read(
        file: &dyn TensorFile,
        rotary: RotaryLayout,
        config: &Config,
        vocabulary_len: usize,
        form: WeightForm,
    ) -> Result<Self> {
        let mut tensors = Tensors { file, rotary, config, form, scope: String::new(), unread: file.names() };
        let table = [vocabulary_len, config.hidden_dim];
        let embedding = tensors.matrix("token_embd.weight", table)?;
        let has_own_logits = tensors.has("output.weight");
        let logits = if has_own_logits { tensors.matrix("output.weight", table)? } else { embedding.clone() };
        let final_norm = tensors.norm("output_norm")?;
        let rope_divisors = tensors.rope_divisors()?;
        let layers = (0..config.layers).map(|layer| tensors.layer(layer)).collect::<Result<_>>()?;
        tensors.finish()?;
        Ok(Self { embedding, layers, final_norm, rope_divisors, logits: Linear::new(logits, None) })
    }
}

/// The tensors of a file and which of them are still unread.
struct Tensors<'a> {
    file: &'a dyn TensorFile,
    rotary: RotaryLayout,
    config: &'a Config,
    form: WeightForm,
    /// What precedes the names below: `blk.N.` within a layer.
    scope: String,
    unread: BTreeSet<String>,
}

impl Tensors<'_> {
    fn layer(&mut self, layer: usize) -> Result<LayerWeights> {
        let &Config { query_heads, kv_heads, head_dim, hidden_dim, feed_forward_dim, .. } = self.config;
        let (query_dim, kv_dim) = (query_heads * head_dim, kv_heads * head_dim);
        self.scope = format!("blk.{layer}.");
        Ok(LayerWeights {
            attention_norm: self.norm("attn_norm")?,
            query: self.rotated("attn_q", query_heads)?,
            key: self.rotated("attn_k", kv_heads)?,
            value: self.linear("attn_v", [kv_dim, hidden_dim])?,
            output_projection: self.linear("attn_output", [hidden_dim, query_dim])?,
            feed_forward_norm: self.norm("ffn_norm")?,
            gate: self.linear("ffn_gate", [feed_forward_dim, hidden_dim])?,
            up: self.linear("ffn_up", [feed_forward_dim, hidden_dim])?,
            down: self.linear("ffn_down", [hidden_dim, feed_forward_dim])?,
        })
    }

    fn norm(&mut self, name: &str) -> Result<RmsNorm> {
        self.norm_over(self.config.hidden_dim, name)
    }

    fn norm_over(&mut self, dim: usize, name: &str) -> Result<RmsNorm> {
        let weight = self.take(&format!("{name}.weight"), &[dim])?;
        Ok(RmsNorm::new(weight, f64::from(self.config.rms_epsilon)))
    }

    fn linear(&mut self, name: &str, shape: [usize; 2]) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), shape)?;
        Ok(Linear::new(weight, self.take_optional(&format!("{name}.bias"), &shape[..1])?))
    }

    fn rotated(&mut self, name: &str, heads: usize) -> Result<Rotated> {
        let &Config { architecture, head_dim, .. } = self.config;
        let projection = self.half_split_linear(name, heads)?;
        let norm = architecture.norms_heads.then(|| self.norm_over(head_dim, &format!("{name}_norm")));
        Ok(Rotated { projection, norm: norm.transpose()? })
    }

    /// A projection with the channels of its heads in the half-split order.
    fn half_split_linear(&mut self, name: &str, heads: usize) -> Result<Linear> {
        let &Config { head_dim, hidden_dim, .. } = self.config;
        let stored = self.linear(name, [heads * head_dim, hidden_dim])?;
        match self.rotary {
            RotaryLayout::Halves => Ok(stored),
            RotaryLayout::Interleaved => {
                let source = |row| interleaved(row, head_dim);
                let bias = stored.bias().map(|bias| half_split(bias, head_dim)).transpose()?;
                Ok(Linear::new(stored.weight().rows_from(source), bias))
            }
        }
    }

    fn rope_divisors(&mut self) -> Result<Option<Vec<f32>>> {
        const NAME: &str = "rope_freqs.weight";
        let Some(divisors) = self.take_optional(NAME, &[self.config.head_dim / 2])? else {
            return Ok(None);
        };
        let divisors = divisors.to_vec1::<f32>()?;
        match divisors.iter().find(|divisor| !(divisor.is_finite() && **divisor > 0.0)) {
            Some(found) => Err(self
                .file
                .bad_tensor(&self.file.own_name(NAME), format!("expected positive numbers, found {found}"))),
            None => Ok(Some(divisors)),
        }
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let name = self.own_name(name);
        self.file.tensor(&name, shape)
    }

    /// A tensor that the architecture allows a file to lack; one that it does not list stays unread.
    fn take_optional(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        self.has(name).then(|| self.take(name, shape)).transpose()
    }

    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        let name = self.own_name(name);
        let stored = self.file.matrix(&name, shape)?;
        Ok(match self.form {
            WeightForm::Stored => stored,
            WeightForm::F32 => stored.widened(),
        })
    }

    fn has(&self, name: &str) -> bool {
        self.file.has(&self.scope, name, self.config.architecture.optional)
    }

    /// The file's name of a tensor that is read now.
    fn own_name(&mut self, name: &str) -> String {
        let name = self.file.own_name(&format!("{}{name}", self.scope));
        self.unread.remove(&name);
        name
    }

    fn finish(self) -> Result<()> {
        const REASON: &str = "not part of the architecture; ignoring it would change the model";
        self.unread.first().map_or(Ok(()), |tensor| Err(self.file.bad_tensor(tensor, REASON.to_owned())))
    }
}

/// The row of [`RotaryLayout::Interleaved`] that is `row` of [`RotaryLayout::Halves`], which is transformers' order of queries
/// and keys: in every head `2j` becomes `j`, and `2j + 1` becomes `j + d/2`.
fn interleaved(row: usize, head_dim: usize) -> usize {
    let (head, channel) = (row / head_dim, row % head_dim);
    head * head_dim + 2 * (channel % (head_dim / 2)) + channel / (head_dim / 2)
}

/// A bias with the rows in the same order.
fn half_split(bias: &Tensor, head_dim: usize) -> Result<Tensor> {
    let rows = (0..bias.dim(0)?).map(|row| interleaved(row, head_dim) as u32).collect::<Vec<_>>();
    Ok(bias.index_select(&Tensor::new(rows, bias.device())?, 0)?)
}
