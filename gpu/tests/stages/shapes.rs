//! Hostile shapes: contexts around every tile, windows up to the context and beyond a tile, all group sizes.

use std::sync::Arc;

use laprox_gpu::{Device, Format};

use crate::common::problem::{Problem, Sizes};
use crate::common::{device, naive_device};

/// Shapes for the tensor-core kernels: keys come in tiles of 64, rows of 32, positions of 32 and 256, heads in fours.
#[must_use]
pub fn tensor_core_sizes() -> Vec<Sizes> {
    let of = |kv_heads, group_size, head_dim, context_len, window_len| Sizes {
        kv_heads,
        group_size,
        head_dim,
        context_len,
        window_len,
        ..Sizes::with_context(context_len)
    };
    vec![
        of(1, 4, 64, 33, 32),
        of(2, 1, 64, 64, 32),
        of(1, 3, 64, 65, 1),
        of(1, 8, 64, 97, 31),
        of(2, 3, 64, 128, 33),
        of(1, 4, 64, 300, 70),
        of(1, 4, 128, 63, 32),
        of(1, 1, 128, 129, 5),
        of(1, 3, 128, 160, 64),
        of(1, 8, 128, 289, 32),
        of(1, 5, 64, 321, 32),
    ]
}

/// Shapes that only the naive kernels know, or are asked for.
#[must_use]
pub fn any_sizes() -> Vec<Sizes> {
    let of = |kv_heads, group_size, head_dim, hidden_dim, context_len, window_len| Sizes {
        kv_heads,
        group_size,
        head_dim,
        hidden_dim,
        context_len,
        window_len,
        future_len: 2,
    };
    vec![
        of(1, 1, 1, 1, 2, 1),
        of(2, 3, 5, 7, 40, 3),
        of(1, 8, 8, 3, 129, 4),
        of(3, 4, 80, 96, 128, 32),
        of(1, 3, 64, 96, 130, 33),
    ]
}

/// A layer of each shape in each format that has kernels for it, with the device that runs them.
pub fn for_each_case(mut check: impl FnMut(&Arc<Device>, &Problem, Format, &str)) {
    let (shipped, naive) = (device(), naive_device());
    for (seed, sizes) in (0..).zip(tensor_core_sizes()) {
        for format in [Format::Bf16, Format::F16] {
            let problem = Problem::alive(sizes, format, seed);
            check(&shipped, &problem, format, &format!("{format:?} {sizes:?}"));
        }
    }
    for (seed, sizes) in (100..).zip(any_sizes()) {
        let problem = Problem::alive(sizes, Format::F32, seed);
        check(&shipped, &problem, Format::F32, &format!("f32 {sizes:?}"));
        check(&naive, &problem, Format::F32, &format!("naive {sizes:?}"));
    }
}
