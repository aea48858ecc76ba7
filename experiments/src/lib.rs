//! Everything behind the `laprox` binary.
