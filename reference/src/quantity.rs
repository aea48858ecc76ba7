//! The quantities that a refusal of a layer problem can be about: its tensors and its sizes.

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$of_variant:meta])* $variant:ident: $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$of_variant])* $variant,)*
        }

        impl $name {
            /// The name in refusals.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named!(
    /// The tensors of a layer problem.
    Tensor {
        /// `o_proj.weight` as PyTorch stores it, `[D, H * d]`.
        OutputProjection: "output_projection",
        /// Post-RoPE queries of the last `w` context positions, `[H, w, d]`.
        Query: "query",
        /// Post-RoPE keys, `[Hkv, n + t, d]`.
        Key: "key",
        /// Values, `[Hkv, n + t, d]`.
        Value: "value",
        /// Post-RoPE queries of positions `n..n + t`, `[H, t, d]`; only if `t > 0`.
        FutureQuery: "future_query",
    }
);
named!(
    /// The sizes of a [`LayerShape`](crate::LayerShape) that have a rule to keep.
    Size {
        /// `H`.
        QueryHeads: "query_heads",
        /// `Hkv`.
        KvHeads: "kv_heads",
        /// `d`.
        HeadDim: "head_dim",
        /// `D`.
        HiddenDim: "hidden_dim",
        /// `n`.
        ContextLen: "context_len",
        /// `w`.
        WindowLen: "window_len",
    }
);
