//! Oracles.

pub mod block;
pub mod bound;
pub mod branch;
pub mod gram;
pub mod relax;
pub mod swap;
