//! The `laprox` binary.
fn main() {}
