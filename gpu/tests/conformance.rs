//! The path satisfies the claims that every path must. The tests run on a GPU if there is one, else under the interpreter.
//!
//! Whole-number problems have heads that only the naive kernels know. These equal the reference to the bit: `ex2.approx` of 0
//! is 1, of a logit 4096 below it is 0, and a score that pooling divides by 7 is the reference's, rounded to f32. The tensor
//! cores' weights are not whole: the multiply-add that subtracts the largest logit undoes that logit's rounding, so its own
//! exponent is not exactly 0.

mod common;

use laprox_fast::Fast;
use laprox_fast::simd::exp::EXP_ROUNDINGS;
use laprox_gpu::{DeviceLayer, Format};
use laprox_reference::conformance::body::{Expected, Used, hold_errors, hold_scores};
use laprox_reference::conformance::problem::{Problem, Sizes};
use laprox_reference::conformance::sample::Sample;
use laprox_reference::conformance::{Arithmetic, Bounds, Path};
use laprox_reference::{LayerIndex, LayerOrdinal, ReferenceLayer};

use common::path::gpu;
use common::{committed_dump, device};

fn paths() -> Vec<Path> {
    // A tensor core's rows, its keys, a block of the naive kernels, one that pools.
    vec![Path { tiles: vec![32, 64, 128, 256], ..gpu() }]
}

laprox_reference::conforms!(gpu, paths());

/// Halves with heads of 64 and 128, which the suite's problems hardly ever have.
#[test]
fn halves_on_tensor_cores_are_within_their_bounds() {
    let (path, mut used) = (gpu(), Used::default());
    let lens = [(1, 64, 1), (3, 63, 31), (4, 65, 32), (8, 130, 33)];
    for (seed, (group_size, candidate_len, window_len)) in (0..).zip(lens) {
        for head_dim in [64, 128] {
            let kv_heads = if group_size < 4 { 2 } else { 1 };
            let hidden_dim = head_dim - 1 + seed as usize;
            let sizes = Sizes {
                kv_heads,
                group_size,
                head_dim,
                hidden_dim,
                candidate_len,
                window_len,
                future_len: 2,
            };
            let problem = Problem::alive(sizes, seed).in_halves();
            let lent = problem.layer_problem(LayerIndex(0));
            assert_eq!(DeviceLayer::upload(&device(), &lent).unwrap().format(), Format::F16);
            let reference = ReferenceLayer::new(&lent).unwrap();
            let bounds = Bounds::new(&lent, &reference, path.arithmetic);
            hold_scores(&path, &lent, &bounds, &Expected::new(&reference), &mut used);
            let retained = problem.retained(&problem.some_kept(seed));
            hold_errors(&path, &lent, &reference, retained.layer(LayerOrdinal(0)), &mut used);
        }
    }
    eprintln!("halves on tensor cores: at most {:.4} of a bound used", used.0);
}

/// The last layer of the committed dump: all of them would take the interpreter a minute.
#[test]
fn real_activations_are_within_the_bounds_of_this_path_and_of_the_fast_one() {
    let dump = committed_dump();
    let fast = Path {
        name: "fast".into(),
        backend: Box::new(Fast::default()),
        arithmetic: Arithmetic::single(EXP_ROUNDINGS, 48),
        ..gpu()
    };
    let mut sample = Sample::new(vec![gpu(), fast]);
    let last = dump.manifest().ordinals().last().unwrap();
    sample.hold_layer(&dump.layer(0, last).unwrap().problem().unwrap());
    sample.hold_sets("the committed dump", dump.manifest().layer_shape(0).window_len);
}
