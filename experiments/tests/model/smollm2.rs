//! SmolLM2-135M-Instruct against transformers. Runs where `LAPROX_MODEL` names the wheel or the GGUF file; with
//! `LAPROX_REQUIRE_MODEL=1` its absence is a failure.

use laprox_experiments::eval::{Evictions, Prefilled, evicted_answers, fidelity};
use laprox_experiments::model::{Continuation, Model, Wanted};
use laprox_experiments::tasks::{Depth, Haystack, Request, Task};
use laprox_reference::{Policy, Reference};

use crate::given::{MODEL, generate};

/// Digits, contractions, white space, scripts, combining marks, numerals beyond ASCII and control tokens.
const PAGE: [&str; 10] = [
    "Chapter 1851. Call me Ishmael.  Some years ago--never mind how long precisely--having little or no money,",
    "I thought I'd sail about a little.\tIt's 3.14159 or 2,048 tokens;\r",
    "\r",
    "   \"don't\", they'll, WE'VE   (x_1 += 0x7f)...",
    "    def f(x): return x**2  # 100%",
    "Ünïcödé naïve façade — “quotes” … 日本語のテキスト русский عربى 🐋🐳 e\u{301} é ½ m² ٣",
    "<|im_start|>user",
    "Hello<|im_end|>",
    "<|endoftext|>done ",
    "",
];

/// The ids of the page by transformers' own tokenizer of the same file, with the `Digits` step of SmolLM2's original
/// tokenizer in front: the conversion from GGUF leaves it out, which only shows at the numerals beyond ASCII.
const PAGE_TOKENS: [u32; 173] = [
    7176, 216, 33, 40, 37, 33, 30, 9472, 549, 46588, 30, 216, 2015, 929, 3156, 423, 15661, 1945, 638, 986,
    10031, 423, 32120, 1838, 355, 787, 2478, 28, 198, 57, 2275, 339, 6737, 11930, 563, 253, 1838, 30, 197,
    1589, 506, 216, 35, 30, 33, 36, 33, 37, 41, 355, 216, 34, 28, 32, 36, 40, 17837, 43, 18682, 256, 476,
    12420, 982, 1002, 502, 3060, 28, 26587, 23, 18525, 256, 365, 104, 79, 33, 4519, 216, 32, 104, 39, 86,
    595, 950, 472, 753, 275, 24, 104, 727, 1003, 1792, 828, 34, 216, 907, 216, 33, 32, 32, 21, 198, 142, 246,
    94, 25972, 83, 7466, 84, 2756, 15486, 46494, 40852, 1841, 619, 385, 2346, 573, 5548, 17097, 241, 115,
    40993, 179, 120, 248, 26453, 11100, 224, 10391, 251, 10391, 134, 11100, 226, 216, 9175, 14714, 9382,
    39511, 7872, 24958, 45704, 20602, 31462, 164, 227, 15107, 234, 229, 10813, 234, 128, 297, 151, 219,
    26411, 216, 16738, 283, 19133, 216, 164, 113, 198, 1, 4093, 198, 19556, 2, 198, 0, 22744, 3717,
];

const PROMPT: &str = "The ship sailed from Nantucket in 1851, and";
const PROMPT_TOKENS: [u32; 15] = [504, 5575, 23217, 429, 442, 403, 17041, 281, 216, 33, 40, 37, 33, 28, 284];

/// The five largest logits after the prompt by transformers 5.23 in float32, from the same file.
const PROMPT_LOGITS: [(u32, f32); 5] =
    [(357, 13.562772), (260, 13.330926), (1041, 13.109608), (553, 12.841217), (281, 12.336777)];

/// The largest absolute logit after the prompt.
const LARGEST_LOGIT: f32 = 18.369;

/// Half of f32's rounding step.
const UNIT: f32 = f32::EPSILON / 2.0;

/// How far two orders of summation may move a logit, relative to the largest. The products of a layer sum over 576
/// (q, k, v), 64 (scores), the cache entries, 576 (output), 576 (gate, up) and 1536 (down) terms, so 30 layers chain about
/// 100,000 roundings. They have no common sign: independent ones add up as the square root. Eight of those leave
/// room for what norms and softmax amplify.
const ORDER_BOUND: f32 = 8.0 * 320.0 * UNIT;

fn prefill(model: &Model, tokens: &[u32], chunk_len: usize) -> Vec<f32> {
    let mut cache = model.cache(tokens.len()).unwrap();
    model.prefill(tokens, chunk_len, &mut cache, &mut ()).unwrap()
}

#[test]
fn token_ids_equal_those_of_transformers() {
    let Some(model) = &*MODEL else { return };
    let page = PAGE.join("\n");
    assert_eq!(model.tokenizer().encode(&page).unwrap(), PAGE_TOKENS);
    assert_eq!(model.tokenizer().encode(PROMPT).unwrap(), PROMPT_TOKENS);
    let plain = page.split("<|im_start|>").next().unwrap();
    assert_eq!(model.tokenizer().decode(&model.tokenizer().encode(plain).unwrap()).unwrap(), plain);
}

#[test]
fn logits_equal_those_of_transformers() {
    let Some(model) = &*MODEL else { return };
    let logits = prefill(model, &PROMPT_TOKENS, PROMPT_TOKENS.len());
    let mut ids: Vec<_> = (0..).zip(&logits).map(|(id, _)| id).collect();
    ids.sort_by(|&a: &u32, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    assert_eq!(ids[..5], PROMPT_LOGITS.map(|(id, _)| id));
    for (id, expected) in PROMPT_LOGITS {
        let used = (logits[id as usize] - expected).abs() / (ORDER_BOUND * LARGEST_LOGIT);
        assert!(used <= 1.0, "token {id} uses {used} of the bound");
    }
}

#[test]
fn chunked_prefill_equals_unchunked_prefill() {
    let Some(model) = &*MODEL else { return };
    let whole = prefill(model, &PAGE_TOKENS, PAGE_TOKENS.len());
    let largest = whole.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
    for chunk_len in [1, 64, 172] {
        let chunked = prefill(model, &PAGE_TOKENS, chunk_len);
        for (id, (chunked, whole)) in chunked.iter().zip(&whole).enumerate() {
            let used = (chunked - whole).abs() / (ORDER_BOUND * largest);
            assert!(used <= 1.0, "token {id} in chunks of {chunk_len} uses {used} of the bound");
        }
    }
}

#[test]
fn the_capital_of_france_is_paris() {
    let Some(model) = &*MODEL else { return };
    let text = model.chat().render("What is the capital of France?").unwrap();
    assert_eq!(
        text,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    );
    let prompt = model.tokenizer().encode(&text).unwrap();
    let answer = generate(model, &prompt, 32);
    let answer = model.tokenizer().decode(&answer).unwrap();
    assert!(answer.contains("Paris"), "{answer}");
}

/// How many sequences are decoded together changes no bit of any.
#[test]
fn sequences_that_go_on_together_go_on_as_they_do_alone() {
    let Some(model) = &*MODEL else { return };
    let mut cache = model.cache(PAGE_TOKENS.len()).unwrap();
    let logits = model.prefill(&PAGE_TOKENS, PAGE_TOKENS.len(), &mut cache, &mut ()).unwrap();
    let every: Vec<u32> = (0..PAGE_TOKENS.len() as u32).collect();
    let last = |count: usize| Continuation {
        logits: logits.clone(),
        cache: cache.retain(|_, _| &every[every.len() - count..], 3).unwrap(),
    };
    let mut alone = last(100);
    let answer = model.decode_all(std::slice::from_mut(&mut alone), 4).unwrap();
    for others in [1, 2, 15, 16] {
        let mut together: Vec<_> = (0..others).map(|other| last(20 + other)).chain([last(100)]).collect();
        let answers = model.decode_all(&mut together, 4).unwrap();
        assert_eq!(answers[others], answer[0]);
        assert!(together[others].logits == alone.logits, "{others} others change it");
    }
}

/// Twenty questions, asked before and after an eviction that keeps everything: token for token what the model says that
/// was never evicted, and the logits of the answer's tokens within their rounding.
#[test]
fn an_eviction_that_keeps_everything_answers_as_the_model_does() {
    let Some(model) = &*MODEL else { return };
    let depths = [0, 25, 50, 75, 100].map(|percent| Depth::new(percent).unwrap()).to_vec();
    let haystack = Haystack::moby_dick();
    let request =
        Request { context_len: 200, depths, samples: Some(4), limit: None, seed: 1, haystack, data: None };
    let prompts = "needle".parse::<Task>().unwrap().prompts(&request, model).unwrap();
    assert_eq!(prompts.len(), 20);
    let policies: Vec<Policy> = ["laprox", "random"].map(|policy| policy.parse().unwrap()).to_vec();
    let evictions = Evictions::new(model, &Reference, &policies).unwrap();
    for (index, prompt) in prompts.iter().enumerate() {
        let rendered = prompt.render(model.chat()).unwrap();
        let mut context = model.tokenizer().encode(&rendered.context).unwrap();
        let mut question = model.tokenizer().encode_further(&rendered.question).unwrap();
        let text = [context.as_slice(), &question].concat();
        let expected = generate(model, &text, 8);
        if index % 2 == 0 {
            context.append(&mut question);
        }
        let prefilled = Prefilled::new(model, &context, 32, Wanted::NOTHING, &mut ()).unwrap();
        let evicted = evictions.of(&prefilled, "prompt", &["100%".parse().unwrap()], &[], 0).unwrap();
        for answer in evicted_answers(model, &prefilled, &evicted, &question, 8).unwrap() {
            assert_eq!(answer.tokens, expected, "{}", prompt.id);
        }
        let seen = [question.as_slice(), &expected].concat();
        let sequence = prefilled.evicted(&evicted[0], seen.len()).unwrap();
        let found = fidelity::predictions(model, sequence, &seen).unwrap();
        let whole = prefill(model, &[text.as_slice(), &expected].concat(), text.len() + expected.len());
        let largest = whole.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
        for (id, (found, whole)) in found.last().unwrap().iter().zip(&whole).enumerate() {
            let used = (found - whole).abs() / (ORDER_BOUND * largest);
            assert!(used <= 1.0, "{}, token {id} uses {used} of the bound", prompt.id);
        }
    }
}
