//! The forward pass, the cache, capture and decoding on tiny models of every architecture.

use candle_core::quantized::gguf_file::Value;
use candle_core::{Device, Tensor};
use half::f16;
use laprox_experiments::model::{
    ARCHITECTURES, CacheDtype, CaptureShape, CapturedLayer, Continuation, Error, KvCache, Model, Progress,
    Quantity, Segment, Wanted, capture,
};
use laprox_reference::LayerIndex;
use ndarray::Array3;

use super::given::decode;
use super::naive;
use super::synthetic::{
    CONTEXT_LEN, EOS, FEED_FORWARD_DIM, HEAD_DIM, HIDDEN_DIM, KV_HEADS, LAYERS, LONGROPE_LEN, QUERY_HEADS,
    Synthetic, tokens,
};

fn prefill(model: &Model, tokens: &[u32], chunk_len: usize) -> (Vec<f32>, KvCache) {
    let mut cache = model.cache(CONTEXT_LEN).unwrap();
    let logits = model.prefill(tokens, chunk_len, &mut cache, &mut ()).unwrap();
    (logits, cache)
}

/// Asserts `|a - b| <= bound * max |b|` in every element; NaN and a length mismatch fail.
pub fn assert_close(found: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let used = (f64::from(found) - expected).abs() / (bound * largest);
        assert!(used <= 1.0, "element {index}: {found} against {expected} uses {used} of the bound");
    }
}

/// The first-order rounding bound of one forward pass over `entries` cache entries: every output of a product over `k` terms is
/// off by at most `k u` of its terms' magnitude, and a layer chains the products over the widths summed here. The
/// factor 8 is for what the magnitudes exceed their sums by, in weights that cancel by chance.
pub fn rounding_bound(entries: usize) -> f64 {
    let chain = 2 * HIDDEN_DIM + HEAD_DIM + entries + QUERY_HEADS * HEAD_DIM + FEED_FORWARD_DIM;
    8.0 * (LAYERS * chain) as f64 * f64::from(f32::EPSILON) / 2.0
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

#[test]
fn logits_agree_with_a_naive_decoder() {
    for synthetic in Synthetic::all() {
        let model = synthetic.load().unwrap();
        let tokens = tokens(40);
        let mut cache = model.cache(tokens.len()).unwrap();
        let hidden = model.forward(&tokens, &mut cache, &mut ()).unwrap();
        let found: Vec<f32> = model.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let (expected, _) = naive::run(&synthetic, &tokens);
        assert_close(&found, &expected.concat(), rounding_bound(tokens.len()));
    }
}

#[test]
fn queries_keys_and_values_agree_with_a_naive_decoder() {
    for synthetic in Synthetic::all() {
        let model = synthetic.load().unwrap();
        let tokens = tokens(40);
        let shape = CaptureShape { context_len: 40, window_len: 40, future_len: 0 };
        let sample = capture(&model, &tokens, shape, Wanted::NOTHING, &mut ()).unwrap();
        let (_, layers) = naive::run(&synthetic, &tokens);
        let stored = match synthetic.architecture {
            "llama" => |channel| 2 * (channel % (HEAD_DIM / 2)) + channel / (HEAD_DIM / 2),
            _ => |channel| channel,
        };
        for (index, layer) in layers.iter().enumerate() {
            let found = sample.layer(LayerIndex(index)).unwrap();
            for (found, expected) in [
                (&found.queries, heads(&layer.queries, stored)),
                (&found.keys, heads(&layer.keys, stored)),
                (&found.values, heads(&layer.values, |channel| channel)),
            ] {
                let found: Vec<f32> = found.iter().copied().collect();
                assert_close(&found, &expected, rounding_bound(tokens.len()));
            }
        }
    }
}

/// From rows `[tokens][heads * d]` to `[heads, tokens, d]`, with the channel `stored(j)` of each head in the place `j`.
fn heads(rows: &[Vec<f64>], stored: fn(usize) -> usize) -> Vec<f64> {
    let head =
        |head| rows.iter().flat_map(move |row| (0..HEAD_DIM).map(move |j| row[head * HEAD_DIM + stored(j)]));
    (0..rows[0].len() / HEAD_DIM).flat_map(head).collect()
}

/// The length that counts is that of the whole sequence, from its first chunk to what follows an eviction.
#[test]
fn longrope_rotates_by_the_room_of_the_first_cache() {
    let synthetic = Synthetic::longrope();
    let model = synthetic.load().unwrap();
    for (room, tokens) in [(LONGROPE_LEN, tokens(LONGROPE_LEN)), (LONGROPE_LEN + 1, tokens(LONGROPE_LEN + 1))]
    {
        let mut cache = model.cache(room).unwrap();
        let found = model.prefill(&tokens, 5, &mut cache, &mut ()).unwrap();
        let expected = naive::run(&synthetic, &tokens).0.pop().unwrap();
        assert_close(&found, &expected, rounding_bound(room));
        assert_eq!(cache.room(), room);
        let evicted = cache.retain(|_, _| &[0, 5], 1).unwrap();
        assert_eq!(evicted.room(), room);
    }
    let [short, long] = [LONGROPE_LEN, LONGROPE_LEN + 1]
        .map(|room| model.prefill(&tokens(20), 20, &mut model.cache(room).unwrap(), &mut ()).unwrap());
    assert_ne!(short, long);
}

#[test]
fn chunked_prefill_agrees_with_unchunked_prefill() {
    for architecture in ARCHITECTURES.iter().map(|row| row.name) {
        let model = Synthetic::new(architecture).load().unwrap();
        let tokens = tokens(33);
        let (whole, _) = prefill(&model, &tokens, tokens.len());
        for chunk_len in [1, 2, 16, 32, 33, 34] {
            let (chunked, cache) = prefill(&model, &tokens, chunk_len);
            assert_eq!(cache.next_position(), tokens.len());
            assert_close(&chunked, &widened(&whole), rounding_bound(tokens.len()));
        }
    }
}

#[test]
fn an_untied_output_matrix_is_used() {
    let mut synthetic = Synthetic::new("llama");
    let (tied, _) = prefill(&synthetic.load().unwrap(), &tokens(3), 3);
    let doubled = (&synthetic.tensors["token_embd.weight"] * 2.0).unwrap();
    synthetic.tensors.insert("output.weight".to_owned(), doubled);
    let (untied, _) = prefill(&synthetic.load().unwrap(), &tokens(3), 3);
    let expected: Vec<_> = tied.iter().map(|logit| 2.0 * logit).collect();
    assert_eq!(untied, expected);
}

#[test]
fn retaining_every_entry_changes_no_bit_of_what_follows() {
    let model = Synthetic::new("llama").load().unwrap();
    let (logits, mut full) = prefill(&model, &tokens(20), 20);
    let everything: Vec<u32> = (0..20).collect();
    let mut retained = full.retain(|_, _| &everything, 5).unwrap();
    let from_full = decode(&model, logits.clone(), 5, &mut full);
    assert_eq!(decode(&model, logits, 5, &mut retained), from_full);
    let next = |cache: &mut KvCache| model.forward(&[7], cache, &mut ()).unwrap().to_vec2::<f32>().unwrap();
    let mut retained = retained.retain(|_, _| &everything, 1).unwrap();
    let mut full = full.retain(|_, _| &everything, 1).unwrap();
    assert_eq!(next(&mut retained), next(&mut full));
}

#[test]
fn a_ragged_cache_keeps_its_entries_and_positions() {
    let model = Synthetic::new("qwen2").load().unwrap();
    let (_, full) = prefill(&model, &tokens(20), 8);
    let lists: [&[u32]; KV_HEADS] = [&[0, 3, 19], &[1, 2, 5, 18, 19]];
    let mut ragged = full.retain(|_, head| lists[head.0], 1).unwrap();
    let hidden = model.forward(&[7], &mut ragged, &mut ()).unwrap();
    assert!(hidden.to_vec2::<f32>().unwrap().concat().iter().all(|x| x.is_finite()));
    assert_eq!(ragged.next_position(), 21);
    for (head, list) in lists.into_iter().enumerate() {
        let (before, after) = (&full.heads(LayerIndex(1))[head], &ragged.heads(LayerIndex(1))[head]);
        assert_eq!(after.len(), list.len() + 1);
        let before = before.keys().unwrap().to_vec2::<f32>().unwrap();
        let after = after.keys().unwrap().to_vec2::<f32>().unwrap();
        for (entry, &position) in list.iter().enumerate() {
            assert_eq!(after[entry], before[position as usize]);
        }
    }
}

/// Passes of other lengths round otherwise.
#[test]
fn capture_holds_the_window_the_cache_and_the_future() {
    let model = Synthetic::new("llama").load().unwrap();
    let tokens = tokens(40);
    let whole = captured(&model, &tokens, CaptureShape { context_len: 40, window_len: 40, future_len: 0 });
    assert_eq!(whole.queries.dim(), (QUERY_HEADS, 40, HEAD_DIM));
    assert_eq!(whole.future_queries.dim(), (QUERY_HEADS, 0, HEAD_DIM));
    let split = captured(&model, &tokens, CaptureShape { context_len: 30, window_len: 4, future_len: 10 });
    let assert_close = |found: &Array3<f32>, expected: ndarray::ArrayView3<'_, f32>| {
        assert_eq!(found.dim(), expected.dim());
        let close = |(one, two): (&f32, &f32)| (one - two).abs() <= 1e-5 * (1.0 + two.abs());
        assert!(found.iter().zip(expected.iter()).all(close), "{found} for {expected}");
    };
    assert_close(&split.keys, whole.keys.view());
    assert_close(&split.values, whole.values.view());
    let rows = |from: usize, to: usize| whole.queries.slice(ndarray::s![.., from..to, ..]);
    assert_close(&split.queries, rows(26, 30));
    assert_close(&split.future_queries, rows(30, 40));
}

/// The first layer's keys and values are those of f32, rounded once; everything after them is off by the greater unit.
#[test]
fn a_cache_of_f16_rounds_keys_and_values_and_takes_half_the_bytes() {
    let tokens = tokens(40);
    let shape = CaptureShape { context_len: 40, window_len: 4, future_len: 0 };
    for synthetic in [Synthetic::new("llama"), Synthetic::new("olmo2")] {
        let (wide, narrow) =
            (synthetic.load().unwrap(), synthetic.load().unwrap().with_cache_dtype(CacheDtype::F16));
        let first = |model: &Model| {
            capture(model, &tokens, shape, Wanted::NOTHING, &mut ()).unwrap().layer(LayerIndex(0)).unwrap()
        };
        let (expected, found) = (first(&wide), first(&narrow));
        let rounded = |numbers: &Array3<f32>| numbers.mapv(|x| f16::from_f32(x).to_f32());
        assert!(found.keys == rounded(&expected.keys) && found.values == rounded(&expected.values));
        assert!(found.keys != expected.keys && found.queries == expected.queries);
        let [wide_bytes, narrow_bytes] =
            [&wide, &narrow].map(|model| prefill(model, &tokens, 16).1.allocated_bytes());
        assert_eq!(narrow_bytes * 2, wide_bytes);

        let (logits, _) = prefill(&narrow, &tokens, 16);
        let (exact, _) = naive::run(&synthetic, &tokens);
        let units = f64::from(f16::EPSILON.to_f32()) / f64::from(f32::EPSILON);
        assert_close(&logits, exact.last().unwrap(), units * rounding_bound(tokens.len()));
        assert_ne!(logits, prefill(&wide, &tokens, 16).0);
    }
}

/// One model in both orders of the rotary channels: llama's rows `2j` and `2j + 1` of a head are qwen2's `j` and
/// `j + d/2`.
#[test]
fn both_rotary_layouts_give_the_same_activations() {
    let (llama, mut qwen2) = (Synthetic::new("llama"), Synthetic::new("qwen2"));
    qwen2.tensors.clone_from(&llama.tensors);
    for (name, tensor) in &mut qwen2.tensors {
        if name.contains("attn_q") || name.contains("attn_k") {
            let rows: Vec<Vec<f32>> = tensor.to_vec2().unwrap();
            let stored = |row: usize| {
                let (head, channel) = (row / HEAD_DIM, row % HEAD_DIM);
                head * HEAD_DIM + 2 * (channel % (HEAD_DIM / 2)) + channel / (HEAD_DIM / 2)
            };
            let halves: Vec<_> = (0..rows.len()).map(|row| rows[stored(row)].clone()).collect();
            *tensor = Tensor::new(halves, &Device::Cpu).unwrap();
        }
    }
    let shape = CaptureShape { context_len: 30, window_len: 4, future_len: 10 };
    let [llama, qwen2] = [llama, qwen2].map(|model| captured(&model.load().unwrap(), &tokens(40), shape));
    assert_eq!(llama, qwen2);
}

fn captured(model: &Model, tokens: &[u32], shape: CaptureShape) -> CapturedLayer {
    let mut done = Vec::new();
    let sample =
        capture(model, tokens, shape, Wanted::NOTHING, &mut Progress(|tokens| done.push(tokens))).unwrap();
    let parts = [shape.context_len, shape.future_len];
    assert_eq!(done, parts.into_iter().filter(|&len| len > 0).collect::<Vec<_>>());
    sample.layer(LayerIndex(1)).unwrap()
}

#[test]
fn capture_refuses_what_it_cannot_take() {
    let model = Synthetic::new("llama").load().unwrap();
    let refusal = |context_len, window_len, future_len| {
        let shape = CaptureShape { context_len, window_len, future_len };
        capture(&model, &tokens(100), shape, Wanted::NOTHING, &mut ()).err().unwrap()
    };
    assert!(matches!(refusal(60, 8, 41), Error::ShortText { needed: 101, found: 100 }));
    assert!(matches!(refusal(60, 8, usize::MAX), Error::ShortText { .. }));
    assert!(matches!(refusal(60, 0, 0), Error::Request { quantity: Quantity::Window, .. }));
    assert!(matches!(refusal(60, 61, 0), Error::Request { quantity: Quantity::Window, .. }));
    assert!(matches!(refusal(60, 8, 5), Error::Request { quantity: Quantity::Tokens, found: 65, .. }));
}

#[test]
fn a_sequence_is_not_longer_than_the_sliding_window() {
    let mut synthetic = Synthetic::new("llama");
    for (window, most) in [(0, None), (CONTEXT_LEN, None), (CONTEXT_LEN - 1, Some("sliding window 63"))] {
        synthetic.set_own("attention.sliding_window", Value::U32(u32::try_from(window).unwrap()));
        let refusal = synthetic.load().unwrap().cache(CONTEXT_LEN).err().map(|refusal| refusal.to_string());
        let expected =
            most.map(|most| format!("tokens: expected at most the model's {most}, found {CONTEXT_LEN}"));
        assert_eq!(refusal, expected);
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let model = Synthetic::new("llama").load().unwrap();
    let mut cache = model.cache(4).unwrap();
    assert!(matches!(model.prefill(&[], 8, &mut cache, &mut ()), Err(Error::Request { .. })));
    assert!(matches!(model.prefill(&[1], 0, &mut cache, &mut ()), Err(Error::Request { .. })));
    assert!(matches!(model.prefill(&[9999], 8, &mut cache, &mut ()), Err(Error::Compute(_))));
    let mut cache = model.cache(4).unwrap();
    assert!(matches!(model.prefill(&tokens(5), 8, &mut cache, &mut ()), Err(Error::Compute(_))));
    assert!(matches!(model.chat().render("Hello"), Err(Error::Chat { .. })));
}

#[test]
fn activations_that_are_not_finite_are_refused_by_their_layer() {
    let mut synthetic = Synthetic::new("llama");
    for name in ["blk.1.ffn_up.weight", "blk.1.ffn_down.weight"] {
        let huge = (&synthetic.tensors[name] * 1e30).unwrap();
        synthetic.tensors.insert(name.to_owned(), huge);
    }
    let model = synthetic.load().unwrap();
    let refusal = model.prefill(&tokens(20), 8, &mut model.cache(20).unwrap(), &mut ()).unwrap_err();
    assert_eq!(refusal.to_string(), "layer 1, tokens 0..8: the model computes NaN or infinity");
    let sound = Synthetic::new("llama").load().unwrap();
    let mut decoding = continuations(&sound);
    let refusal = model.decode_all(&mut decoding, 8).unwrap_err();
    assert_eq!(refusal.to_string(), "layer 1, tokens 20..21: the model computes NaN or infinity");
}

#[test]
fn decoding_stops_at_the_end_token_and_at_the_limit() {
    let model = Synthetic::new("llama").load().unwrap();
    let decode_all = |logits: &[f32], cache| {
        let mut sequence = [Continuation { logits: logits.to_vec(), cache }];
        let answer = model.decode_all(&mut sequence, 6).unwrap().concat();
        (answer, sequence[0].cache.next_position())
    };
    let (mut logits, cache) = prefill(&model, &tokens(9), 9);
    let (answer, _) = decode_all(&logits, cache);
    assert!(!answer.is_empty() && answer.len() <= 6);
    assert_eq!(answer, decode(&model, logits.clone(), 6, &mut prefill(&model, &tokens(9), 9).1));

    logits[EOS as usize] = f32::MAX;
    assert_eq!(decode_all(&logits, prefill(&model, &tokens(9), 9).1), (Vec::new(), 9));
}

/// What is left of a prefilled prompt of 20 tokens in four evictions, each with room for more.
fn continuations(model: &Model) -> Vec<Continuation> {
    let (logits, full) = prefill(model, &tokens(20), 8);
    let lists: [&[u32]; 4] = [&[0, 1, 2, 17, 18, 19], &[5, 19], &[0, 3, 4, 8, 12, 19], &[19]];
    let cache = |list: &&[u32]| full.retain(|_, _| list, 10).unwrap();
    lists.iter().map(|list| Continuation { logits: logits.clone(), cache: cache(list) }).collect()
}

#[test]
fn sequences_that_go_on_together_go_on_as_they_do_alone() {
    for architecture in ARCHITECTURES.iter().map(|row| row.name) {
        let model = Synthetic::new(architecture).load().unwrap();
        let mut together = continuations(&model);
        let answers = model.decode_all(&mut together, 8).unwrap();
        let mut distinct = answers.clone();
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() > 1, "evictions that all answer alike show nothing");
        for (index, mut alone) in continuations(&model).into_iter().enumerate() {
            let answer = model.decode_all(std::slice::from_mut(&mut alone), 8).unwrap();
            assert_eq!(answer, [answers[index].clone()]);
            assert_eq!(alone.logits, together[index].logits, "to the bit");
            assert_eq!(alone.cache.next_position(), together[index].cache.next_position());
        }
    }
}

#[test]
fn segments_agree_with_a_forward_pass_of_each_sequence() {
    let model = Synthetic::new("llama").load().unwrap();
    let further: [&[u32]; 4] = [&[3, 1, 4], &[1], &[5, 9, 2, 6], &[5, 3]];
    let mut together = continuations(&model);
    let segments = together.iter_mut().zip(further);
    let mut segments: Vec<Segment> =
        segments.map(|(sequence, tokens)| Segment { tokens, cache: &mut sequence.cache }).collect();
    let hidden = model.forward_segments(&mut segments, &mut ()).unwrap();
    let mut first = 0;
    for ((mut alone, tokens), together) in continuations(&model).into_iter().zip(further).zip(&together) {
        let expected = model.forward(tokens, &mut alone.cache, &mut ()).unwrap();
        let found = hidden.narrow(0, first, tokens.len()).unwrap();
        let [found, expected] = [found, expected].map(|rows| rows.to_vec2::<f32>().unwrap().concat());
        assert_close(&found, &widened(&expected), rounding_bound(24));
        assert_eq!(together.cache.next_position(), 20 + tokens.len());
        first += tokens.len();
    }
}

#[test]
fn eviction_frees_the_memory_of_what_it_evicts() {
    let model = Synthetic::new("llama").load().unwrap();
    let (_, full) = prefill(&model, &tokens(20), 20);
    let entry = 2 * HEAD_DIM * size_of::<f32>();
    assert_eq!(full.allocated_bytes(), LAYERS * KV_HEADS * CONTEXT_LEN * entry);
    let lists: [&[u32]; KV_HEADS] = [&[0, 3, 19], &[1, 2, 5, 18, 19]];
    let ragged = full.retain(|_, head| lists[head.0], 4).unwrap();
    assert_eq!(ragged.allocated_bytes(), LAYERS * (3 + 4 + 5 + 4) * entry);
}

#[test]
fn the_output_projection_is_stored_as_pytorch_stores_it() {
    let synthetic = Synthetic::new("llama");
    let projection = synthetic.load().unwrap().output_projection(LayerIndex(1)).unwrap();
    assert_eq!(projection.dim(), (HIDDEN_DIM, QUERY_HEADS * HEAD_DIM));
    assert_eq!(projection.as_slice().unwrap(), synthetic.elements("blk.1.attn_output.weight"));
}

#[test]
fn text_survives_the_tokenizer() {
    let mut synthetic = Synthetic::new("qwen2");
    for add_bos in [false, true] {
        synthetic.set("tokenizer.ggml.bos_token_id", Value::U32(EOS));
        synthetic.set("tokenizer.ggml.add_bos_token", Value::Bool(add_bos));
        let model = synthetic.load().unwrap();
        let text = "It's 1851,\n  naïve 鯨";
        let tokens = model.tokenizer().encode(text).unwrap();
        assert_eq!(tokens.len(), text.len() + usize::from(add_bos));
        assert_eq!(tokens[0] == EOS, add_bos);
        assert_eq!(model.tokenizer().decode(&tokens).unwrap(), text);
        assert_eq!(model.tokenizer().encode("<|end|>").unwrap().last(), Some(&EOS));
    }
}
