//! A model's weights, dequantised to f32, in the layout of PyTorch: `[out, in]` matrices, half-split rotary channels.

use std::collections::BTreeSet;

use candle_core::Tensor;
use candle_nn::{Linear, Module, RmsNorm};

use super::architecture::{NormPlace, NormWidth, RotaryLayout};
use super::config::Config;
use super::error::Result;
use super::rope::Divisors;
use super::tensor_file::TensorFile;

/// All weights of a model.
pub(super) struct Weights {
    /// `[vocabulary, D]`.
    pub(super) embedding: Tensor,
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
    projection: Linear,
    norm: Option<RmsNorm>,
    /// The channels over which the norm takes its mean square.
    norm_dim: usize,
}

impl Rotated {
    /// From the input `[c, D]` to rows `[c, heads*d]`, not yet rotated.
    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let rows = self.projection.forward(input)?;
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
    ) -> Result<Self> {
        let mut tensors = Tensors { file, rotary, config, scope: String::new(), unread: file.names() };
        let table = [vocabulary_len, config.hidden_dim];
        let embedding = tensors.take("token_embd.weight", &table)?;
        let logits = tensors.take_optional("output.weight", &table)?.unwrap_or_else(|| embedding.clone());
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
            let whole = self.take(&format!("{fused}.weight"), &[rows.iter().sum(), hidden_dim])?;
            let first = |part| rows[..part].iter().sum();
            let part = |part| Ok(Linear::new(whole.narrow(0, first(part), rows[part])?, None));
            (0..N).map(part).collect::<Result<_>>()?
        } else {
            let part = |(name, rows)| self.linear(name, [rows, hidden_dim]);
            parts.into_iter().zip(rows).map(part).collect::<Result<_>>()?
        };
        Ok(projections.try_into().unwrap_or_else(|_| unreachable!("there is one projection per part")))
    }

    fn linear(&mut self, name: &str, shape: [usize; 2]) -> Result<Linear> {
        let weight = self.take(&format!("{name}.weight"), &shape)?;
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
        Ok(Rotated { projection: self.half_split_linear(stored, heads)?, norm, norm_dim })
    }

    /// A projection with the channels of its heads in the half-split order.
    fn half_split_linear(&self, stored: Linear, heads: usize) -> Result<Linear> {
        match self.rotary {
            RotaryLayout::Halves => Ok(stored),
            RotaryLayout::Interleaved => {
                let bias = stored.bias().map(|bias| half_split(bias, heads)).transpose()?;
                Ok(Linear::new(half_split(stored.weight(), heads)?, bias))
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
        let name = self.file.own_name(&format!("{}{name}", self.scope));
        self.unread.remove(&name);
        self.file.tensor(&name, shape)
    }

    /// A tensor that the architecture allows a file to lack; one that it does not list stays unread.
    fn take_optional(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        let has = self.file.has(&self.scope, name, self.config.architecture.optional);
        has.then(|| self.take(name, shape)).transpose()
    }

    fn finish(self) -> Result<()> {
        const REASON: &str = "not part of the architecture; ignoring it would change the model";
        self.unread.first().map_or(Ok(()), |tensor| Err(self.file.bad_tensor(tensor, REASON.to_owned())))
    }
}

/// `out[j] = in[2j]`, `out[j + d/2] = in[2j + 1]` within the `d` rows of each head.
///
/// Turns [`RotaryLayout::Interleaved`] into [`RotaryLayout::Halves`], so that queries and keys have the channel order of
/// transformers.
fn half_split(rows: &Tensor, heads: usize) -> Result<Tensor> {
    let row_len = rows.elem_count() / rows.dim(0)?;
    let pairs = rows.reshape((heads, (), 2, row_len))?;
    Ok(pairs.transpose(1, 2)?.contiguous()?.reshape(rows.shape())?)
}
