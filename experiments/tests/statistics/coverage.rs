//! What a draw of `poisson` says about its own error, on the committed dump: the coverage of its 95 % interval, and its bias.

use std::path::Path;

use laprox_fixtures::Dump;
use laprox_reference::bounds::interval::Along;
use laprox_reference::project::head_output;
use laprox_reference::{
    Budget, LayerIndex, LayerOrdinal, ModelScores, Policy, PreparedLayer, ReferenceLayer, cut,
};

const DUMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/data/smollm2-135m");
const DRAWS: usize = 2000;

/// What the draws at one budget have shown of one layer.
struct Shown {
    layer: LayerIndex,
    /// The share of intervals that cover the exact number.
    coverage: f64,
    /// Mean error over the deviation of one draw, for the layer's output, with the bias corrected, and for the unbiased estimate.
    hajek: f64,
    corrected: f64,
    horvitz_thompson: f64,
    /// The estimated variance over that of the draws.
    variance: f64,
}

/// Mean and deviation of the errors.
fn moments(errors: &[f64]) -> [f64; 2] {
    let count = errors.len() as f64;
    let mean = errors.iter().sum::<f64>() / count;
    let squares: f64 = errors.iter().map(|error| (error - mean).powi(2)).sum();
    [mean, (squares / (count - 1.0)).sqrt()]
}

/// Draws again and again, and compares with the output along its own direction.
fn show(layer: &ReferenceLayer, budget: &str) -> Shown {
    let (shape, policy) = (layer.shape(), "poisson".parse::<Policy>().unwrap());
    let budget: Budget = budget.parse().unwrap();
    let per_head = budget.candidates_per_head(shape.context_len, shape.window_len).unwrap();
    let scores = layer.score(&policy.score().unwrap()).unwrap().into_host().unwrap();
    let scores = ModelScores::new(vec![scores]).unwrap();
    let output = shape.query_heads().map(|head| head_output(layer, head, &layer.attention.weights[head.0]));
    let output = output.reduce(|sum, next| sum + next).unwrap();
    let along = Along::new(layer, &output.normalize());
    let exact = along.exact();
    let estimates: Vec<_> = (0..DRAWS as u64)
        .map(|seed| {
            let set = cut(&policy.reseeded(seed), &scores, per_head, shape.window_len).unwrap();
            along.estimate(set.layer(LayerOrdinal(0))).unwrap()
        })
        .collect();
    let covered =
        estimates.iter().filter(|found| (found.value - exact).abs() <= found.half_width(0.95)).count();
    let relative = |value: fn(&laprox_reference::bounds::interval::Estimate) -> f64| {
        let [mean, deviation] =
            moments(&estimates.iter().map(|found| value(found) - exact).collect::<Vec<_>>());
        mean / deviation
    };
    let [_, deviation] = moments(&estimates.iter().map(|found| found.value).collect::<Vec<_>>());
    let variance = estimates.iter().map(|found| found.variance).sum::<f64>() / DRAWS as f64;
    let shown = Shown {
        layer: layer.index(),
        coverage: covered as f64 / DRAWS as f64,
        hajek: relative(|found| found.hajek),
        corrected: relative(|found| found.value),
        horvitz_thompson: relative(|found| found.horvitz_thompson),
        variance: variance / deviation.powi(2),
    };
    let Shown { coverage, hajek, corrected, horvitz_thompson, variance, .. } = shown;
    println!(
        "layer {} at {budget}: coverage {coverage:.3}; bias over deviation: hajek {hajek:.3}, corrected {corrected:.3}, \
         unbiased {horvitz_thompson:.3}; variance {variance:.3}; relative deviation {:.4}",
        shown.layer,
        deviation / exact
    );
    shown
}

fn shown(budget: &str) -> Vec<Shown> {
    let dump = Dump::open(Path::new(DUMP)).unwrap();
    let layers = dump.manifest().ordinals();
    let shown = layers.map(|ordinal| {
        let layer = dump.layer(0, ordinal).unwrap();
        show(&ReferenceLayer::new(&layer.problem().unwrap()).unwrap(), budget)
    });
    shown.collect()
}

/// Four standard errors of a mean over the draws, in deviations of one.
fn chance() -> f64 {
    4.0 / (DRAWS as f64).sqrt()
}

#[test]
fn intervals_cover_what_they_should_at_20_percent() {
    for Shown { layer, coverage, corrected, horvitz_thompson, .. } in shown("20%") {
        assert!((0.93..=0.97).contains(&coverage), "layer {layer}: {coverage}");
        assert!(horvitz_thompson.abs() <= chance(), "layer {layer}: {horvitz_thompson}");
        assert!(corrected.abs() <= chance(), "layer {layer}: {corrected}");
    }
}

/// The sum that is not divided is unbiased however few are drawn; the ratio, and the interval with it, is not.
#[test]
fn few_draws_bias_the_ratio_and_not_the_sum() {
    for budget in ["5%", "10%"] {
        let shown = shown(budget);
        for Shown { layer, horvitz_thompson, hajek, corrected, .. } in &shown {
            assert!(horvitz_thompson.abs() <= chance(), "layer {layer} at {budget}: {horvitz_thompson}");
            let noise = 0.1;
            assert!(
                corrected.abs() <= hajek.abs() + noise,
                "layer {layer} at {budget}: {corrected}, {hajek}"
            );
        }
    }
}
