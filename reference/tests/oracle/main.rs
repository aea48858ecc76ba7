//! The claims of the oracles: optima are optimal, bounds are below every set, and the proofs survive rounding.

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod certificates;
mod future;
mod grams;
mod optima;
mod policies;
mod problems;
mod renormalised;
mod stops;
mod swaps;
mod whole_numbers;
