//! Text to tokens: start tokens, and the rules before BPE.

use candle_core::quantized::gguf_file::Value;
use laprox_experiments::model::Model;

use super::synthetic::{EOS, Synthetic, VOCABULARY_LEN};

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

/// A model whose start token is its end token, with a file that says so much about adding it.
fn model(pre: &str, add_bos: Option<bool>) -> Model {
    let mut model = Synthetic::new("llama");
    model.set("tokenizer.ggml.pre", text(pre));
    model.set("tokenizer.ggml.bos_token_id", Value::U32(EOS));
    model.set("tokenizer.ggml.add_eos_token", Value::Bool(true));
    if let Some(add_bos) = add_bos {
        model.set("tokenizer.ggml.add_bos_token", Value::Bool(add_bos));
    }
    model.load().unwrap()
}

#[test]
fn a_text_has_one_start_token_where_the_file_asks_for_one() {
    for (pre, add_bos, adds) in [
        ("qwen2", None, false),
        ("smollm", None, false),
        ("default", None, false),
        ("llama-bpe", None, true),
        ("llama-bpe", Some(false), false),
        ("tekken", None, true),
        ("gpt-2", None, false),
        ("gpt-4o", None, false),
        ("dbrx", None, false),
        ("qwen2", Some(true), true),
        ("qwen2", Some(false), false),
    ] {
        let model = model(pre, add_bos);
        let starts = |text: &str| {
            let tokens = model.tokenizer().encode(text).unwrap();
            tokens.iter().take_while(|&&token| token == EOS).count()
        };
        assert_eq!(starts("abc"), usize::from(adds), "{pre}, {add_bos:?}");
        assert_eq!(starts(""), usize::from(adds));
        assert_eq!(starts("<|end|>abc"), 1);
        assert_eq!(starts("<|end|><|end|>abc"), 2, "the text's own");
        assert_eq!(model.tokenizer().encode_further("abc").unwrap().len(), 3);
        assert_ne!(model.tokenizer().encode("abc").unwrap().last(), Some(&EOS), "no end token comes last");
    }
}

#[test]
fn a_start_token_that_is_asked_for_has_to_exist() {
    let mut model = Synthetic::new("llama");
    model.set("tokenizer.ggml.pre", text("llama-bpe"));
    let refusal = model.load().err().unwrap().to_string();
    assert!(refusal.contains("bos_token_id': missing"), "{refusal}");
}

/// Texts that are cut in every place: words and special tokens, spaces, characters of several bytes, one long word.
#[test]
fn the_beginning_of_a_text_has_its_first_tokens() {
    let model = with_merges("llama-bpe", &["a b", "ab ab", "Ġ Ġ", "1 2"]);
    let pieces = ["abab abab  12345<|end|>\n\n abb", "鯨は魚ではない。", " \t  ", "abababab"];
    for piece in pieces {
        let text = piece.repeat(40_000 / piece.len());
        let all = model.tokenizer().encode(&text).unwrap();
        for len in [0, 1, 2, 3, 100, 101, 1000, 2000, all.len() - 1, all.len(), all.len() + 1] {
            let (found, added_start) = model.tokenizer().encode_beginning(&text, len).unwrap();
            assert_eq!(found, all[..len.min(all.len())], "{piece}, {len}");
            assert!(!added_start, "the file has no start token");
        }
    }
    let model = self::model("llama-bpe", Some(true));
    let beginning = |text: &str| model.tokenizer().encode_beginning(text, 2).unwrap();
    assert_eq!(beginning("abc"), (vec![EOS, model.tokenizer().encode_further("a").unwrap()[0]], true));
    assert!(!beginning("<|end|>abc").1, "the text's own");
}

/// A model with tokens for a few strings beside those for bytes.
fn with_merges(pre: &str, merges: &[&str]) -> Model {
    let mut model = Synthetic::new("llama");
    model.set("tokenizer.ggml.pre", text(pre));
    model.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
    let lists = [
        ("tokens", merges.iter().map(|merge| text(&merge.replace(' ', ""))).collect()),
        ("merges", merges.iter().map(|merge| text(merge)).collect()),
        ("token_type", vec![Value::I32(1); merges.len()]),
    ];
    for (name, more) in lists {
        let Some(Value::Array(list)) = model.metadata.get_mut(&format!("tokenizer.ggml.{name}")) else {
            panic!("{name} is a list");
        };
        list.extend::<Vec<Value>>(more);
    }
    let table = model.tensors["token_embd.weight"].clone();
    let rows = table.narrow(0, 0, merges.len()).unwrap();
    let longer = candle_core::Tensor::cat(&[&table, &rows], 0).unwrap();
    assert_eq!(longer.dims()[0], VOCABULARY_LEN + merges.len());
    model.tensors.insert("token_embd.weight".to_owned(), longer);
    model.load().unwrap()
}

/// The tokens' texts, with a bar between them.
fn pieces(model: &Model, text: &str) -> String {
    let tokens = model.tokenizer().encode(text).unwrap();
    let piece = |token: &u32| model.tokenizer().decode(&[*token]).unwrap();
    tokens.iter().map(piece).collect::<Vec<_>>().join("|")
}

#[test]
fn each_set_of_rules_cuts_a_text_in_its_own_places() {
    let merges = ["1 2", "12 3", "123 4", "' S", "= =", ". =", "a B", "' s", "a 's"];
    for (pre, expected) in [
        ("smollm", ["1|2|3|4", "'|S", ".=", "aB", "a|'s"]),
        ("qwen2", ["1|2|3|4", "'S", ".=", "aB", "a|'s"]),
        ("deepseek-r1-qwen", ["1|2|3|4", "'S", ".=", "aB", "a|'s"]),
        ("llama-bpe", ["123|4", "'S", ".=", "aB", "a|'s"]),
        ("llama3", ["123|4", "'S", ".=", "aB", "a|'s"]),
        ("dbrx", ["123|4", "'S", ".=", "aB", "a|'s"]),
        ("default", ["123|4", "'|S", ".=", "aB", "a|'|s"]),
        ("gpt-2", ["1234", "'|S", ".=", "aB", "a|'s"]),
        ("olmo", ["1234", "'|S", ".=", "aB", "a|'s"]),
        ("tekken", ["1|2|3|4", "'S", ".=", "a|B", "a|'s"]),
        ("gpt-4o", ["123|4", "'S", ".=", "a|B", "a's"]),
    ] {
        let model = with_merges(pre, &merges);
        let found = ["1234", "'S", ".=", "aB", "a's"].map(|text| pieces(&model, text));
        assert_eq!(found, expected, "{pre}");
        // A special token is one wherever it stands, and cuts what surrounds it.
        assert_eq!(
            model.tokenizer().encode("1<|end|>2'<|end|>S").unwrap().iter().filter(|&&id| id == EOS).count(),
            2
        );
    }
}

#[test]
fn a_piece_that_is_a_token_is_that_token_where_the_rules_ignore_merges() {
    // The merges lead to 'ab' and 'c', or to 'a' and 'bc', but never to 'abc', which 'a bc' would make after 'ab' is taken.
    let merges = ["a b", "b c", "a bc"];
    assert_eq!(pieces(&with_merges("qwen2", &merges), "abc"), "ab|c");
    assert_eq!(pieces(&with_merges("dbrx", &merges), "abc"), "ab|c");
    for pre in ["llama-bpe", "tekken"] {
        assert_eq!(pieces(&with_merges(pre, &merges), "abc"), "abc");
    }
}
