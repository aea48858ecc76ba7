//! SmolLM2-135M-Instruct on generated prompts. Runs where `LAPROX_MODEL` names the wheel or the GGUF file; with
//! `LAPROX_REQUIRE_MODEL=1` its absence is a failure.

use laprox_experiments::tasks::{Request, Task};

use crate::given::{MODEL, generate};
use crate::support::request;

#[test]
fn the_full_cache_answers_the_needle_at_every_depth() {
    let Some(model) = &*MODEL else { return };
    let request = Request { samples: Some(1), ..request(512, &[0, 25, 50, 75, 100]) };
    for prompt in "needle".parse::<Task>().unwrap().prompts(&request, model).unwrap() {
        let text = model.tokenizer().encode(&prompt.render(model.chat()).unwrap().text()).unwrap();
        let answer = generate(model, &text, prompt.max_new_tokens);
        let answer = model.tokenizer().decode(&answer).unwrap();
        assert_eq!(prompt.score(&answer), 1.0, "{}: {answer}", prompt.id);
    }
}

#[test]
fn prompts_fill_the_length_in_the_model_s_own_tokens() {
    let Some(model) = &*MODEL else { return };
    let request = request(1024, &[0, 50, 100]);
    let token_len = |text: &str| model.tokenizer().encode(text).unwrap().len();
    let longest = request.haystack.sentences().map(token_len).max().unwrap();
    for task in ["needle", "needle-multikey", "needle-multivalue", "variable-tracking"] {
        for prompt in task.parse::<Task>().unwrap().prompts(&request, model).unwrap() {
            let count = prompt.count(model).unwrap();
            // White space before a further sentence is part of its first token, or one more.
            assert!(count <= 1024 && count + longest + 1 >= 1024, "{task} {}: {count}", prompt.id);
        }
    }
}

#[test]
fn context_and_question_have_the_same_tokens_apart_as_together() {
    let Some(model) = &*MODEL else { return };
    for task in ["needle", "needle-multivalue", "variable-tracking", "common-words", "frequent-words"] {
        for prompt in task.parse::<Task>().unwrap().prompts(&request(1024, &[100]), model).unwrap() {
            let rendered = prompt.render(model.chat()).unwrap();
            let apart = [&rendered.context, &rendered.question]
                .map(|text| model.tokenizer().encode(text).unwrap())
                .concat();
            assert_eq!(apart, model.tokenizer().encode(&rendered.text()).unwrap(), "{}", prompt.id);
        }
    }
}
