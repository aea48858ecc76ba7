//! The real model, if it is there, and greedy decoding token by token.

use std::sync::LazyLock;

use laprox_experiments::model::{KvCache, Model, ModelFile, PREFILL_CHUNK, WeightForm};

/// SmolLM2-135M-Instruct, if `LAPROX_MODEL` names its wheel or GGUF file. With `LAPROX_REQUIRE_MODEL=1` its absence
/// is a failure.
pub static MODEL: LazyLock<Option<Model>> = LazyLock::new(|| {
    let Some(path) = std::env::var_os("LAPROX_MODEL") else {
        let required = std::env::var("LAPROX_REQUIRE_MODEL").is_ok_and(|required| required == "1");
        assert!(!required, "LAPROX_REQUIRE_MODEL is set, but LAPROX_MODEL is not");
        eprintln!("skipped: LAPROX_MODEL does not name SmolLM2-135M-Instruct");
        return None;
    };
    let file = ModelFile::open(path).unwrap();
    assert_eq!(file.name(), "SmolLM2-135M-Instruct");
    Some(Model::load(&file, WeightForm::Stored).unwrap())
});

/// The greedy answer to a prompt.
pub fn generate(model: &Model, prompt: &[u32], max_new: usize) -> Vec<u32> {
    let mut cache = model.cache(prompt.len() + max_new).unwrap();
    let logits = model.prefill(prompt, PREFILL_CHUNK, &mut cache, &mut ()).unwrap();
    decode(model, logits, max_new, &mut cache)
}

/// The greedy answer from the logits after the last token in `cache`.
pub fn decode(model: &Model, mut logits: Vec<f32>, max_new: usize, cache: &mut KvCache) -> Vec<u32> {
    let mut answer = Vec::new();
    while answer.len() < max_new {
        let best =
            (0..logits.len()).reduce(|best, next| if logits[next] > logits[best] { next } else { best });
        let token = best.unwrap() as u32;
        if model.tokenizer().ends(token) {
            break;
        }
        answer.push(token);
        logits = model.prefill(&[token], 1, cache, &mut ()).unwrap();
    }
    answer
}
