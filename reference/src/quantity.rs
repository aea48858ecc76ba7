//! The tensors and sizes of a layer problem, as refusals name them.

use std::fmt;

/// The tensors of a layer problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tensor {
    /// `o_proj.weight` as PyTorch stores it, `[D, H * d]`.
    OutputProjection,
    /// Post-RoPE queries of the last `w` context positions, `[H, w, d]`.
    Query,
    /// Post-RoPE keys, `[Hkv, n + t, d]`.
    Key,
    /// Values, `[Hkv, n + t, d]`.
    Value,
    /// Post-RoPE queries of positions `n..n + t`, `[H, t, d]`; present if `t > 0`.
    FutureQuery,
}

impl Tensor {
    /// The tensor's name in refusals.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OutputProjection => "output_projection",
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::FutureQuery => "future_query",
        }
    }
}

/// The sizes that [`LayerShape::validate`](crate::LayerShape::validate) checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    /// `H`.
    QueryHeads,
    /// `Hkv`.
    KvHeads,
    /// `d`.
    HeadDim,
    /// `D`.
    HiddenDim,
    /// `n`.
    ContextLen,
    /// `w`.
    WindowLen,
}

impl Size {
    /// The field's name in [`LayerShape`](crate::LayerShape).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QueryHeads => "query_heads",
            Self::KvHeads => "kv_heads",
            Self::HeadDim => "head_dim",
            Self::HiddenDim => "hidden_dim",
            Self::ContextLen => "context_len",
            Self::WindowLen => "window_len",
        }
    }
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
