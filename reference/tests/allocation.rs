//! Stages allocate and select: quotas meet the budget, and the retained set equals one flat sort.

mod common;

use std::cmp::Ordering;

use laprox_reference::cut::quotas;
use laprox_reference::{
    Allocation, CandidatesPerHead, HeadScores, LayerIndex, ModelScores, RetainedSet, Statistic, cut,
};
use proptest::prelude::*;

use common::stated_shares::{assert_rounds, stated_entropy, stated_shares};
use common::{config, lists, policy};

/// Scores `[layers][Hkv][n - w]`, a norm per layer, and how many candidates a head keeps on average.
#[derive(Clone, Debug)]
struct Case {
    scores: Vec<Vec<Vec<f64>>>,
    output_norms: Vec<f64>,
    /// Entropy and variance of each layer's attention.
    spreads: Vec<(f64, f64)>,
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
        let layer = |(index, heads): (usize, &Vec<Vec<f64>>)| {
            HeadScores::new(LayerIndex(index), heads.clone()).unwrap()
        };
        let layers = self.scores.iter().enumerate().map(layer).collect();
        let (entropies, variances) = self.spreads.iter().copied().unzip();
        [
            (Statistic::OutputNorm, self.output_norms.clone()),
            (Statistic::AttentionEntropy, entropies),
            (Statistic::AttentionVariance, variances),
        ]
        .into_iter()
        .fold(ModelScores::new(layers).unwrap(), |scores, (statistic, of_layers)| {
            scores.with(statistic, of_layers).unwrap()
        })
    }

    fn evict(&self, text: &str) -> RetainedSet {
        let per_head = CandidatesPerHead(self.per_head);
        cut(&policy(text), &self.model_scores(), per_head, self.window_len).unwrap()
    }

    fn quotas(&self, text: &str) -> Vec<usize> {
        quotas(&self.model_scores(), policy(text).options(), CandidatesPerHead(self.per_head)).unwrap()
    }

    /// The number that each head of each layer keeps, if the heads of a layer keep alike.
    fn layers_shares(&self, quotas: &[usize]) -> Vec<usize> {
        let layers = quotas.chunks(self.kv_heads());
        assert!(layers.clone().all(|layer| layer.iter().all(|quota| *quota == layer[0])), "{quotas:?}");
        layers.map(|layer| layer[0]).collect()
    }

    /// All slots, best first, as (head over all layers, position).
    fn in_order(&self, sinks: usize) -> Vec<(usize, u32)> {
        let mut slots = self.slots(by_one);
        slots.sort_by(|one, two| two.compare(one, sinks));
        let kv_heads = self.kv_heads();
        slots.iter().map(|slot| (slot.layer * kv_heads + slot.head, slot.position as u32)).collect()
    }

    /// All slots in the order that breaks ties.
    fn slots(&self, normalise: impl Fn(&[f64], f64) -> f64) -> Vec<Slot> {
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
        slots
    }

    /// The slots in groups of layers or heads, each cut after its share.
    fn naive(&self, cut: Cut, normalise: impl Fn(&[f64], f64) -> f64, sinks: usize) -> Vec<Vec<u32>> {
        let mut slots = self.slots(normalise);
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
    lists(retained).iter().map(|head| head[..head.len() - window_len].to_vec()).collect()
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
            let spread = (prop_oneof![4 => 0.01..100.0_f64, 1 => Just(0.0)], 1e-9..1.0_f64);
            let spreads = prop::collection::vec(spread, layers);
            (scores, norms, spreads, 0..=candidates).prop_map(
                move |(scores, output_norms, spreads, per_head)| Case {
                    scores,
                    output_norms,
                    spreads,
                    per_head,
                    window_len,
                },
            )
        },
    )
}

/// Every allocation by name.
fn allocations() -> impl Iterator<Item = &'static str> {
    Allocation::ALL.into_iter().map(Allocation::name)
}

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
    fn quotas_meet_the_budget_exactly(case in cases(), sinks in 0..4_usize, least in 0..14_usize) {
        let heads = case.scores.len() * case.kv_heads();
        for allocation in allocations() {
            let options = format!("allocation={allocation},sinks={sinks},min_per_head={least}");
            let quotas = case.quotas(&format!("snapkv:{options}"));
            prop_assert_eq!(quotas.len(), heads);
            prop_assert_eq!(quotas.iter().sum::<usize>(), heads * case.per_head);
            let least = least.min(case.per_head);
            prop_assert!(quotas.iter().all(|&quota| (least..=case.candidates()).contains(&quota)), "{}", options);
        }
    }

    /// A minimum as large as the budget leaves nothing to divide.
    #[test]
    fn a_minimum_of_the_whole_budget_is_head(case in cases()) {
        for allocation in allocations() {
            let text = format!("snapkv:allocation={allocation},min_per_head=99");
            prop_assert_eq!(case.evict(&text), case.evict("snapkv"), "{}", text);
        }
    }

    /// Each head's own best come first, and then the best of all that are left.
    #[test]
    fn a_minimum_is_each_heads_best_before_one_sort(case in cases(), least in 0..5_usize, sinks in 0..3_usize) {
        let least = least.min(case.per_head);
        let mut own = case.clone();
        own.per_head = least;
        let mut kept = own.naive(Cut::Head, by_one, sinks);
        let mut left = case.scores.len() * case.kv_heads() * (case.per_head - least);
        for (head, position) in case.in_order(sinks) {
            if left > 0 && !kept[head].contains(&position) {
                kept[head].push(position);
                left -= 1;
            }
        }
        kept.iter_mut().for_each(|positions| positions.sort_unstable());
        let text = format!("snapkv:allocation=model-raw,min_per_head={least},sinks={sinks}");
        prop_assert_eq!(candidates_of(&case.evict(&text), case.window_len), kept);
    }

    #[test]
    fn pyramid_rounds_a_straight_line(case in cases(), beta in 1..=40_u32) {
        let quotas = case.quotas(&format!("snapkv:allocation=pyramid,beta={beta}"));
        let (mean, layers) = (case.per_head as f64, case.scores.len());
        let least = mean / f64::from(beta);
        let (first, last) = if 2.0 * mean - least > case.candidates() as f64 {
            (case.candidates() as f64, 2.0 * mean - case.candidates() as f64)
        } else {
            (2.0 * mean - least, least)
        };
        let steps = layers as f64 - 1.0;
        let on_the_line = |l: usize| if layers == 1 { mean } else { first - l as f64 * (first - last) / steps };
        let targets: Vec<f64> = (0..layers).map(on_the_line).collect();
        assert_rounds(&case.layers_shares(&quotas), &targets, layers * case.per_head)?;
    }

    #[test]
    fn cake_rounds_shares_in_proportion_to_powers_of_the_spread(
        case in cases(),
        tau1 in 2..=20_u32,
        tau2 in 2..=20_u32,
    ) {
        let (tau1, tau2) = (f64::from(tau1) / 10.0, f64::from(tau2) / 10.0);
        let quotas = case.quotas(&format!("snapkv:allocation=cake,tau1={tau1},tau2={tau2}"));
        let weight = |&(entropy, variance): &(f64, f64)| entropy.powf(1.0 / tau1) * variance.powf(1.0 / tau2);
        let weights: Vec<f64> = case.spreads.iter().map(weight).collect();
        let total = case.scores.len() * case.per_head;
        let targets = stated_shares(&weights, total as f64, case.candidates() as f64);
        assert_rounds(&case.layers_shares(&quotas), &targets, total)?;
    }

    #[test]
    fn ada_rounds_between_the_cut_and_an_even_share(case in cases(), percent in 0..=100_u32) {
        let alpha = f64::from(percent) / 100.0;
        let quotas = case.quotas(&format!("snapkv:allocation=ada,alpha={alpha}"));
        let cut = candidates_of(&case.evict("snapkv:allocation=layer"), case.window_len);
        let target = |kept: &Vec<u32>| (1.0 - alpha) * kept.len() as f64 + alpha * case.per_head as f64;
        for (quotas, cut) in quotas.chunks(case.kv_heads()).zip(cut.chunks(case.kv_heads())) {
            let targets: Vec<f64> = cut.iter().map(target).collect();
            assert_rounds(quotas, &targets, case.kv_heads() * case.per_head)?;
        }
    }

    /// The layers' shares by their entropies, and within a layer the shares of `ada`.
    #[test]
    fn lava_is_ada_under_shares_in_proportion_to_the_entropies(case in cases(), percent in 0..=100_u32) {
        let alpha = f64::from(percent) / 100.0;
        let quotas = case.quotas(&format!("snapkv:allocation=lava,alpha={alpha}"));
        let weights: Vec<f64> = case.scores.iter().map(|layer| stated_entropy(layer)).collect();
        let total = case.scores.len() * case.per_head;
        let targets = stated_shares(&weights, total as f64, case.candidates() as f64);
        let totals: Vec<usize> = quotas.chunks(case.kv_heads()).map(|layer| layer.iter().sum()).collect();
        prop_assert!(totals.iter().all(|total| total.is_multiple_of(case.kv_heads())));
        let shares: Vec<usize> = totals.iter().map(|total| total / case.kv_heads()).collect();
        assert_rounds(&shares, &targets, total)?;
        for (index, share) in shares.into_iter().enumerate() {
            let mut layer = case.clone();
            layer.scores = vec![case.scores[index].clone()];
            layer.output_norms.truncate(1);
            layer.spreads.truncate(1);
            layer.per_head = share;
            let own = layer.quotas(&format!("snapkv:allocation=ada,alpha={alpha}"));
            let heads = case.kv_heads();
            prop_assert_eq!(&quotas[index * heads..(index + 1) * heads], &own[..]);
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
        for allocation in allocations() {
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
        for allocation in allocations() {
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
        for allocation in allocations() {
            let retained = case.evict(&format!("snapkv:allocation={allocation},sinks={sinks}"));
            for head in candidates_of(&retained, case.window_len) {
                let kept_sinks = head.iter().filter(|&&position| (position as usize) < sinks).count();
                prop_assert_eq!(kept_sinks, sinks.min(head.len()));
            }
        }
    }

    /// A layer alone: its divisor does not matter, whatever the signs.
    #[test]
    fn scores_of_either_sign_keep_their_order_under_the_sum(mut case in cases()) {
        case.scores.truncate(1);
        case.output_norms.truncate(1);
        case.spreads.truncate(1);
        prop_assert_eq!(case.evict("laprox"), case.evict("laprox:allocation=layer"));
    }

    #[test]
    fn negative_zero_ties_with_zero(case in cases()) {
        let mut positive = case.clone();
        for score in positive.scores.iter_mut().flatten().flatten().filter(|score| **score == 0.0) {
            *score = 0.0;
        }
        for allocation in allocations() {
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
