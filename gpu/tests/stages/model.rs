//! Whole models: layers streamed to the device, cut there, on synthetic layers and on the committed real dump.

use laprox_gpu::{DeviceLayer, Format, Gpu};
use laprox_reference::{
    Backend, CandidatesPerHead, InMemory, InTurn, LayerOrdinal, LayerProblem, ModelScores, Policy, Reference,
    RetainedSet, Searching, cut, pipeline,
};

use crate::common::bounds::{Bounded, U, assert_within, drift, wide};
use crate::common::expected::Expected;
use crate::common::problem::{Problem, Sizes};
use crate::common::{committed_dump, device, prepared, score, scored};

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

/// The set that a path keeps of a model.
fn kept(backend: &dyn Backend, problems: &[LayerProblem<'_>], policy: &str, per_head: usize) -> RetainedSet {
    let layers = InMemory::new(backend, problems.to_vec(), InTurn).unwrap();
    let policies = [policy.parse().unwrap()];
    let sets = pipeline::evict(backend, &layers, &policies, &[CandidatesPerHead(per_head)], &Searching::FREE)
        .unwrap();
    sets.concat().remove(0)
}

#[test]
fn a_streamed_model_retains_what_the_reference_retains() {
    let sizes = Sizes { kv_heads: 2, group_size: 3, ..Sizes::with_context(200) };
    let problems: Vec<Problem> = (0..4).map(|seed| Problem::alive(sizes, Format::Bf16, seed)).collect();
    let lent: Vec<LayerProblem<'_>> = problems.iter().map(Problem::layer_problem).collect();
    let gpu = Gpu::new(device());
    let bounds: Vec<Vec<Bounded>> =
        problems.iter().map(|problem| Expected::new(problem, Format::Bf16).laprox_mean().concat()).collect();
    for per_head in [1, 20, 100, 168] {
        let [found, expected] = [&gpu as &dyn Backend, &Reference]
            .map(|backend| kept(backend, &lent, "laprox:pool=none", per_head));
        assert_same_cut(&found, &expected, &normalised(&bounds), 168);
    }
}

/// The device cuts the highest shares of a layer's sum; the host cuts every other policy, from the same scores.
#[test]
fn every_policy_is_cut_from_the_scores_of_the_device() {
    let problems: Vec<Problem> =
        (0..2).map(|seed| Problem::alive(Sizes::with_context(50), Format::Bf16, seed)).collect();
    let lent: Vec<LayerProblem<'_>> = problems.iter().map(Problem::layer_problem).collect();
    let gpu = Gpu::new(device());
    let elsewhere = ["tova", "snapkv", "laprox:window=5", "laprox:allocation=layer", "laprox:norm=none"];
    for text in elsewhere.into_iter().chain([
        "laprox:sinks=4",
        "laprox:min_per_head=2",
        "laprox",
        "laprox:norm=output",
    ]) {
        let policy: Policy = text.parse().unwrap();
        let score = policy.score().unwrap();
        let heads = lent.iter().map(|problem| scored(prepared(&device(), problem).as_ref(), &score).unwrap());
        let scores =
            policy.wants().into_iter().fold(ModelScores::new(heads.collect()).unwrap(), |scores, which| {
                let of = |problem| prepared(&device(), problem).statistic(which, 32).unwrap();
                scores.with(which, lent.iter().map(of).collect()).unwrap()
            });
        for per_head in [0, 1, 9, 18] {
            let expected = cut(&policy, &scores, CandidatesPerHead(per_head), 32).unwrap();
            assert_eq!(kept(&gpu, &lent, text, per_head), expected, "{text} at {per_head}");
        }
    }
}

#[test]
fn the_committed_dump_scores_and_cuts_as_the_reference_does() {
    let dump = committed_dump();
    let layers: Vec<_> = [0, 3].map(|ordinal| dump.layer(0, LayerOrdinal(ordinal)).unwrap()).into();
    let problems: Vec<LayerProblem<'_>> = layers.iter().map(|layer| layer.problem().unwrap()).collect();
    let gpu = Gpu::new(device());
    let mut bounds = Vec::new();
    for problem in &problems {
        let layer = DeviceLayer::upload(gpu.device(), problem).unwrap();
        assert_eq!(layer.format(), Format::F16);
        let expected = Expected::new(&Problem::of(problem, Format::F32), Format::F16);
        let scored =
            [("laprox:pool=none", expected.laprox_mean()), ("snapkv:pool=none", expected.snapkv_mean())];
        for (policy, bounds) in &scored {
            let scores = layer.score(&score(policy)).unwrap().unwrap().download(gpu.device()).unwrap();
            let used = assert_within(policy, &wide(&scores), &bounds.concat());
            println!("layer {}, {policy}: {used:.4} of the bound used", problem.layer());
        }
        bounds.push(scored[0].1.concat());
    }
    for per_head in [19, 173] {
        let [found, expected] = [&gpu as &dyn Backend, &Reference]
            .map(|backend| kept(backend, &problems, "laprox:pool=none", per_head));
        let differences = assert_same_cut(&found, &expected, &normalised(&bounds), 992);
        println!("{per_head} candidates per head: {differences} slots differ");
        // Two sets may differ where scores tie within rounding, and hardly anywhere else.
        assert!(differences * 50 <= per_head * 6, "{differences}");
    }
}
