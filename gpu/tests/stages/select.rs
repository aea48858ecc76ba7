//! Stage select: the exact top of a whole model, and its rows of keys and values.

use std::sync::Arc;

use laprox_gpu::select::ModelScores;
use laprox_gpu::{Device, DeviceLayer, Format};
use laprox_reference::{
    CandidatesPerHead, HeadScores, KvHead, LayerIndex, LayerOrdinal, LayerShape, RetainedSet, cut,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::problem::{Problem, Sizes};
use crate::common::{device, naive_device};

fn shape(kv_heads: usize, candidates: usize, window_len: usize) -> LayerShape {
    LayerShape {
        query_heads: kv_heads,
        kv_heads,
        head_dim: 1,
        hidden_dim: 1,
        context_len: candidates + window_len,
        window_len,
        future_len: 0,
    }
}

/// Scores of a model on the host.
struct Model {
    shape: LayerShape,
    scores: Vec<f32>,
    sums: Vec<f32>,
}

impl Model {
    fn drawn(layers: usize, shape: LayerShape, mut draw: impl FnMut(&mut ChaCha8Rng) -> f32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(layers as u64);
        let slots = layers * shape.kv_heads * shape.candidate_len();
        Self { shape, scores: (0..slots).map(|_| draw(&mut rng)).collect(), sums: vec![1.0; layers] }
    }

    fn normalised(&self) -> Vec<f32> {
        let layer_slots = self.scores.len() / self.sums.len();
        let divide = |(slot, &score): (usize, &f32)| {
            if score == 0.0 { 0.0 } else { score / self.sums[slot / layer_slots] }
        };
        self.scores.iter().enumerate().map(divide).collect()
    }

    /// The first `count` slots by score, then by index; and the windows.
    fn top(&self, count: usize) -> RetainedSet {
        let normalised = self.normalised();
        let mut slots: Vec<usize> = (0..normalised.len()).collect();
        slots.sort_by(|&a, &b| normalised[b].partial_cmp(&normalised[a]).unwrap().then(a.cmp(&b)));
        let candidates = self.shape.candidate_len();
        let mut heads = vec![Vec::new(); normalised.len() / candidates];
        slots[..count].iter().for_each(|slot| heads[slot / candidates].push((slot % candidates) as u32));
        heads.iter_mut().for_each(|head| head.sort_unstable());
        let LayerShape { kv_heads, context_len, window_len, .. } = self.shape;
        RetainedSet::from_candidates(kv_heads, context_len, window_len, &heads).unwrap()
    }

    fn upload(&self, device: &Arc<Device>) -> ModelScores {
        ModelScores::upload(device, &self.scores, &self.sums, self.shape).unwrap()
    }

    fn assert_selects(&self, what: &str, counts: &[usize]) {
        for device in [device(), naive_device()] {
            let scores = self.upload(&device);
            for &count in counts {
                let version = device.version();
                assert_eq!(
                    scores.top(count).unwrap().download().unwrap(),
                    self.top(count),
                    "{what}, {count}, {version:?}"
                );
            }
        }
    }
}

#[test]
fn the_top_is_exact_for_real_scores() {
    let mut model = Model::drawn(3, shape(2, 300, 5), |rng| rng.random_range(0.0..1.0_f32).powi(8));
    model.sums = vec![0.7, 3.0, 1e-3];
    model.assert_selects("powers", &[1, 2, 599, 600, 1200, 1799, 1800]);
}

#[test]
fn ties_go_to_the_lower_layer_head_and_position() {
    let three = Model::drawn(2, shape(3, 150, 1), |rng| rng.random_range(0..3_u8).into());
    three.assert_selects("three values", &[1, 77, 300, 450, 700, 899, 900]);
    let one = Model::drawn(2, shape(3, 150, 1), |_| 0.25);
    one.assert_selects("one value", &[1, 151, 449, 450, 451, 900]);
}

#[test]
fn chunks_of_4096_slots_are_put_together_in_order() {
    for candidates in [4095, 4096, 4097, 8300] {
        let model = Model::drawn(1, shape(2, candidates, 2), |rng| rng.random_range(0..40_u8).into());
        let scores = model.upload(&device());
        for count in [1, candidates / 3, candidates, 2 * candidates - 1] {
            let mut selected = scores.top(count).unwrap();
            assert_eq!(selected.download().unwrap(), model.top(count), "{candidates}, {count}");
            // The next selection begins with the memory that this one leaves behind.
            scores.enqueue_top(&mut selected).unwrap();
            assert_eq!(selected.download().unwrap(), model.top(count), "{candidates}, {count}, again");
        }
    }
}

/// Scores that only differ in one digit of the radix, of every sign and size.
#[test]
fn every_digit_counts() {
    let digits: Vec<f32> =
        (0..31).flat_map(|bit| [0, 1 << bit]).map(f32::from_bits).filter(|x| x.is_finite()).collect();
    let numbers: Vec<f32> = digits.iter().flat_map(|&x| [x, -x]).collect();
    let mut model = Model::drawn(1, shape(1, numbers.len(), 1), |_| 0.0);
    model.scores = numbers;
    let counts: Vec<usize> = (1..=model.scores.len()).step_by(7).collect();
    model.assert_selects("single bits", &counts);
}

#[test]
fn a_zero_stays_zero_whatever_its_layer_is_divided_by() {
    let mut model = Model::drawn(2, shape(1, 40, 1), |rng| rng.random_range(0..2_u8).into());
    model.scores[..40].fill(0.0);
    model.scores[3] = -0.0;
    model.sums = vec![0.0, 2.0];
    model.assert_selects("a layer of zeros", &[1, 20, 30, 60, 80]);
}

#[test]
fn a_score_that_is_not_finite_is_refused_by_name() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut model = Model::drawn(2, shape(2, 30, 1), |rng| rng.random_range(0.0..1.0));
        model.scores[60 + 30 + 7] = bad;
        model.scores[60 + 30 + 9] = bad;
        for device in [device(), naive_device()] {
            let refusal = model.upload(&device).top(11).unwrap().download().unwrap_err().to_string();
            assert!(refusal.contains("layer 1, KV head 1, position 7"), "{bad}: {refusal}");
        }
    }
}

#[test]
fn counts_outside_of_the_slots_are_refused() {
    let model = Model::drawn(1, shape(1, 8, 1), |_| 1.0);
    let scores = model.upload(&device());
    for count in [0, 9] {
        let Err(refusal) = scores.top(count) else { panic!("{count} was not refused") };
        assert!(refusal.to_string().contains("1 to 8"), "{refusal}");
    }
    assert!(ModelScores::upload(&device(), &[], &[], shape(1, 8, 1)).is_err());
    assert!(ModelScores::upload(&device(), &[], &[1.0], shape(1, 0, 8)).is_err());
}

/// The cut of the device is the cut of `allocation=model-raw`, which all paths share.
#[test]
fn the_top_is_what_the_shared_allocation_retains() {
    let model = Model::drawn(3, shape(2, 70, 4), |rng| rng.random_range(0..25_u8).into());
    let layer = |(index, scores): (usize, &[f32])| {
        let heads: Vec<Vec<f64>> =
            scores.chunks_exact(70).map(|head| head.iter().copied().map(f64::from).collect()).collect();
        HeadScores::new(LayerIndex(index), heads).unwrap()
    };
    let layers: Vec<HeadScores> = model.scores.chunks_exact(140).enumerate().map(layer).collect();
    let scores = laprox_reference::ModelScores::new(layers).unwrap();
    for per_head in [1, 13, 70] {
        let policy = "laprox:allocation=model-raw".parse().unwrap();
        let shared = cut(&policy, &scores, CandidatesPerHead(per_head), 4).unwrap();
        assert_eq!(model.upload(&device()).top(6 * per_head).unwrap().download().unwrap(), shared);
    }
}

/// Rows of 128, 256, 20 and 4 bytes: whole words of 16 bytes or not.
#[test]
fn gathered_rows_are_the_retained_ones() {
    for (format, head_dim) in
        [(Format::Bf16, 64), (Format::F16, 128), (Format::F32, 5), (Format::F32, 1), (Format::F32, 12)]
    {
        let sizes = Sizes {
            kv_heads: 3,
            group_size: 1,
            head_dim,
            window_len: 3,
            future_len: 2,
            ..Sizes::with_context(90)
        };
        let problems = [1, 2].map(|seed| Problem::alive(sizes, format, seed));
        for device in [device(), naive_device()] {
            let model = Model::drawn(2, problems[0].shape, |rng| rng.random_range(0.0..1.0));
            let selected = model.upload(&device).top(111).unwrap();
            let retained = selected.download().unwrap();
            for (ordinal, problem) in problems.iter().enumerate() {
                let lent = problem.layer_problem();
                let layer = DeviceLayer::upload(&device, &lent).unwrap();
                let [key, value] = selected.set().gather(ordinal, &layer).unwrap().download(&device).unwrap();
                let part = retained.layer(LayerOrdinal(ordinal));
                for (found, all) in [(key, &problem.key), (value, &problem.value)] {
                    let mut rows = Vec::new();
                    for head in 0..3 {
                        for &position in part.head(KvHead(head)) {
                            let first = (head * problem.shape.cached_len() + position as usize) * head_dim;
                            rows.extend(all[first..first + head_dim].iter().copied().map(f64::from));
                        }
                    }
                    assert_eq!(found, rows, "{format:?}, {head_dim}, layer {ordinal}");
                }
            }
        }
    }
}
