//! A model's weights in the layout of PyTorch: `[out, in]` matrices, half-split rotary channels. Norms and biases are f32.

use std::collections::BTreeSet;

use candle_core::Tensor;
use candle_nn::{Module, RmsNorm};

use super::architecture::{NormPlace, NormWidth, RotaryLayout};
use super::config::Config;
use super::error::Result;
use super::linear::Linear;
use super::rope::Divisors;
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
    /// The divisors of the rotary frequencies that the file holds.
    pub(super) rope_divisors: Divisors,
    /// `[vocabulary, D]`; the embedding itself if the file holds no `output.weight`.
    pub(super) logits: Linear,
}

/// The weights of one decoder layer. A projection has a bias if the file has one.
pub(super) struct LayerWeights {
    /// The norm of attention.
    pub(super) attention_norm: BlockNorm,
    /// `[H*d, D]`.
    pub(super) query: Rotated,
    /// `[Hkv*d, D]`.
    pub(super) key: Rotated,
    /// `[Hkv*d, D]`.
    pub(super) value: Linear,
    /// `[D, H*d]`.
    pub(super) output_projection: Linear,
    /// The norm of the feed-forward layer.
    pub(super) feed_forward_norm: BlockNorm,
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

/// The norm of a residual block, in its place.
pub(super) struct BlockNorm {
    place: NormPlace,
    norm: RmsNorm,
}

impl BlockNorm {
    /// The input of the block's function, from the residual stream.
    pub(super) fn input(&self, stream: &Tensor) -> Result<Tensor> {
        self.at(NormPlace::Input, stream)
    }

    /// The block's addition to the residual stream, from the output of its function.
    pub(super) fn output(&self, output: &Tensor) -> Result<Tensor> {
        self.at(NormPlace::Output, output)
    }

    fn at(&self, place: NormPlace, rows: &Tensor) -> Result<Tensor> {
        if place == self.place { Ok(self.norm.forward(rows)?) } else { Ok(rows.clone()) }
    }
}

/// A projection whose outputs are rotated, and the norm between the two, if the architecture has one.
pub(super) struct Rotated {
    pub(super) projection: Linear,
    norm: Option<RmsNorm>,
    /// The channels over which the norm takes its mean square.
    norm_dim: usize,
}

impl Rotated {
    /// The projected rows `[c, heads*d]`, normed if the architecture norms them.
    pub(super) fn normed(&self, rows: Tensor) -> Result<Tensor> {
        let Some(norm) = &self.norm else {
            return Ok(rows);
        };
        Ok(norm.forward(&rows.reshape((rows.dim(0)?, (), self.norm_dim))?)?.reshape(rows.shape())?)
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
        let final_norm = tensors.norm("output_norm", config.hidden_dim)?;
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
        let parts = ["attn_q", "attn_k", "attn_v"];
        let [query, key, value] = self.projections("attn_qkv", parts, [query_dim, kv_dim, kv_dim])?;
        let parts = ["ffn_gate", "ffn_up"];
        let [gate, up] = self.projections("ffn_up", parts, [feed_forward_dim; 2])?;
        Ok(LayerWeights {
            attention_norm: self.block_norm("attn_norm", "post_attention_norm")?,
            query: self.rotated("attn_q", query, query_heads)?,
            key: self.rotated("attn_k", key, kv_heads)?,
            value,
            output_projection: self.linear("attn_output", [hidden_dim, query_dim])?,
            feed_forward_norm: self.block_norm("ffn_norm", "post_ffw_norm")?,
            gate,
            up,
            down: self.linear("ffn_down", [hidden_dim, feed_forward_dim])?,
        })
    }

    /// A block's norm, which has another name where it norms the block's output.
    fn block_norm(&mut self, input: &str, output: &str) -> Result<BlockNorm> {
        let place = self.config.architecture.block_norm;
        let name = if place == NormPlace::Input { input } else { output };
        Ok(BlockNorm { place, norm: self.norm(name, self.config.hidden_dim)? })
    }

    fn norm(&mut self, name: &str, dim: usize) -> Result<RmsNorm> {
        let weight = self.take(&format!("{name}.weight"), &[dim])?;
        Ok(RmsNorm::new(weight, f64::from(self.config.rms_epsilon)))
    }

    /// Projections of one input: tensors of their own, or the rows of a single one that the architecture fuses.
    fn projections<const N: usize>(
        &mut self,
        fused: &str,
        parts: [&str; N],
        rows: [usize; N],
    ) -> Result<[Linear; N]> {
        let hidden_dim = self.config.hidden_dim;
        let projections: Vec<Linear> = if self.config.architecture.fuses_projections {
            let whole = self.matrix(&format!("{fused}.weight"), [rows.iter().sum(), hidden_dim])?;
            let end = |part: usize| rows[..part].iter().sum::<usize>();
            (0..N).map(|part| Linear::new(whole.part(end(part)..end(part + 1)), None)).collect()
        } else {
            let part = |(name, rows)| self.linear(name, [rows, hidden_dim]);
            parts.into_iter().zip(rows).map(part).collect::<Result<_>>()?
        };
        Ok(projections.try_into().unwrap_or_else(|_| unreachable!("there is one projection per part")))
    }

    fn linear(&mut self, name: &str, shape: [usize; 2]) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), shape)?;
        Ok(Linear::new(weight, self.take_optional(&format!("{name}.bias"), &shape[..1])?))
    }

    fn rotated(&mut self, name: &str, stored: Linear, heads: usize) -> Result<Rotated> {
        let &Config { architecture, head_dim, .. } = self.config;
        let norm_dim = match architecture.query_key_norm {
            Some(NormWidth::AllHeads) => heads * head_dim,
            Some(NormWidth::Head) | None => head_dim,
        };
        let has_norm = architecture.query_key_norm.is_some();
        let norm = has_norm.then(|| self.norm(&format!("{name}_norm"), norm_dim)).transpose()?;
        Ok(Rotated { projection: self.half_split_linear(stored)?, norm, norm_dim })
    }

    /// A projection with the channels of its heads in the half-split order.
    fn half_split_linear(&self, stored: Linear) -> Result<Linear> {
        let head_dim = self.config.head_dim;
        match self.rotary {
            RotaryLayout::Halves => Ok(stored),
            RotaryLayout::Interleaved => {
                let source = |row| interleaved(row, head_dim);
                let bias = stored.bias().map(|bias| half_split(bias, head_dim)).transpose()?;
                Ok(Linear::new(stored.weight().rows_from(source), bias))
            }
        }
    }

    /// Those of Llama 3.1 for all sequences, or LongRoPE's for short and for long ones.
    fn rope_divisors(&mut self) -> Result<Divisors> {
        let [all, short, long] = ["rope_freqs", "rope_factors_short", "rope_factors_long"]
            .map(|name| self.divisors(&format!("{name}.weight")));
        let original_len = self.config.original_len;
        Ok(Divisors { all: all?.or(short?), long: long?.map(|long| (original_len, long)) })
    }

    fn divisors(&mut self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some(divisors) = self.take_optional(name, &[self.config.rotary_dim / 2])? else {
            return Ok(None);
        };
        let divisors = divisors.to_vec1::<f32>()?;
        match divisors.iter().find(|divisor| !(divisor.is_finite() && **divisor > 0.0)) {
            Some(found) => Err(self
                .file
                .bad_tensor(&self.file.own_name(name), format!("expected positive numbers, found {found}"))),
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
