//! Claims about every policy under every allocation.

mod common;

use laprox_reference::pipeline;
use laprox_reference::protected::Protected;
use laprox_reference::{
    Allocation, CandidatesPerHead, Error, InMemory, InTurn, LayerIndex, LayerOrdinal, OutputErrors, POLICIES,
    Reference, ReferenceLayer, RetainedSet, Rule, Searching,
};
use proptest::prelude::*;

use common::compare::Stated;
use common::problem::{Problem, Sizes, sizes};
use common::stated_scores::laprox_mean;
use common::{
    config, evicted, lists, model_scores, output_norm, policy, prepare, ranking_policies, scored,
    with_options,
};

/// One to three layers of one size.
fn layers(candidates: impl Strategy<Value = usize>) -> impl Strategy<Value = Vec<Problem>> {
    (sizes(candidates), prop::collection::vec(any::<u64>(), 1..=3))
        .prop_map(|(sizes, seeds)| seeds.into_iter().map(|seed| Problem::alive(sizes, seed)).collect())
}

/// Every policy that ranks, under every allocation.
fn policies() -> impl Iterator<Item = String> {
    ranking_policies().flat_map(|entry| {
        Allocation::ALL
            .into_iter()
            .map(|allocation| format!("{}:allocation={}", entry.name, allocation.name()))
    })
}

/// The errors of a set, layer by layer.
fn errors(layers: &[Problem], retained: &RetainedSet) -> Vec<OutputErrors> {
    let evaluate = |(slot, layer): (usize, &Problem)| {
        prepare(layer).evaluate(retained.layer(LayerOrdinal(slot))).unwrap()
    };
    layers.iter().enumerate().map(evaluate).collect()
}

fn drop_error(errors: &[OutputErrors]) -> f64 {
    errors.iter().map(|errors| errors.drop.unwrap().layer_wise.squared_error).sum::<f64>().sqrt()
}

/// The least `drop` error of any set that keeps as much over all layers.
fn least_drop_error(layers: &[Problem], per_head: usize) -> f64 {
    let problems: Vec<_> =
        layers.iter().enumerate().map(|(index, layer)| layer.layer_problem(LayerIndex(index))).collect();
    let in_memory = InMemory::new(&Reference, problems, InTurn).unwrap();
    let (oracle, per_head) = (policy("oracle:exhaustive"), CandidatesPerHead(per_head));
    let found = pipeline::search(&Reference, &in_memory, &oracle, per_head, &Searching::FREE).unwrap();
    drop_error(&errors(layers, &found.retained))
}

/// B1's right side: the complete pair norms of the evicted slots, `G` times the mean of a group, over all layers.
fn triangle_bound(layers: &[Problem], retained: &RetainedSet) -> f64 {
    let heads = layers.iter().flat_map(laprox_mean).zip(lists(retained));
    let evicted = heads.flat_map(|(scores, kept)| {
        let gone = |(i, _): &(usize, Stated)| !kept.contains(&(*i as u32));
        scores.into_iter().enumerate().filter(gone).map(|(_, score)| score.value).collect::<Vec<_>>()
    });
    layers[0].sizes.group_size as f64 * evicted.sum::<f64>()
}

proptest! {
    #![proptest_config(config(48, "tests/every_policy.proptest-regressions"))]

    #[test]
    fn the_budget_is_kept_and_the_window_stays(
        layers in layers(0..=13_usize),
        per_head: prop::sample::Index,
        options in prop::sample::select(vec!["", "min_per_head=2", "sinks=3", "min_per_head=3,sinks=1", "ends=0.3", "sinks=2,ends=0.5"]),
    ) {
        let Sizes { kv_heads, candidate_len, window_len, .. } = layers[0].sizes;
        let per_head = per_head.index(candidate_len + 1);
        let least = policy(&with_options("snapkv", options)).options().min_per_head.min(per_head);
        let window: Vec<u32> = (candidate_len as u32..(candidate_len + window_len) as u32).collect();
        for text in policies() {
            let text = if options.is_empty() { text } else { format!("{text},{options}") };
            let kept = lists(&evicted(&layers, &text, per_head));
            prop_assert_eq!(kept.len(), layers.len() * kv_heads);
            prop_assert_eq!(kept.concat().len(), kept.len() * (per_head + window_len), "{}", &text);
            for head in kept {
                prop_assert!(head.windows(2).all(|pair| pair[0] < pair[1]), "{text}: {head:?}");
                prop_assert!(head.ends_with(&window), "{text}: {head:?}");
                prop_assert!(head.len() >= least + window_len, "{text}: {head:?}");
            }
        }
    }

    #[test]
    fn the_same_problem_gives_the_same_set(layers in layers(1..=13_usize), per_head: prop::sample::Index) {
        let per_head = per_head.index(layers[0].sizes.candidate_len + 1);
        let again = layers.clone();
        for text in policies() {
            prop_assert_eq!(evicted(&layers, &text, per_head), evicted(&again, &text, per_head), "{}", &text);
        }
    }

    #[test]
    fn a_full_budget_costs_exactly_nothing(layers in layers(0..=9_usize)) {
        let everything = layers[0].sizes.candidate_len;
        for text in policies() {
            for errors in errors(&layers, &evicted(&layers, &text, everything)) {
                let objectives = [errors.drop, Some(errors.renormalised), errors.future];
                for objective in objectives.into_iter().flatten() {
                    prop_assert_eq!(objective.layer_wise.relative(), 0.0, "{}", &text);
                    prop_assert_eq!(objective.head_wise.relative(), 0.0, "{}", &text);
                }
            }
        }
    }

    /// Both errors are computed the same way, so equal sets have equal errors and others may tie within rounding.
    #[test]
    fn no_policy_is_below_the_optimum(mut layers in layers(1..=4_usize), per_head: prop::sample::Index) {
        layers.truncate(16 / (layers[0].sizes.kv_heads * layers[0].sizes.candidate_len));
        let per_head = per_head.index(layers[0].sizes.candidate_len + 1);
        let least = least_drop_error(&layers, per_head);
        let output: f64 = layers.iter().map(|layer| output_norm(prepare(layer).as_ref())).sum();
        let rounding = layers.iter().map(Problem::rounding).fold(0.0, f64::max) * output;
        for text in policies() {
            let error = drop_error(&errors(&layers, &evicted(&layers, &text, per_head)));
            prop_assert!(error >= least - rounding, "{text}: {error} below {least}");
        }
    }

    #[test]
    fn more_budget_never_raises_the_triangle_bound_of_laprox(layers in layers(1..=13_usize)) {
        for allocation in ["head", "layer", "model", "model-raw"] {
            for pool in ["none", "avg:7"] {
                let text = format!("laprox:allocation={allocation},pool={pool}");
                let mut last = f64::INFINITY;
                for per_head in 0..=layers[0].sizes.candidate_len {
                    let bound = triangle_bound(&layers, &evicted(&layers, &text, per_head));
                    prop_assert!(bound <= last, "{text} at {per_head}: {bound} after {last}");
                    last = bound;
                }
                prop_assert_eq!(last, 0.0);
            }
        }
    }

    /// Every score is finite or refused with its slot, and a layer beyond f64 as a whole, for any numbers; nothing panics.
    #[test]
    fn hostile_numbers_are_scored_or_refused(
        sizes in sizes(0..=9_usize),
        seed: u64,
        scale in prop::sample::select(vec![0.0, 1e-300, 1e-160, 1e6, 1e160, 1e300]),
        sharpness in prop::sample::select(vec![1e-6, 1.0, 1e6]),
    ) {
        let mut problem = Problem::alive(sizes, seed).sharpened(sharpness);
        problem.value.iter_mut().for_each(|value| *value *= scale);
        let layer = match ReferenceLayer::new(&problem.layer_problem(LayerIndex(0))) {
            Ok(layer) => layer,
            Err(error) => {
                prop_assert!(matches!(error, Error::Range { .. }) && ![0.0, 1e6].contains(&scale), "{error}");
                return Ok(());
            }
        };
        for entry in ranking_policies() {
            match scored(&layer, &policy(entry.name)) {
                Ok(scores) => {
                    prop_assert!(scores.values().all(f64::is_finite), "{}", entry.name);
                    let second = scores.second().map(|second| {
                        (0..sizes.kv_heads).all(|h| second.head(h).iter().all(|x| x.is_finite()))
                    });
                    prop_assert!(second != Some(false), "{}", entry.name);
                }
                Err(Error::Score { value, .. }) => prop_assert!(!value.is_finite(), "{}", entry.name),
                Err(other) => prop_assert!(false, "{}: {other}", entry.name),
            }
        }
    }
}

/// A tenth of 20 entries at each end, whatever the scores; the other 16 by their scores.
#[test]
fn both_ends_stay_and_the_middle_is_ranked() {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 2,
        head_dim: 4,
        hidden_dim: 6,
        candidate_len: 60,
        window_len: 4,
        future_len: 0,
    };
    let layers = [Problem::alive(sizes, 1)];
    for entry in ranking_policies() {
        let name = entry.name;
        let kept = lists(&evicted(&layers, &format!("{name}:allocation=head,sinks=0,ends=0.1"), 20));
        let plain = lists(&evicted(&layers, &format!("{name}:allocation=head,sinks=0"), 20));
        for (kept, plain) in kept.iter().zip(plain) {
            assert_eq!(kept.len(), 24, "{name}");
            assert!([0, 1, 58, 59].iter().all(|end| kept.contains(end)), "{name}: {kept:?}");
            let middle =
                |kept: &[u32]| kept.iter().copied().filter(|i| (2..58).contains(i)).collect::<Vec<_>>();
            let ranks_once = scored(prepare(&layers[0]).as_ref(), &policy(name)).unwrap().second().is_none();
            if ranks_once {
                assert!(middle(kept).iter().all(|i| plain.contains(i)), "{name}: {kept:?} of {plain:?}");
            }
        }
    }
    // 0.29 of 100 are 29, and half at each end is everything.
    assert!(Protected::new(0, 0.29, 100, 400).holds(28) && !Protected::new(0, 0.29, 100, 400).holds(29));
    assert!(!Protected::new(0, 0.29, 100, 400).holds(370) && Protected::new(0, 0.29, 100, 400).holds(371));
    assert!((0..20).all(|position| Protected::new(0, 0.5, 20, 20).holds(position)));
}

#[test]
fn every_policy_ranks_keeps_all_or_searches() {
    let count = |is: fn(&Rule) -> bool| POLICIES.iter().filter(|entry| is(&entry.rule)).count();
    assert_eq!(count(Rule::ranks), 32);
    assert_eq!(count(|rule| matches!(rule, Rule::Draw(_))), 1);
    assert_eq!(count(|rule| matches!(rule, Rule::Shrunk)), 1);
    assert_eq!(count(|rule| matches!(rule, Rule::Everything)), 1);
    assert_eq!(count(|rule| matches!(rule, Rule::Oracle(_))), 5);
}

/// The sets differ: no policy is another one under a second name, but those that differ in their allocation alone.
#[test]
fn policies_differ_in_what_they_keep() {
    let sizes = Sizes {
        kv_heads: 3,
        group_size: 3,
        head_dim: 6,
        hidden_dim: 9,
        candidate_len: 60,
        window_len: 12,
        future_len: 0,
    };
    let layers: Vec<Problem> = (0..3).map(|seed| Problem::alive(sizes, seed)).collect();
    let mut seen: Vec<(&str, RetainedSet)> = Vec::new();
    for entry in ranking_policies() {
        let text = with_options(entry.name, "allocation=head,sinks=0");
        let kept = evicted(&layers, &text, 40);
        let same: Vec<&str> =
            seen.iter().filter(|(_, other)| *other == kept).map(|(name, _)| *name).collect();
        let expected: &[&str] = match entry.name {
            "pyramidkv" => &["snapkv"],
            "adakv" => &["snapkv", "pyramidkv"],
            _ => &[],
        };
        assert_eq!(same, expected, "{}", entry.name);
        seen.push((entry.name, kept));
    }
}

#[test]
fn a_policys_scores_do_not_depend_on_its_allocation() {
    let layers = [Problem::alive(
        Sizes {
            kv_heads: 2,
            group_size: 2,
            head_dim: 4,
            hidden_dim: 5,
            candidate_len: 9,
            window_len: 3,
            future_len: 0,
        },
        5,
    )];
    for entry in ranking_policies() {
        let plain = model_scores(&layers, &policy(entry.name));
        for allocation in Allocation::ALL {
            let text = format!("{}:allocation={},min_per_head=1", entry.name, allocation.name());
            assert_eq!(model_scores(&layers, &policy(&text)), plain, "{text}");
            assert_eq!(policy(&text).score(), policy(entry.name).score(), "{text}");
        }
    }
}
