//! The supplements of a capture, against plain sums over what a pass of the model shows.

use laprox_experiments::model::{
    CaptureShape, CapturedLayer, Model, Observer, Pass, Result, Wanted, capture,
};
use laprox_reference::{LayerIndex, Supplement};

use super::synthetic::{HEAD_DIM, KV_HEADS, LAYERS, QUERY_HEADS, ROPE_THETA, Synthetic, tokens};

const CONTEXT_LEN: usize = 10;
const GROUP_SIZE: usize = QUERY_HEADS / KV_HEADS;

/// Per layer, what each token's attention reads.
#[derive(Default)]
struct Shown {
    /// `[tokens][D]`
    inputs: Vec<Vec<Vec<f32>>>,
    /// `[tokens][H * d]`, before rotation.
    unrotated: Vec<Vec<Vec<f32>>>,
    /// `[H][tokens][d]`, after it.
    queries: Vec<Vec<Vec<Vec<f32>>>>,
}

impl Observer for Shown {
    fn attention(&mut self, pass: &Pass<'_>) -> Result<()> {
        assert_eq!(pass.layer.0, self.queries.len(), "one pass");
        self.inputs.push(pass.input.to_vec2()?);
        self.unrotated.push(pass.unrotated.to_vec2()?);
        self.queries.push(pass.queries.to_vec3()?);
        Ok(())
    }
}

fn captured(model: &Model, wanted: Wanted) -> Vec<CapturedLayer> {
    let shape = CaptureShape { context_len: CONTEXT_LEN, window_len: 3, future_len: 2 };
    capture(model, &tokens(CONTEXT_LEN + 2), shape, wanted, &mut ()).unwrap().layers().unwrap()
}

fn supplement(layer: &CapturedLayer, which: Supplement) -> &[f32] {
    &layer.supplements.iter().find(|(given, _)| *given == which).expect("it was wanted").1
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], name: &str) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let size = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() <= 1e-5 * size, "{name}: {found} for {expected}");
    }
}

#[test]
fn nothing_is_made_that_is_not_wanted() {
    let model = Synthetic::new("llama").load().unwrap();
    assert!(captured(&model, Wanted::NOTHING).iter().all(|layer| layer.supplements.is_empty()));
    let policies = ["expected_attention", "kvzip", "snapkv:lookahead=3", "laprox:lookahead=2"];
    let wanted =
        |texts: &[&str]| Wanted::by(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
    assert_eq!(wanted(&policies), Wanted { query_statistics: true, repeat: true, lookahead: 3 });
    assert_eq!(wanted(&["kvzip+"]), Wanted { repeat: true, ..Wanted::NOTHING });
    assert_eq!(wanted(&["laprox", "full", "oracle:certified"]), Wanted::NOTHING);
}

#[test]
fn query_statistics_are_mean_and_covariance_before_the_rotation() {
    for synthetic in Synthetic::all() {
        let model = synthetic.load().unwrap();
        let layers = captured(&model, Wanted { query_statistics: true, ..Wanted::NOTHING });
        let mut shown = Shown::default();
        let mut cache = model.cache(CONTEXT_LEN).unwrap();
        model.prefill(&tokens(CONTEXT_LEN), CONTEXT_LEN, &mut cache, &mut shown).unwrap();
        for (layer, rows) in layers.iter().zip(&shown.unrotated) {
            let count = (CONTEXT_LEN - 4) as f64;
            let at = |t: usize, h: usize, c: usize| f64::from(rows[t][h * HEAD_DIM + c]);
            let mean = |h, c| (4..CONTEXT_LEN).map(|t| at(t, h, c)).sum::<f64>() / count;
            let spread = |h, one, two| {
                let terms =
                    (4..CONTEXT_LEN).map(|t| (at(t, h, one) - mean(h, one)) * (at(t, h, two) - mean(h, two)));
                terms.sum::<f64>() / count
            };
            let (mut means, mut covariances) = (Vec::new(), Vec::new());
            for h in 0..QUERY_HEADS {
                for one in 0..HEAD_DIM {
                    means.push(mean(h, one));
                    covariances.extend((0..HEAD_DIM).map(|two| spread(h, one, two)));
                }
            }
            assert_close(supplement(layer, Supplement::QueryMean), &means, synthetic.architecture);
            assert_close(
                supplement(layer, Supplement::QueryCovariance),
                &covariances,
                synthetic.architecture,
            );
        }
    }
}

/// The rotation of the first channels alone where a model turns no more.
#[test]
fn the_rotation_is_the_mean_over_the_next_positions() {
    for architecture in ["llama", "phi3"] {
        let synthetic = Synthetic::new(architecture);
        let half = synthetic.rotary_dim() / 2;
        let layers =
            captured(&synthetic.load().unwrap(), Wanted { query_statistics: true, ..Wanted::NOTHING });
        let mut expected = vec![0.0; HEAD_DIM * HEAD_DIM];
        for channel in 0..HEAD_DIM {
            let pair = channel % half;
            let frequency = f64::from(ROPE_THETA).powf(-(pair as f64) / half as f64);
            let later = CONTEXT_LEN..CONTEXT_LEN + 512;
            let mean = |of: fn(f64) -> f64| {
                later.clone().map(|position| of(position as f64 * frequency)).sum::<f64>() / 512.0
            };
            let row = &mut expected[channel * HEAD_DIM..][..HEAD_DIM];
            if channel < half {
                (row[channel], row[channel + half]) = (mean(f64::cos), -mean(f64::sin));
            } else if channel < 2 * half {
                (row[channel], row[channel - half]) = (mean(f64::cos), mean(f64::sin));
            } else {
                row[channel] = 1.0;
            }
        }
        for layer in &layers {
            let found = supplement(layer, Supplement::QueryRotation);
            let far = |(found, expected): (&f32, &f64)| (f64::from(*found) - expected).abs() > 1e-4;
            assert!(!found.iter().zip(&expected).any(far), "{architecture}: {found:?} for {expected:?}");
        }
    }
}

#[test]
fn repeat_maxima_are_the_largest_attention_of_the_repetition() {
    let model = Synthetic::new("qwen2").load().unwrap();
    let layers = captured(&model, Wanted { repeat: true, ..Wanted::NOTHING });
    let context = tokens(CONTEXT_LEN);
    let mut prompt = model.tokenizer().encode_further("\n\nRepeat the previous context exactly.").unwrap();
    prompt.extend(model.tokenizer().encode_further("\n").unwrap());
    prompt.extend(&context);
    assert_eq!(model.repeat_len(&context).unwrap(), prompt.len());
    let mut cache = model.cache(CONTEXT_LEN + prompt.len()).unwrap();
    model.prefill(&context, CONTEXT_LEN, &mut cache, &mut ()).unwrap();
    let mut shown = Shown::default();
    model.prefill(&prompt, prompt.len(), &mut cache, &mut shown).unwrap();
    for (index, layer) in layers.iter().enumerate() {
        let mut largest = vec![0.0_f64; KV_HEADS * CONTEXT_LEN];
        let mut relative = vec![0.0_f64; QUERY_HEADS * CONTEXT_LEN];
        for head in 0..QUERY_HEADS {
            let keys: Vec<Vec<f32>> =
                cache.heads(LayerIndex(index))[head / GROUP_SIZE].keys().unwrap().to_vec2().unwrap();
            for row in 0..prompt.len() {
                let query = &shown.queries[index][head][row];
                let logit = |key: &Vec<f32>| {
                    let dot: f64 = key.iter().zip(query).map(|(k, q)| f64::from(*k) * f64::from(*q)).sum();
                    (dot * model.config().attention_scale()).exp()
                };
                let sum: f64 = keys[..=CONTEXT_LEN + row].iter().map(logit).sum();
                let input = &shown.inputs[index][row];
                let norm = input.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                for (position, key) in keys[..CONTEXT_LEN].iter().enumerate() {
                    let weight = logit(key) / sum;
                    let most = &mut largest[head / GROUP_SIZE * CONTEXT_LEN + position];
                    *most = most.max(weight);
                    let most = &mut relative[head * CONTEXT_LEN + position];
                    *most = most.max(weight / norm);
                }
            }
        }
        assert_close(supplement(layer, Supplement::RepeatMax), &largest, "largest");
        assert_close(supplement(layer, Supplement::RepeatRelativeMax), &relative, "relative");
    }
}

/// A capture of the context with the same tokens behind it holds the same numbers as its future.
#[test]
fn the_lookahead_is_the_models_own_continuation() {
    const LEN: usize = 4;
    let model = Synthetic::new("llama").load().unwrap();
    let layers = captured(&model, Wanted { lookahead: LEN, ..Wanted::NOTHING });
    let mut all = tokens(CONTEXT_LEN);
    for _ in 0..LEN {
        let mut cache = model.cache(all.len()).unwrap();
        let logits = model.prefill(&all, all.len(), &mut cache, &mut ()).unwrap();
        let best = (0..logits.len()).max_by(|&one, &two| logits[one].total_cmp(&logits[two]));
        all.push(best.unwrap() as u32);
    }
    let shape = CaptureShape { context_len: CONTEXT_LEN, window_len: 3, future_len: LEN };
    let longer = capture(&model, &all, shape, Wanted::NOTHING, &mut ()).unwrap().layers().unwrap();
    assert_eq!((layers.len(), longer.len()), (LAYERS, LAYERS));
    for (layer, longer) in layers.iter().zip(&longer) {
        let later = |array: &ndarray::Array3<f32>, first: usize| -> Vec<f64> {
            array.slice(ndarray::s![.., first.., ..]).iter().map(|&x| f64::from(x)).collect()
        };
        assert_close(supplement(layer, Supplement::LookaheadQuery), &later(&longer.future_queries, 0), "q");
        assert_close(supplement(layer, Supplement::LookaheadKey), &later(&longer.keys, CONTEXT_LEN), "k");
        assert_close(supplement(layer, Supplement::LookaheadValue), &later(&longer.values, CONTEXT_LEN), "v");
    }
}

#[test]
fn a_repetition_or_lookahead_beyond_the_models_length_is_refused() {
    let model = Synthetic::new("llama").load().unwrap();
    for wanted in [Wanted { repeat: true, ..Wanted::NOTHING }, Wanted { lookahead: 60, ..Wanted::NOTHING }] {
        let shape = CaptureShape { context_len: 30, window_len: 3, future_len: 0 };
        let refused = capture(&model, &tokens(30), shape, wanted, &mut ()).err().unwrap().to_string();
        assert!(refused.contains("expected at most the model's context length 64"), "{refused}");
    }
}
