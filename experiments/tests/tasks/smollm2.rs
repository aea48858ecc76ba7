//! SmolLM2-135M-Instruct on generated prompts. Runs where `LAPROX_MODEL` names the wheel or the GGUF file; with
//! `LAPROX_REQUIRE_MODEL=1` its absence is a failure.

use laprox_experiments::model::{Model, ModelFile};
use laprox_experiments::tasks::{Request, Task, Tokens};

use crate::support::request;

fn model() -> Option<Model> {
    let Some(path) = std::env::var_os("LAPROX_MODEL") else {
        let required = std::env::var("LAPROX_REQUIRE_MODEL").is_ok_and(|required| required == "1");
        assert!(!required, "LAPROX_REQUIRE_MODEL is set, but LAPROX_MODEL is not");
        eprintln!("skipped: LAPROX_MODEL does not name SmolLM2-135M-Instruct");
        return None;
    };
    Some(Model::load(&ModelFile::open(path).unwrap()).unwrap())
}

#[test]
fn the_full_cache_answers_the_needle_at_every_depth() {
    let Some(model) = model() else { return };
    let request = Request { samples: Some(1), ..request(512, &[0, 25, 50, 75, 100]) };
    for prompt in "needle".parse::<Task>().unwrap().prompts(&request, &model).unwrap() {
        let text = model.tokenise(&model.render(&prompt).unwrap().text()).unwrap();
        assert!(text.len() <= 512 && text.len() > 384, "{} tokens", text.len());
        let answer = model.generate(&text, prompt.max_new_tokens, |_| {}).unwrap();
        let answer = model.detokenise(&answer).unwrap();
        assert_eq!(prompt.score(&answer), 1.0, "{}: {answer}", prompt.id);
    }
}
