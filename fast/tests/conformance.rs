//! The path satisfies the claims that every path must, at every instruction set of the machine.

use laprox_fast::simd::exp::EXP_ROUNDINGS;
use laprox_fast::{Fast, Level};
use laprox_reference::conformance::{Arithmetic, Path};

fn paths() -> Vec<Path> {
    let path = |level: Level| Path {
        name: format!("fast at {level}"),
        backend: Box::new(Fast::at(level)),
        arithmetic: Arithmetic::single(EXP_ROUNDINGS, 48),
        // Lanes, a panel, a tile's rows, a block of keys and a chunk of them.
        tiles: vec![4, 6, 8, 16, 32, 48, 64, 480],
    };
    Level::all().into_iter().map(path).collect()
}

laprox_reference::conforms!(fast, paths());
