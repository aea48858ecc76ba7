//! Scores and errors on real activations are within the derived bounds at every instruction set, and sets agree up to
//! near-ties: on the committed dump, and on those that `LAPROX_DUMPS` lists, separated by colons.

use std::env;
use std::path::PathBuf;

use laprox_fast::simd::exp::EXP_ROUNDINGS;
use laprox_fast::{Fast, Level};
use laprox_fixtures::Dump;
use laprox_reference::conformance::sample::Sample;
use laprox_reference::conformance::{Arithmetic, Path};

fn dumps() -> Vec<PathBuf> {
    let committed = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/data/smollm2-135m"));
    let listed = env::var_os("LAPROX_DUMPS").map_or_else(Vec::new, |list| env::split_paths(&list).collect());
    [vec![committed], listed].concat()
}

fn paths() -> Vec<Path> {
    let path = |level: Level| Path {
        name: format!("fast at {level}"),
        backend: Box::new(Fast::at(level)),
        arithmetic: Arithmetic::single(EXP_ROUNDINGS, 48),
        tiles: Vec::new(),
    };
    Level::all().into_iter().map(path).collect()
}

#[test]
fn real_activations_are_within_their_bounds() {
    for dump in dumps() {
        let dump = Dump::open(&dump).unwrap_or_else(|error| panic!("{error}"));
        for sample in 0..dump.manifest().samples.len() {
            check(&dump, sample);
        }
    }
}

fn check(dump: &Dump, sample: usize) {
    let mut shown = Sample::new(paths());
    for ordinal in 0..dump.manifest().layers.len() {
        shown.hold_layer(&dump.layer(sample, ordinal).unwrap().problem().unwrap());
    }
    let name = format!("{}, sample {}", dump.path().display(), dump.manifest().samples[sample].name);
    shown.hold_sets(&name, dump.manifest().layer_shape(sample).window_len);
}
