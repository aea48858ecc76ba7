//! What the stages do with registers: every kernel is written once over [`pulp::Simd`] and runs at any [`Level`].
//!
//! Everything is one product, [`tile()`]: some rows times a packed panel, with the sums in registers. The stages differ in
//! what the rows and the panel are, and in what becomes of the sums.

pub mod buffer;
pub mod exp;
pub mod level;
pub mod panel;
pub mod prefetch;
pub mod syrk;
pub mod tile;
pub mod widen;

pub use buffer::Buffer;
pub use exp::exp2;
pub use level::Level;
pub use panel::Panels;
pub use prefetch::prefetch;
pub use tile::{ROWS, Rows, tile};
