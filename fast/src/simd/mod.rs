//! Kernels over SIMD registers. Each is written once over [`pulp::Simd`] and runs at any [`Level`].
//!
//! All of them rest on one product, [`tile()`]: some rows times a packed panel, with the sums in registers. The stages differ
//! in their rows and panels, and in their use of the sums.

mod buffer;
pub mod exp;
mod level;
mod panel;
mod prefetch;
pub mod syrk;
mod tile;
pub mod widen;

pub(crate) use buffer::Buffer;
pub use exp::exp2;
pub use level::Level;
pub use panel::Panels;
pub use prefetch::prefetch;
pub use tile::{ROWS, Rows, tile};
