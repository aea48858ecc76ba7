//! What the tests ask for, and from whom.

use std::sync::LazyLock;

use candle_core::quantized::gguf_file::Value;
use laprox_experiments::model::Model;
use laprox_experiments::tasks::{Depth, Haystack, Prompt, Request, Task};

use crate::synthetic::Synthetic;

/// A model with a chat template, in which every byte is a token.
pub static BYTES: LazyLock<Model> = LazyLock::new(|| {
    let mut model = Synthetic::new("qwen2");
    let template = "{% for message in messages %}<{{ message.role }}>{{ message.content | trim }}</{{ message.role }}>\
                    {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    model.set("tokenizer.chat_template", Value::String(template.to_owned()));
    model.load().unwrap()
});

/// Two prompts a place from *Moby-Dick*.
pub fn request(context_len: usize, depths: &[u8]) -> Request {
    Request {
        context_len,
        depths: depths.iter().map(|&percent| Depth::new(percent).unwrap()).collect(),
        samples: Some(2),
        limit: None,
        seed: 0,
        haystack: Haystack::moby_dick(),
        data: None,
    }
}

pub fn prompts(task: &str, request: &Request) -> Vec<Prompt> {
    task.parse::<Task>().unwrap().prompts(request, &BYTES).unwrap()
}

/// Why a task refuses a request: one line, and the exit code that it leads to.
pub fn refusal(task: &str, request: &Request) -> (String, u8) {
    let error = task.parse::<Task>().unwrap().prompts(request, &BYTES).unwrap_err();
    (format!("{error:#}"), laprox_experiments::exit::code(&error))
}

/// Sentences of 19 bytes, all different, in paragraphs of seven.
pub fn even_haystack() -> Haystack {
    let sentence = |number: usize| format!("Whale {number:04} goes by.");
    let paragraph = |first: usize| (first..first + 7).map(sentence).collect::<Vec<_>>().join(" ");
    Haystack::new(&(0..100).map(|index| paragraph(7 * index)).collect::<Vec<_>>().join("\n\n")).unwrap()
}

/// The words of a text, separated by single spaces.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
