//! The SentencePiece tokenizer on small vocabularies.

use candle_core::quantized::gguf_file::Value;
use candle_core::{DType, Device, Tensor};
use laprox_experiments::model::Model;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::synthetic::{HIDDEN_DIM, Synthetic};

/// The tokens before the bytes' and the pieces.
const SPECIAL: [(&str, i32); 3] = [("<unk>", 2), ("<s>", 3), ("</s>", 3)];
const BOS: u32 = 1;
const EOS: u32 = 2;

/// A model with tokens for bytes, if asked for, and with pieces that have these scores.
fn synthetic(pieces: &[(&str, f32)], bytes: bool) -> Synthetic {
    let bytes = (0..=u8::MAX).filter(|_| bytes).map(|byte| (format!("<0x{byte:02X}>"), 6, 0.0));
    let special = SPECIAL.into_iter().map(|(token, kind)| (token.to_owned(), kind, 0.0));
    let pieces = pieces.iter().map(|&(piece, score)| (piece.to_owned(), 1, score));
    let tokens: Vec<(String, i32, f32)> = special.chain(bytes).chain(pieces).collect();

    let mut model = Synthetic::new("llama");
    let table = Tensor::zeros((tokens.len(), HIDDEN_DIM), DType::F32, &Device::Cpu).unwrap();
    model.tensors.insert("token_embd.weight".to_owned(), table);
    for key in ["pre", "merges"] {
        model.metadata.remove(&format!("tokenizer.ggml.{key}"));
    }
    let list = |value: fn(&(String, i32, f32)) -> Value| Value::Array(tokens.iter().map(value).collect());
    for (key, value) in [
        ("model", Value::String("llama".to_owned())),
        ("tokens", list(|(token, _, _)| Value::String(token.clone()))),
        ("token_type", list(|&(_, kind, _)| Value::I32(kind))),
        ("scores", list(|&(_, _, score)| Value::F32(score))),
        ("bos_token_id", Value::U32(BOS)),
        ("eos_token_id", Value::U32(EOS)),
    ] {
        model.set(&format!("tokenizer.ggml.{key}"), value);
    }
    model
}

/// A few pieces of one character, and longer ones in which `bc` is better than `ab`.
const PIECES: [(&str, f32); 8] = [
    ("▁", -9.0),
    ("a", -8.0),
    ("b", -7.0),
    ("c", -6.0),
    ("ab", -2.0),
    ("bc", -1.0),
    ("▁a", -3.0),
    ("▁▁", -4.0),
];

/// The tokens' texts, as the file has them.
fn pieces(synthetic: &Synthetic, tokens: &[u32]) -> Vec<String> {
    let vocabulary = synthetic.metadata["tokenizer.ggml.tokens"].to_vec().unwrap();
    tokens.iter().map(|&id| vocabulary[id as usize].to_string().unwrap().clone()).collect()
}

#[test]
fn the_pair_with_the_best_score_is_merged_first() {
    let synthetic = synthetic(&PIECES, true);
    let model = synthetic.load().unwrap();
    for (text, expected) in [
        ("abc", &["<s>", "▁a", "bc"][..]),
        ("ab", &["<s>", "▁", "ab"]),
        (" a", &["<s>", "▁", "▁a"]),
        ("a  a", &["<s>", "▁a", "▁", "▁a"]),
        ("", &["<s>"]),
        ("<s>a", &["<s>", "▁a"]),
        ("a</s>a", &["<s>", "▁a", "</s>", "▁a"]),
        ("bé\n", &["<s>", "▁", "b", "<0xC3>", "<0xA9>", "<0x0A>"]),
        ("<0x0A>", &["<s>", "▁", "<0x3C>", "<0x30>", "<0x78>", "<0x30>", "<0x41>", "<0x3E>"]),
    ] {
        assert_eq!(pieces(&synthetic, &model.tokenizer().encode(text).unwrap()), expected, "{text:?}");
    }
}

#[test]
fn a_space_comes_before_a_text_and_not_before_its_continuation() {
    let mut synthetic = synthetic(&PIECES, true);
    synthetic.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
    for (adds_space, first, later) in [(true, "▁a", "▁a"), (false, "a", "a")] {
        synthetic.set("tokenizer.ggml.add_space_prefix", Value::Bool(adds_space));
        let model = synthetic.load().unwrap();
        let tokenizer = model.tokenizer();
        let [whole, further] =
            [tokenizer.encode("a</s>a").unwrap(), tokenizer.encode_further("a</s>a").unwrap()];
        assert_eq!(pieces(&synthetic, &whole), [first, "</s>", later]);
        assert_eq!(pieces(&synthetic, &further), ["a", "</s>", later]);
        assert!(tokenizer.encode_further("").unwrap().is_empty());
        assert_eq!(tokenizer.encode_further("</s>").unwrap(), [EOS]);
    }
}

#[test]
fn text_survives_the_tokenizer() {
    let model = synthetic(&PIECES, true).load().unwrap();
    for text in ["It's 1851,\n  naïve 鯨", " abc", "abc ", ""] {
        let tokens = model.tokenizer().encode(text).unwrap();
        assert_eq!(tokens[0], BOS);
        assert_eq!(model.tokenizer().decode(&tokens).unwrap(), text);
    }
}

#[test]
fn characters_are_unknown_where_bytes_have_no_tokens() {
    let synthetic = synthetic(&PIECES, false);
    let model = synthetic.load().unwrap();
    let tokens = model.tokenizer().encode("axyb").unwrap();
    assert_eq!(pieces(&synthetic, &tokens), ["<s>", "▁a", "<unk>", "b"]);
}

#[test]
fn scores_have_to_fit_and_pieces_to_be_short() {
    let long = "x".repeat(1025);
    let refusal = |model: Synthetic| model.load().err().unwrap().to_string();
    let found = refusal(synthetic(&[(&long, 0.0)], true));
    assert!(found.contains("tokens': expected pieces of at most 1024 bytes, found 1025"), "{found}");
    let mut model = synthetic(&PIECES, true);
    model.set("tokenizer.ggml.scores", Value::Array(vec![Value::F32(0.0)]));
    let found = refusal(model);
    assert!(found.contains("scores': expected one for each of 267 tokens, found 1"), "{found}");
}

/// Merges the best pair, then looks at all pairs again.
fn naive(text: &str, scores: &[(String, f32)]) -> Vec<String> {
    let mut pieces: Vec<String> = text.chars().map(String::from).collect();
    let score =
        |pair: &[String]| scores.iter().find(|(piece, _)| *piece == pair.concat()).map(|found| found.1);
    loop {
        let pairs = pieces.windows(2).enumerate();
        let merges = pairs.filter_map(|(index, pair)| Some((index, score(pair)?)));
        // The first of several that are equal: `max_by` takes the last.
        let Some((index, _)) = merges.rev().max_by(|one, other| one.1.total_cmp(&other.1)) else {
            return pieces;
        };
        let right = pieces.remove(index + 1);
        pieces[index].push_str(&right);
    }
}

/// Random pieces, each of distinct letters: one that overlaps itself could be merged in two orders.
#[test]
fn pieces_agree_with_a_naive_tokenizer() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut merged = 0;
    for _ in 0..20 {
        let mut letters = ["a", "b", "c", "d", "e"];
        let mut vocabulary: Vec<String> = letters.map(str::to_owned).to_vec();
        for _ in 0..60 {
            letters.shuffle(&mut rng);
            let piece = letters[..rng.random_range(2..5)].concat();
            if !vocabulary.contains(&piece) {
                vocabulary.push(piece);
            }
        }
        let scored: Vec<(String, f32)> =
            vocabulary.into_iter().map(|piece| (piece, rng.random_range(-9.0..0.0))).collect();
        let borrowed: Vec<(&str, f32)> =
            scored.iter().map(|(piece, score)| (piece.as_str(), *score)).collect();
        let synthetic = synthetic(&borrowed, true);
        let model: Model = synthetic.load().unwrap();
        let text: String = (0..300).map(|_| *letters.choose(&mut rng).unwrap()).collect();
        let found = pieces(&synthetic, &model.tokenizer().encode_further(&text).unwrap());
        assert_eq!(found, naive(&text, &scored));
        merged += text.len() - found.len();
    }
    assert!(merged > 1000, "texts that hardly merge show nothing");
}
