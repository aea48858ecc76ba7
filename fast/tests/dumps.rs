//! Scores and errors on real activations are within the derived bounds at every instruction set, and sets agree up to
//! near-ties: on the committed dump, and on those that `LAPROX_DUMPS` lists, separated by colons.

use std::env;
use std::path::PathBuf;

use laprox_fast::simd::exp::EXP_ROUNDINGS;
use laprox_fast::{Fast, Level};
use laprox_fixtures::Dump;
use laprox_reference::conformance::body::{Expected, Margins, Used, hold_errors, hold_scores, policies};
use laprox_reference::conformance::{Arithmetic, Bounds, Path};
use laprox_reference::layer::Layer;
use laprox_reference::{Backend, HeadScores, LayerShape, ModelScores, Policy, Reference, RetainedSet};

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

/// One policy's scores over all layers of a sample, by both, and how far they may be apart.
struct Scored {
    policy: Policy,
    expected: Vec<HeadScores>,
    found: Vec<HeadScores>,
    bounds: Vec<Vec<f64>>,
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

/// What one path has shown of a sample so far.
struct Shown {
    path: Path,
    of_scores: Used,
    of_errors: Used,
    scored: Vec<Scored>,
}

impl Shown {
    fn new(path: Path) -> Self {
        let nothing = |policy| Scored { policy, expected: Vec::new(), found: Vec::new(), bounds: Vec::new() };
        let scored = policies().into_iter().map(nothing).collect();
        Self { path, of_scores: Used::default(), of_errors: Used::default(), scored }
    }
}

fn check(dump: &Dump, sample: usize) {
    let shape = dump.manifest().layer_shape(sample);
    let mut shown: Vec<Shown> = paths().into_iter().map(Shown::new).collect();
    for slot in 0..dump.manifest().layers.len() {
        let layer = dump.layer(sample, slot).unwrap();
        let problem = layer.problem().unwrap();
        let reference = Layer::new(&problem);
        let expected = Expected::new(&reference);
        let set = every_fifth(shape);
        for Shown { path, of_scores, of_errors, scored } in &mut shown {
            let bounds = Bounds::new(&problem, &reference, path.arithmetic);
            let found = hold_scores(path, &problem, &bounds, &expected, of_scores);
            for ((scored, (_, expected)), (found, bounds)) in
                scored.iter_mut().zip(&expected.scores).zip(found)
            {
                scored.expected.push(expected.clone());
                scored.found.push(found);
                scored.bounds.extend(bounds);
            }
            hold_errors(path, &problem, &reference, set.layer(0), of_errors);
        }
    }
    for Shown { path, of_scores, of_errors, scored } in shown {
        let sets: usize = scored.iter().map(|scored| sets_agree(&path, scored, shape.window_len)).sum();
        eprintln!(
            "{}, sample {}: {}: at most {:.4} of a bound used by scores, {:.4} by errors; {sets} sets differ in near-ties",
            dump.path().display(),
            dump.manifest().samples[sample].name,
            path.name,
            of_scores.0,
            of_errors.0,
        );
    }
}

/// The window and every fifth candidate.
fn every_fifth(shape: LayerShape) -> RetainedSet {
    let kept: Vec<u32> = (0..shape.candidate_len() as u32).step_by(5).collect();
    let heads = vec![kept; shape.kv_heads];
    RetainedSet::from_candidates(shape.kv_heads, shape.context_len, shape.window_len, &heads).unwrap()
}

/// Cuts both scores over all layers, and says in how many of the budgets the sets differ at all.
fn sets_agree(path: &Path, scored: &Scored, window_len: usize) -> usize {
    let model = |layers: &[HeadScores]| {
        let kv_heads = layers[0].heads().count();
        ModelScores::new(layers.to_vec(), vec![1.0; layers.len()], kv_heads).unwrap()
    };
    let (expected, found) = (model(&scored.expected), model(&scored.found));
    let mut differing = 0;
    for allocation in ["head", "model-raw"] {
        let Ok(policy) = scored.policy.with("allocation", allocation) else { continue };
        for share in [20, 5] {
            let per_head = expected.candidate_len() / share;
            let one = Reference.evict(&policy, &expected, per_head, window_len).unwrap();
            let two = path.backend.evict(&policy, &found, per_head, window_len).unwrap();
            let margins = Margins {
                scores: scored.expected.iter().flat_map(HeadScores::heads).map(<[f64]>::to_vec).collect(),
                bounds: scored.bounds.clone(),
            };
            let what = format!("{}: {policy} at {per_head}", path.name);
            margins.assert_agree(&what, &one, &two, allocation == "head");
            differing += usize::from(one != two);
        }
    }
    differing
}
