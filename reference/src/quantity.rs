//! The quantities that a refusal of a layer problem can be about: its tensors, its supplements and its sizes.

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
    /// The tensors that a capture may leave out. A policy that reads one refuses a layer without it.
    Supplement {
        /// Mean of the context's queries before rotation, without the first 4 positions, `[H, d]`.
        QueryMean: "query_mean",
        /// Their covariance over the same positions, divided by the number of them, `[H, d, d]`.
        QueryCovariance: "query_covariance",
        /// Mean over the positions `n..n + 512` of the matrix that rotates a query there, `[d, d]`.
        QueryRotation: "query_rotation",
        /// Largest attention that a repetition of the context pays to each position, over its queries and the group, `[Hkv, n]`.
        RepeatMax: "repeat_max",
        /// The same per query head, each query's attention over the norm of its layer input, `[H, n]`.
        RepeatRelativeMax: "repeat_relative_max",
        /// Post-RoPE queries of `g` tokens that the model itself generates after the context, `[H, g, d]`.
        LookaheadQuery: "q_lookahead",
        /// Their post-RoPE keys, `[Hkv, g, d]`.
        LookaheadKey: "k_lookahead",
        /// Their values, `[Hkv, g, d]`.
        LookaheadValue: "v_lookahead",
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
