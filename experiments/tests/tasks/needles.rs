//! What is hidden in prose is there, once, where it should be, and nothing else changes.

use laprox_experiments::tasks::{Haystack, Prompt, Request};

use crate::support::{even_haystack, one_line, prompts, request};

const DEPTHS: [u8; 5] = [0, 25, 50, 75, 100];
const HIDING: [&str; 4] = ["needle", "needle-multikey", "needle-multivalue", "variable-tracking"];

/// How a hidden sentence begins.
const MARKS: [&str; 3] = ["The secret number of the ", "One of the secret numbers of the ", "VAR "];

/// The text behind the instruction.
fn text(prompt: &Prompt) -> &str {
    prompt.context.split_once("\n\n").unwrap().1
}

/// The hidden sentences, each with its place in the text without any; and that text.
fn take_out(prompt: &Prompt) -> (Vec<(String, usize)>, String) {
    let mut rest = text(prompt).to_owned();
    let mut hidden = Vec::new();
    while let Some(start) = MARKS.iter().filter_map(|mark| rest.find(mark)).min() {
        let end = start + rest[start..].find('.').unwrap() + 1;
        hidden.push((rest[start..end].to_owned(), start));
        rest.replace_range(start..end, "");
    }
    (hidden, rest)
}

/// The hidden sentences.
fn hidden(prompt: &Prompt) -> Vec<String> {
    take_out(prompt).0.into_iter().map(|(sentence, _)| sentence).collect()
}

#[test]
fn the_needle_is_in_the_context_exactly_once() {
    for prompt in prompts("needle", &request(3000, &DEPTHS)) {
        let number = &prompt.references[0];
        assert!(number.len() == 7 && number.bytes().all(|byte| byte.is_ascii_digit()), "{number}");
        assert_eq!(prompt.context.matches(number.as_str()).count(), 1);
        let hidden = hidden(&prompt);
        let key = hidden[0].strip_prefix("The secret number of the ").unwrap();
        let key = key.strip_suffix(&format!(" is {number}.")).unwrap();
        assert_eq!(prompt.context.matches(key).count(), 1);
        assert!(prompt.question.contains(key) && prompt.answer_prefix.contains(key));
        assert!(
            !prompt.question.contains(number.as_str()) && !prompt.answer_prefix.contains(number.as_str())
        );
    }
}

#[test]
fn the_needle_is_at_the_depth_asked_for() {
    let even = request(3000, &DEPTHS);
    for prompt in prompts("needle", &Request { haystack: even_haystack(), ..even }) {
        let (before, after) = text(&prompt).split_once("The secret number").unwrap();
        let sentences = |text: &str| text.matches("Whale").count() as f64;
        let all = sentences(before) + sentences(after);
        let depth = prompt.facets.depth.unwrap().fraction();
        assert!((sentences(before) - depth * all).abs() <= 0.5, "{}: {before}", prompt.id);
    }
}

#[test]
fn the_needle_is_no_further_from_its_depth_than_half_a_sentence() {
    let request = request(4000, &[0, 10, 33, 50, 90, 100]);
    let longest = request.haystack.sentences().map(|sentence| sentence.chars().count() + 1).max().unwrap();
    for prompt in prompts("needle", &request) {
        let (hidden, rest) = take_out(&prompt);
        let before = one_line(&rest[..hidden[0].1]).chars().count() as f64;
        let all = one_line(&rest).chars().count() as f64;
        let off = (before - prompt.facets.depth.unwrap().fraction() * all).abs();
        assert!(off <= longest as f64 / 2.0 + 1.0, "{}: {off} characters off", prompt.id);
    }
}

#[test]
fn everything_hidden_stands_between_whole_sentences_of_unchanged_prose() {
    for haystack in [request(0, &[]).haystack, even_haystack()] {
        let round = one_line(&haystack.sentences().chain(haystack.sentences()).collect::<Vec<_>>().join(" "));
        for task in HIDING {
            let request = Request { haystack: haystack.clone(), ..request(3000, &DEPTHS) };
            for prompt in prompts(task, &request) {
                let (hidden, rest) = take_out(&prompt);
                assert!(round.contains(&one_line(&rest)), "{}: {rest}", prompt.id);
                for (sentence, start) in hidden {
                    let before = one_line(&rest[..start]);
                    let whole = before.is_empty() || haystack.sentences().any(|end| before.ends_with(end));
                    assert!(whole, "{}: {sentence} comes after {before}", prompt.id);
                }
            }
        }
    }
}

#[test]
fn several_things_have_numbers_and_one_is_asked_for() {
    for prompt in prompts("needle-multikey", &request(3000, &DEPTHS)) {
        let hidden = hidden(&prompt);
        let asked: Vec<_> = hidden.iter().filter(|needle| needle.contains(&prompt.references[0])).collect();
        assert_eq!((hidden.len(), asked.len(), prompt.references.len()), (4, 1, 1));
        let key = |needle: &str| {
            needle.rsplit_once(" is ").unwrap().0["The secret number of the ".len()..].to_owned()
        };
        let mut words: Vec<String> = hidden
            .iter()
            .flat_map(|needle| key(needle).split(' ').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), 8, "the four keys share a word: {words:?}");
        assert!(prompt.question.contains(&key(asked[0])));
    }
}

#[test]
fn one_thing_has_several_numbers_and_all_are_asked_for() {
    for prompt in prompts("needle-multivalue", &request(3000, &DEPTHS)) {
        let hidden = hidden(&prompt);
        assert_eq!((hidden.len(), prompt.references.len()), (4, 4));
        let mut start: Vec<_> = hidden.iter().map(|needle| needle.rsplit_once(" is ").unwrap().0).collect();
        start.dedup();
        assert_eq!(start.len(), 1);
        for number in &prompt.references {
            assert_eq!(prompt.context.matches(number.as_str()).count(), 1);
        }
    }
}

#[test]
fn a_chain_of_assignments_leads_from_the_number_to_every_variable() {
    for prompt in prompts("variable-tracking", &request(3000, &[])) {
        let hidden = hidden(&prompt);
        let assign = |sentence: &String| {
            let (name, value) =
                sentence.trim_end_matches('.').strip_prefix("VAR ").unwrap().split_once(" = ").unwrap();
            (name.to_owned(), value.trim_start_matches("VAR ").to_owned())
        };
        let assignments: Vec<_> = hidden.iter().map(assign).collect();
        assert!(prompt.question.contains(&assignments[0].1) && assignments[0].1.parse::<u32>().is_ok());
        for pair in assignments.windows(2) {
            assert_eq!(pair[1].1, pair[0].0);
        }
        let mut names: Vec<_> = assignments.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, prompt.references);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 5);
    }
}

#[test]
fn sentences_hidden_at_the_same_place_are_all_there_in_their_order() {
    let one_sentence = Haystack::new(&format!("{}.", ["Whale"; 60].join(" "))).unwrap();
    let request = Request { haystack: one_sentence, ..request(900, &DEPTHS) };
    for (task, count) in HIDING.into_iter().zip([1, 4, 4, 5]) {
        for prompt in prompts(task, &request) {
            let hidden = hidden(&prompt);
            assert_eq!(hidden.len(), count);
            assert_eq!(prompt.score(&hidden.join(" ")), 1.0);
            let chain = hidden.iter().filter_map(|sentence| sentence.strip_prefix("VAR "));
            assert!(
                chain.zip(&prompt.references).all(|(sentence, name)| sentence.starts_with(name.as_str()))
            );
        }
    }
}
