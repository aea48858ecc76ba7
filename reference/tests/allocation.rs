//! Stages allocate and select: quotas meet the budget, and what is kept equals one flat sort.

mod common;

use std::cmp::Ordering;

use laprox_reference::allocate::allocate;
use laprox_reference::{HeadScores, LayerIndex, ModelScores, RetainedSet, evict};
use proptest::prelude::*;

use common::{config, policy};

/// Scores `[layers][Hkv][n - w]`, a norm a layer, and how many candidates a head keeps on average.
#[derive(Clone, Debug)]
struct Case {
    scores: Vec<Vec<Vec<f64>>>,
    output_norms: Vec<f64>,
    per_head: usize,
    window_len: usize,
}

impl Case {
    fn candidates(&self) -> usize {
        self.scores[0][0].len()
    }

    fn kv_heads(&self) -> usize {
        self.scores[0].len()
    }

    fn model_scores(&self) -> ModelScores {
        let layer =
            |(index, heads): (usize, &Vec<Vec<f64>>)| HeadScores::new(LayerIndex(index), heads).unwrap();
        let layers = self.scores.iter().enumerate().map(layer).collect();
        ModelScores::new(layers, self.output_norms.clone(), self.kv_heads()).unwrap()
    }

    fn evict(&self, text: &str) -> RetainedSet {
        evict(&policy(text), &self.model_scores(), self.per_head, self.window_len).unwrap()
    }

    fn quotas(&self, text: &str) -> Vec<usize> {
        allocate(&self.model_scores(), policy(text).options(), self.per_head).unwrap()
    }

    /// The slots in groups of layers or heads, each cut after its share.
    fn naive(&self, cut: Cut, normalise: impl Fn(&[f64], f64) -> f64, sinks: usize) -> Vec<Vec<u32>> {
        let mut slots = Vec::new();
        for (layer, heads) in self.scores.iter().enumerate() {
            let divisor = normalise(&heads.concat(), self.output_norms[layer]);
            for (head, scores) in heads.iter().enumerate() {
                for (position, score) in scores.iter().enumerate() {
                    let score = if *score == 0.0 { 0.0 } else { score / divisor };
                    slots.push(Slot { layer, head, position, score });
                }
            }
        }
        // The sort is stable and the slots lie in the order that breaks ties.
        slots.sort_by(|one, two| two.compare(one, sinks));
        self.cut(cut, &slots)
    }

    fn cut(&self, cut: Cut, sorted: &[Slot]) -> Vec<Vec<u32>> {
        let kv_heads = self.kv_heads();
        let mut kept = vec![Vec::new(); self.scores.len() * kv_heads];
        let mut taken = vec![0; kept.len()];
        for slot in sorted {
            let head = slot.layer * kv_heads + slot.head;
            let (counter, share) = match cut {
                Cut::Head => (head, self.per_head),
                Cut::Layer => (slot.layer, kv_heads * self.per_head),
                Cut::Model => (0, kept.len() * self.per_head),
            };
            if taken[counter] < share {
                taken[counter] += 1;
                kept[head].push(slot.position as u32);
            }
        }
        kept.iter_mut().for_each(|positions| positions.sort_unstable());
        kept
    }
}

#[derive(Clone, Copy)]
enum Cut {
    Head,
    Layer,
    Model,
}

struct Slot {
    layer: usize,
    head: usize,
    position: usize,
    score: f64,
}

impl Slot {
    fn compare(&self, other: &Self, sinks: usize) -> Ordering {
        let sink = |slot: &Self| slot.position < sinks;
        sink(self).cmp(&sink(other)).then(self.score.partial_cmp(&other.score).unwrap())
    }
}

fn by_one(_: &[f64], _: f64) -> f64 {
    1.0
}

fn by_sum(scores: &[f64], _: f64) -> f64 {
    scores.iter().map(|score| score.abs()).sum()
}

fn by_output(_: &[f64], output_norm: f64) -> f64 {
    output_norm
}

/// The candidates that a set keeps of each head.
fn candidates_of(retained: &RetainedSet, window_len: usize) -> Vec<Vec<u32>> {
    let heads = retained.offsets().windows(2).map(|ends| &retained.positions()[ends[0]..ends[1]]);
    heads.map(|head| head[..head.len() - window_len].to_vec()).collect()
}

/// Scores of every kind: real ones, whole ones with massive ties, both signs, zeros of both signs.
fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0..3_u8).prop_map(f64::from),
        2 => 0.0..1.0_f64,
        1 => (-3..=0_i8).prop_map(f64::from),
        1 => Just(-0.0),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    (1..=3_usize, 1..=3_usize, 1..=12_usize, 1..=4_usize).prop_flat_map(
        |(layers, kv_heads, candidates, window_len)| {
            let scores = prop::collection::vec(score(), candidates);
            let scores = prop::collection::vec(prop::collection::vec(scores, kv_heads), layers);
            let norms = prop::collection::vec(0.5..100.0_f64, layers);
            (scores, norms, 0..=candidates).prop_map(move |(scores, output_norms, per_head)| Case {
                scores,
                output_norms,
                per_head,
                window_len,
            })
        },
    )
}

const ALLOCATIONS: [&str; 4] = ["head", "layer", "model", "model-raw"];

proptest! {
    #![proptest_config(config(512, "tests/allocation.proptest-regressions"))]

    #[test]
    fn head_equals_a_sort_of_each_head(case in cases(), sinks in 0..4_usize) {
        let retained = case.evict(&format!("snapkv:sinks={sinks}"));
        prop_assert_eq!(candidates_of(&retained, case.window_len), case.naive(Cut::Head, by_one, sinks));
    }

    #[test]
    fn layer_equals_a_sort_of_each_layer(case in cases(), sinks in 0..4_usize) {
        let retained = case.evict(&format!("laprox:allocation=layer,sinks={sinks}"));
        prop_assert_eq!(candidates_of(&retained, case.window_len), case.naive(Cut::Layer, by_one, sinks));
    }

    #[test]
    fn model_equals_one_sort_of_scores_over_their_layers_sum(case in cases(), sinks in 0..4_usize) {
        let retained = case.evict(&format!("laprox:sinks={sinks}"));
        prop_assert_eq!(candidates_of(&retained, case.window_len), case.naive(Cut::Model, by_sum, sinks));
    }

    #[test]
    fn norm_output_divides_by_the_layers_output_norm(case in cases()) {
        let retained = case.evict("laprox:norm=output");
        prop_assert_eq!(candidates_of(&retained, case.window_len), case.naive(Cut::Model, by_output, 0));
    }

    #[test]
    fn model_raw_and_norm_none_equal_one_sort_of_the_scores(case in cases()) {
        let stated = case.naive(Cut::Model, by_one, 0);
        for text in ["laprox:norm=none", "laprox:allocation=model-raw"] {
            prop_assert_eq!(&candidates_of(&case.evict(text), case.window_len), &stated);
        }
    }

    #[test]
    fn quotas_meet_the_budget_exactly(case in cases(), sinks in 0..4_usize) {
        let heads = case.scores.len() * case.kv_heads();
        for allocation in ALLOCATIONS {
            let quotas = case.quotas(&format!("snapkv:allocation={allocation},sinks={sinks}"));
            prop_assert_eq!(quotas.len(), heads);
            prop_assert_eq!(quotas.iter().sum::<usize>(), heads * case.per_head);
            prop_assert!(quotas.iter().all(|&quota| quota <= case.candidates()));
        }
    }

    #[test]
    fn every_head_or_every_layer_meets_its_own_budget(case in cases()) {
        prop_assert!(case.quotas("snapkv").iter().all(|&quota| quota == case.per_head));
        let quotas = case.quotas("snapkv:allocation=layer");
        for layer in quotas.chunks(case.kv_heads()) {
            prop_assert_eq!(layer.iter().sum::<usize>(), case.kv_heads() * case.per_head);
        }
    }

    #[test]
    fn a_retained_set_is_ascending_and_ends_in_the_window(case in cases()) {
        let (candidates, context_len) = (case.candidates(), case.candidates() + case.window_len);
        let window: Vec<u32> = (candidates as u32..context_len as u32).collect();
        for allocation in ALLOCATIONS {
            let retained = case.evict(&format!("snapkv:allocation={allocation}"));
            prop_assert_eq!(retained.layer_count(), case.scores.len());
            prop_assert_eq!(retained.offsets().len(), case.scores.len() * case.kv_heads() + 1);
            for ends in retained.offsets().windows(2) {
                let head = &retained.positions()[ends[0]..ends[1]];
                prop_assert!(head.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(head.ends_with(&window));
            }
        }
    }

    #[test]
    fn nothing_and_everything_are_budgets_too(mut case in cases()) {
        let heads = case.scores.len() * case.kv_heads();
        for allocation in ALLOCATIONS {
            for per_head in [0, case.candidates()] {
                case.per_head = per_head;
                let retained = case.evict(&format!("snapkv:allocation={allocation}"));
                let all: Vec<u32> = (0..per_head as u32).collect();
                prop_assert_eq!(candidates_of(&retained, case.window_len), vec![all; heads]);
            }
        }
    }

    #[test]
    fn full_keeps_everything_whatever_the_budget(case in cases()) {
        let all: Vec<u32> = (0..case.candidates() as u32).collect();
        let heads = case.scores.len() * case.kv_heads();
        prop_assert_eq!(candidates_of(&case.evict("full"), case.window_len), vec![all; heads]);
    }

    #[test]
    fn a_head_keeps_sinks_before_anything_else(case in cases(), sinks in 0..4_usize) {
        for allocation in ALLOCATIONS {
            let retained = case.evict(&format!("snapkv:allocation={allocation},sinks={sinks}"));
            for head in candidates_of(&retained, case.window_len) {
                let kept_sinks = head.iter().filter(|&&position| (position as usize) < sinks).count();
                prop_assert_eq!(kept_sinks, sinks.min(head.len()));
            }
        }
    }

    /// A layer alone: what it is divided by does not matter, whatever the signs.
    #[test]
    fn scores_of_either_sign_keep_their_order_under_the_sum(mut case in cases()) {
        case.scores.truncate(1);
        case.output_norms.truncate(1);
        prop_assert_eq!(case.evict("laprox"), case.evict("laprox:allocation=layer"));
    }

    #[test]
    fn negative_zero_ties_with_zero(case in cases()) {
        let mut positive = case.clone();
        for score in positive.scores.iter_mut().flatten().flatten().filter(|score| **score == 0.0) {
            *score = 0.0;
        }
        for allocation in ALLOCATIONS {
            let text = format!("snapkv:allocation={allocation}");
            prop_assert_eq!(case.evict(&text), positive.evict(&text));
        }
    }

    /// Powers of two scale every score and every sum without rounding.
    #[test]
    fn a_layers_unit_does_not_matter_under_the_sum(case in cases(), exponent in -20..20_i32) {
        let mut scaled = case.clone();
        for score in scaled.scores[0].iter_mut().flatten() {
            *score *= 2.0_f64.powi(exponent);
        }
        prop_assert_eq!(case.evict("laprox"), scaled.evict("laprox"));
    }
}
