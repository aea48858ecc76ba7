//! Expected attention: the attention that later queries would pay if they were distributed as the context's.
//!
//! ```text
//! s_i = softmax over i of (k_i^T mu / sqrt(d) + k_i^T Sigma k_i / (2 d)) * norm2(v_i), group mean
//! ```
//!
//! `mu` and `Sigma` are mean and covariance of the context's queries before RoPE, per query head, turned by the mean
//! rotation of the next 512 positions; NVIDIA's kvpress leaves the first 4 positions out of both and keeps them. A dump
//! holds the window's queries after RoPE and neither the others nor the rotation, and 32 queries do not make a
//! covariance of 64 channels. So the policy is listed, and its refusal names the missing data. It would read one tensor
//! `[H, d]` and one `[H, d, d]` per layer, which the dump format does not have. The manifest's `extra` is no place for
//! them: a small model needs a million numbers.

use crate::{OptionList, PolicyEntry, PolicyOptions, Rule};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "expected_attention",
    formula: "s_i = softmax_i(k_i^T mu / sqrt(d) + k_i^T Sigma k_i / (2d)) * norm2(v_i); not available on a dump",
    source: "arXiv 2510.00636",
    caveat: "",
    rule: Rule::Unavailable(
        "needs the mean [H, d] and covariance [H, d, d] of each layer's queries over the whole context, before RoPE, \
         which dumps do not hold: capture them with a hook on the model's q_proj, from all context positions",
    ),
    options: OptionList::Only(&[]),
    defaults: PolicyOptions::PLAIN,
};
