//! What holds for every task that makes its prompts up.

use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::PI;

use laprox_experiments::tasks::{Haystack, Prompt, Request, Task};
use sha2::{Digest, Sha256};

use crate::support::{BYTES, even_haystack, prompts, refusal, request};

const TASKS: [&str; 6] =
    ["needle", "needle-multikey", "needle-multivalue", "variable-tracking", "common-words", "frequent-words"];

#[test]
fn prompts_never_exceed_the_length_and_are_within_one_sentence_of_it() {
    for context_len in [900, 1500, 2049, 6000] {
        let request = Request { haystack: even_haystack(), ..request(context_len, &[0, 50]) };
        for task in &TASKS[..4] {
            for prompt in prompts(task, &request) {
                let count = prompt.count(&BYTES).unwrap();
                // One more sentence of the even haystack takes 19 bytes and up to two of white space.
                assert!((context_len - 20..=context_len).contains(&count), "{task} {}: {count}", prompt.id);
            }
        }
    }
}

#[test]
fn lists_are_within_one_more_word_of_the_length() {
    for context_len in [1000, 3000, 6000] {
        let request = request(context_len, &[]);
        let words = request.haystack.sentences().flat_map(|sentence| sentence.split(' '));
        // One more word comes up to three times, each behind its number; one more draw may let every rank gain a word.
        let entry = words.map(str::len).max().unwrap() + " 1000. ".len();
        for (task, step) in [("common-words", 3 * entry), ("frequent-words", 7 * (context_len / 50 + 4))] {
            for prompt in prompts(task, &request) {
                let count = prompt.count(&BYTES).unwrap();
                assert!(
                    (context_len - step + 1..=context_len).contains(&count),
                    "{task} {}: {count}",
                    prompt.id
                );
            }
        }
    }
}

#[test]
fn a_length_that_holds_no_prompt_is_refused_with_the_least_that_does() {
    for task in TASKS {
        let mut held = 0;
        for context_len in (0..2000).step_by(50) {
            let request = Request { samples: Some(1), ..request(context_len, &[50]) };
            match task.parse::<Task>().unwrap().prompts(&request, &BYTES) {
                Ok(prompts) => {
                    held += 1;
                    assert!(prompts.iter().all(|prompt| prompt.count(&BYTES).unwrap() <= context_len));
                }
                Err(error) => {
                    let reason = format!("{error:#}");
                    let least = reason
                        .strip_prefix(&format!("{task}: context length: expected at least "))
                        .and_then(|rest| rest.strip_suffix(&format!(" tokens, found {context_len}")));
                    let least: usize = least.unwrap_or_else(|| panic!("{reason}")).parse().unwrap();
                    assert!(least > context_len, "{reason}");
                }
            }
        }
        assert!((1..40).contains(&held), "{task}");
    }
}

#[test]
fn ids_are_unique_and_stable() {
    let lengths = [2000, 3000];
    for task in TASKS {
        let all: Vec<_> =
            lengths.iter().flat_map(|&len| prompts(task, &request(len, &[0, 25, 100]))).collect();
        let ids: BTreeSet<_> = all.iter().map(|prompt| &prompt.id).collect();
        assert_eq!(ids.len(), all.len());
        let depths = if task == "needle" || task == "needle-multikey" { 3 } else { 1 };
        assert_eq!(all.len(), 2 * 2 * depths);
    }
    let prompts = prompts("needle", &request(2000, &[0, 25]));
    let ids: Vec<_> = prompts.iter().map(|prompt| prompt.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "length2000-depth0-sample0-seed0",
            "length2000-depth0-sample1-seed0",
            "length2000-depth25-sample0-seed0",
            "length2000-depth25-sample1-seed0",
        ]
    );
}

#[test]
fn a_prompt_depends_on_its_own_place_alone() {
    for task in TASKS {
        let all = prompts(task, &request(2000, &[0, 25, 100]));
        let some = prompts(task, &Request { samples: Some(1), ..request(2000, &[25]) });
        assert!(!some.is_empty() && some.iter().all(|prompt| all.contains(prompt)), "{task}");
    }
}

#[test]
fn every_prompt_of_a_task_asks_for_something_else() {
    for task in TASKS {
        let mut all = prompts(task, &request(2000, &[0, 25, 100]));
        all.extend(prompts(task, &request(2001, &[0, 25, 100])));
        all.extend(prompts(task, &Request { seed: 1, ..request(2000, &[0, 25, 100]) }));
        let references: BTreeSet<_> = all.iter().map(|prompt| &prompt.references).collect();
        assert_eq!(references.len(), all.len(), "{task}");
        let ids: BTreeSet<_> = all.iter().map(|prompt| &prompt.id).collect();
        assert_eq!(ids.len(), all.len(), "{task}");
    }
}

#[test]
fn a_seed_asks_for_the_same_for_ever() {
    let first = |task| prompts(task, &request(2000, &[25])).swap_remove(0).references.join(" ");
    let found: Vec<_> = TASKS.into_iter().map(first).collect();
    assert_eq!(
        found,
        [
            "9826753",
            "6349029",
            "6100560 4480340 4664423 3084301",
            "RLMLP IDXMU YABUO VXNKE QFPKG",
            "third spar heart cracked trampling turning drops above phrase blocks",
            "qjtavo eebega muvvjd",
        ]
    );
}

#[test]
fn the_right_answer_scores_one_and_silence_nothing() {
    for task in TASKS {
        for prompt in prompts(task, &request(2000, &[0, 100])) {
            assert_eq!(prompt.score(&prompt.references.join(", ")), 1.0);
            assert_eq!(prompt.score(""), 0.0);
        }
    }
}

/// How often each word comes.
fn frequencies<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut frequencies = BTreeMap::new();
    words.for_each(|word| *frequencies.entry(word).or_default() += 1);
    frequencies
}

#[test]
fn ten_words_are_common_and_all_others_equally_rare() {
    let letters = ["a", "e", "i", "o", "u", "w", "y"];
    let word = |index: usize| [7, 1, 49, 343].map(|place| letters[index / place % 7]).concat();
    let short_words = Haystack::new(&(0..2401).map(word).collect::<Vec<_>>().join(" ")).unwrap();
    for (context_len, common, uncommon) in [(2000, 6, 1), (4095, 6, 1), (4096, 30, 3), (9000, 30, 3)] {
        let request = Request { haystack: short_words.clone(), ..request(context_len, &[]) };
        for prompt in prompts("common-words", &request) {
            let list = prompt.context.split_once("\n\n").unwrap().1;
            let (numbers, words): (Vec<_>, Vec<_>) =
                list.split(' ').enumerate().partition(|(index, _)| index % 2 == 0);
            assert!(numbers.iter().zip(1..).all(|((_, number), expected)| *number == format!("{expected}.")));
            let words = frequencies(words.into_iter().map(|(_, word)| word));
            assert!(
                words
                    .keys()
                    .all(|word| word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_lowercase()))
            );
            let often: BTreeSet<_> =
                words.iter().filter(|(_, count)| **count == common).map(|(word, _)| *word).collect();
            assert_eq!(often, prompt.references.iter().map(String::as_str).collect());
            assert_eq!(often.len(), 10);
            assert!(
                words.len() > 10
                    && words.iter().all(|(word, &count)| often.contains(word) || count == uncommon)
            );
        }
    }
}

#[test]
fn frequencies_of_coded_words_follow_the_inverse_square_of_their_rank() {
    for context_len in [1500, 4000] {
        for prompt in prompts("frequent-words", &request(context_len, &[])) {
            let text = prompt.context.split_once("\n\n").unwrap().1;
            let words = frequencies(text.split(' '));
            let mut ranked: Vec<_> = words.into_iter().map(|(word, count)| (count, word)).collect();
            ranked.sort_unstable_by(|a, b| b.cmp(a));
            let counts: Vec<_> = ranked.iter().map(|(count, _)| *count).collect();
            let law = |draws: usize| {
                let share = |rank: usize| draws as f64 / (rank * rank) as f64 * 6.0 / PI.powi(2);
                // The dots, the three frequent words and one more for 50 tokens.
                let counts = (1..=context_len / 50 + 4).map(|rank| share(rank) as usize);
                counts.take_while(|&count| count > 0).collect::<Vec<_>>()
            };
            assert!((74..context_len).any(|draws| law(draws) == counts), "{ranked:?}");
            assert_eq!(ranked[0].1, "...");
            assert!(ranked[3].0 > ranked[4].0, "the third and the fourth word are equally frequent");
            let frequent: BTreeSet<_> = ranked[1..4].iter().map(|(_, word)| *word).collect();
            assert_eq!(frequent, prompt.references.iter().map(String::as_str).collect());
        }
    }
}

#[test]
fn a_haystack_that_is_too_short_for_its_task_is_refused_or_read_again() {
    assert!(Haystack::new(" \n\n ").is_err());
    let short = Haystack::new("Call me Ishmael. Whales swim, and ships sail over them.").unwrap();
    let request = Request { haystack: short, ..request(2000, &[50]) };
    let again = &prompts("needle", &request)[0];
    assert!(again.context.matches("Call me Ishmael.").count() > 1);
    let (reason, code) = refusal("common-words", &request);
    assert_eq!(reason, "common-words: context length 2000: expected a haystack of more words");
    assert_eq!(code, 2);
}

/// Chinese, Thai without a stop, lower case, words without any, and one word.
#[test]
fn a_haystack_in_any_script_fills_the_length() {
    let texts = [
        "从前有一座山，山上有一座庙。庙里有一个老和尚在讲故事！".repeat(40),
        "กาลครั้งหนึ่งนานมาแล้ว".repeat(60),
        "the sea was calm that day. nobody said a word. ".repeat(60),
        "sea calm day nobody word ".repeat(100),
        "abcdefghij".repeat(200),
        format!("Short. {}", "e\u{301}".repeat(2000)),
    ];
    for text in texts {
        let haystack = Haystack::new(&text).unwrap();
        let text: String = text.split_whitespace().collect();
        for context_len in [900, 2048] {
            let one = Request { samples: Some(1), ..request(context_len, &[0, 50, 100]) };
            let request = Request { haystack: haystack.clone(), ..one };
            for task in &TASKS[..4] {
                for prompt in prompts(task, &request) {
                    let count = prompt.count(&BYTES).unwrap();
                    assert!(
                        (9 * context_len / 10..=context_len).contains(&count),
                        "{task}: {count} of {context_len}"
                    );
                    assert!(
                        prompt.references.iter().all(|answer| prompt.context.matches(answer).count() >= 1)
                    );
                }
            }
            for prompt in prompts("needle", &request) {
                let hidden = prompt.context.split_once("\n\n").unwrap().1;
                let (before, after) = hidden.split_once("The secret number").unwrap();
                let after = after.split_once('.').unwrap().1;
                let [before, after] = [before, after].map(|part| part.split_whitespace().collect::<String>());
                assert!(
                    text.repeat(2).contains(&before) && text.repeat(2).contains(&after),
                    "{before}|{after}"
                );
                let depth = before.len() as f64 / (before.len() + after.len()) as f64;
                let asked = prompt.facets.depth.unwrap().fraction();
                assert!((depth - asked).abs() < 0.13, "{depth} for {asked} of {context_len}");
            }
        }
    }
}

#[test]
fn a_limit_is_spread_over_depths_and_keeps_prompts_as_they_are() {
    let depths = [0, 25, 50, 75, 100];
    let all = prompts("needle", &request(2000, &depths));
    for (limit, places) in [
        (1, vec![(0, 0)]),
        (2, vec![(0, 0), (50, 0)]),
        (5, vec![(0, 0), (25, 0), (50, 0), (75, 0), (100, 0)]),
        (6, vec![(0, 0), (0, 1), (25, 0), (50, 0), (75, 0), (100, 0)]),
        (10, depths.iter().flat_map(|&depth| [(depth, 0), (depth, 1)]).collect()),
        (usize::MAX, depths.iter().flat_map(|&depth| [(depth, 0), (depth, 1)]).collect()),
    ] {
        let some = prompts("needle", &Request { limit: Some(limit), ..request(2000, &depths) });
        let place = |prompt: &Prompt| (prompt.facets.depth.unwrap().percent(), prompt.facets.sample);
        assert_eq!(some.iter().map(place).collect::<Vec<_>>(), places);
        assert!(some.iter().all(|prompt| all.contains(prompt)));
    }
    let some = prompts("variable-tracking", &Request { limit: Some(1), ..request(2000, &[]) });
    assert_eq!(some, prompts("variable-tracking", &request(2000, &[]))[..1]);
}

/// The committed results stand on these sentences.
#[test]
fn the_sentences_of_moby_dick_stay_as_they_are() {
    let sentences: Vec<String> = Haystack::moby_dick().sentences().map(str::to_owned).collect();
    let digest =
        Sha256::digest(sentences.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(sentences.len(), 1137);
    assert_eq!(digest, "d8b9e004fbfd2ba243406095b7aabcfcf70ad52d2fda229e94b3db3c7fee8915");
}

#[test]
fn sentences_end_as_their_script_ends_them() {
    for (text, expected) in [
        ("他来了。她走了！谁？我（她）。", vec!["他来了。", "她走了！", "谁？", "我（她）。"]),
        ("Он ушёл. Она осталась.", vec!["Он ушёл.", "Она осталась."]),
        ("वह गया। वह आई।", vec!["वह गया।", "वह आई।"]),
        ("ذهب. هل عاد؟ نعم.", vec!["ذهب.", "هل عاد؟", "نعم."]),
        ("\u{feff}It ended. so they say", vec!["It ended. so they say"]),
    ] {
        let haystack = Haystack::new(text).unwrap();
        assert_eq!(haystack.sentences().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn sentences_end_where_a_reader_would_end_them() {
    let text = "Mr. Coffin, J. P. Coffin, said so. \"Did he?\" \"He did!\" cried Peleg. It cost $3.50 in all. No. 9 sank.\n\
                She went  down... and rose.\n \nWhat then";
    let haystack = Haystack::new(text).unwrap();
    let sentences: Vec<_> = haystack.sentences().collect();
    assert_eq!(
        sentences,
        [
            "Mr. Coffin, J. P. Coffin, said so.",
            "\"Did he?\"",
            "\"He did!\" cried Peleg.",
            "It cost $3.50 in all.",
            "No. 9 sank.",
            "She went down... and rose.",
            "What then",
        ]
    );
}
