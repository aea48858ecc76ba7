//! Whole models: layers streamed to the device, cut there, on synthetic layers and on the committed real dump.

use laprox_gpu::{DeviceLayer, Format, Gpu};
use laprox_reference::{Backend, LayerProblem, ModelScores, Policy, Reference, RetainedSet, evict};

use crate::common::bounds::{Bounded, U, assert_within, drift, wide};
use crate::common::expected::Expected;
use crate::common::problem::{Problem, Sizes};
use crate::common::{committed_dump, device};

/// Sets of one size whose every difference lies where scores cannot be told apart: within twice the bound of the cut.
fn assert_same_cut(
    found: &RetainedSet,
    expected: &RetainedSet,
    normalised: &[Bounded],
    candidates: usize,
) -> usize {
    let slots = |set: &RetainedSet| -> Vec<usize> {
        let heads = set.offsets().windows(2).enumerate();
        let head = |(head, pair): (usize, &[usize])| -> Vec<usize> {
            let positions = set.positions()[pair[0]..pair[1]].iter().map(|&position| position as usize);
            positions
                .filter(|&position| position < candidates)
                .map(|position| head * candidates + position)
                .collect()
        };
        heads.flat_map(head).collect()
    };
    let (found, expected) = (slots(found), slots(expected));
    assert_eq!(found.len(), expected.len());
    let cut = expected.iter().map(|&slot| normalised[slot].value).fold(f64::INFINITY, f64::min);
    let largest = normalised.iter().filter(|score| score.value >= cut).map(|score| score.error / score.value);
    let relative = largest.fold(0.0, f64::max);
    let mut differences = 0;
    for slot in found
        .iter()
        .filter(|slot| !expected.contains(slot))
        .chain(expected.iter().filter(|slot| !found.contains(slot)))
    {
        let score = normalised[*slot];
        let allowed = 2.0 * score.error.max(relative * cut);
        assert!((score.value - cut).abs() <= allowed, "slot {slot}: {score:?}, cut {cut}");
        differences += 1;
    }
    differences
}

/// Scores over their layer's sum.
fn normalised(layers: &[Vec<Bounded>]) -> Vec<Bounded> {
    let layer = |scores: &Vec<Bounded>| -> Vec<Bounded> {
        let sum = Bounded::sum(scores);
        let relative = sum.error / sum.value + drift(2, U);
        let over = |score: &Bounded| Bounded {
            value: score.value / sum.value,
            error: (score.error + score.value * relative) / (sum.value - sum.error),
        };
        scores.iter().map(over).collect()
    };
    layers.iter().flat_map(layer).collect()
}

fn reference_set(problems: &[LayerProblem<'_>], policy: &Policy, per_head: usize) -> RetainedSet {
    let layers: Vec<_> = problems.iter().map(|problem| Reference.prepare(problem).unwrap()).collect();
    let scores = layers.iter().map(|layer| layer.score(policy).unwrap()).collect();
    let norms = layers.iter().map(|layer| layer.output_norm()).collect();
    let shape = problems[0].shape();
    let scores = ModelScores::new(scores, norms, shape.kv_heads).unwrap();
    evict(policy, &scores, per_head, shape.window_len).unwrap()
}

#[test]
fn a_streamed_model_retains_what_the_reference_retains() {
    let sizes = Sizes { kv_heads: 2, group_size: 3, ..Sizes::with_context(200) };
    let problems: Vec<Problem> = (0..4).map(|seed| Problem::alive(sizes, Format::Bf16, seed)).collect();
    let lent: Vec<LayerProblem<'_>> = problems.iter().map(Problem::layer_problem).collect();
    let policy: Policy = "laprox:pool=none".parse().unwrap();
    let gpu = Gpu::new(device());
    let scores = gpu.score_model(lent.iter().copied(), &policy).unwrap().unwrap();
    let bounds: Vec<Vec<Bounded>> =
        problems.iter().map(|problem| Expected::new(problem, Format::Bf16).laprox_mean().concat()).collect();
    for per_head in [1, 20, 100, 168] {
        let found = scores.top(per_head * 8).unwrap().download().unwrap();
        let expected = reference_set(&lent, &policy, per_head);
        assert_same_cut(&found, &expected, &normalised(&bounds), 168);
    }
}

#[test]
fn a_model_of_a_policy_that_the_device_does_not_cut_is_not_scored_there() {
    let problem = Problem::alive(Sizes::with_context(50), Format::Bf16, 1);
    let gpu = Gpu::new(device());
    let elsewhere = ["tova", "snapkv", "laprox:window=5", "laprox:allocation=layer", "laprox:norm=none"];
    for policy in elsewhere.into_iter().chain(["laprox:sinks=4", "laprox:min_per_head=2"]) {
        let scores = gpu.score_model([problem.layer_problem()], &policy.parse().unwrap()).unwrap();
        assert!(scores.is_none(), "{policy}");
    }
    assert!(gpu.score_model([], &"laprox".parse().unwrap()).is_err());
}

#[test]
fn the_committed_dump_scores_and_cuts_as_the_reference_does() {
    let dump = committed_dump();
    let layers: Vec<_> = [0, 3].map(|ordinal| dump.layer(0, ordinal).unwrap()).into();
    let problems: Vec<LayerProblem<'_>> = layers.iter().map(|layer| layer.problem().unwrap()).collect();
    let gpu = Gpu::new(device());
    let policy: Policy = "laprox:pool=none".parse().unwrap();
    let mut bounds = Vec::new();
    for problem in &problems {
        let layer = DeviceLayer::upload(gpu.device(), problem).unwrap();
        assert_eq!(layer.format(), Format::F16);
        let expected = Expected::new(&Problem::of(problem, Format::F32), Format::F16);
        let scored =
            [("laprox:pool=none", expected.laprox_mean()), ("snapkv:pool=none", expected.snapkv_mean())];
        for (policy, bounds) in &scored {
            let scores =
                layer.score(&policy.parse().unwrap()).unwrap().unwrap().download(gpu.device()).unwrap();
            let used = assert_within(policy, &wide(&scores), &bounds.concat());
            println!("layer {}, {policy}: {used:.4} of the bound used", problem.layer());
        }
        bounds.push(scored[0].1.concat());
    }
    let scores = gpu.score_model(problems.iter().copied(), &policy).unwrap().unwrap();
    for per_head in [19, 173] {
        let found = scores.top(per_head * 6).unwrap().download().unwrap();
        let expected = reference_set(&problems, &policy, per_head);
        let differences = assert_same_cut(&found, &expected, &normalised(&bounds), 992);
        println!("{per_head} candidates per head: {differences} slots differ");
        // Two sets may differ where scores tie within rounding, and hardly anywhere else.
        assert!(differences * 50 <= per_head * 6, "{differences}");
    }
}
