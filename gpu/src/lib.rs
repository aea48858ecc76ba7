//! The stages of `laprox-reference` as CUDA kernels. There are none yet: `--path gpu` says so and exits with 3.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
