//! Benchmarks' files: what becomes of their lines, and which are refused.

use std::fs;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use laprox_experiments::tasks::{Request, Task};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{BYTES, prompts, refusal, request};
use crate::synthetic::Synthetic;

/// Every dataset of LongBench: its answers' greatest length, metric, whether its prompt is a chat turn, what its
/// prompt begins and what it ends with; `{input}` stands for the question.
const LONGBENCH: [(&str, usize, &str, bool, &str, &str); 16] = [
    (
        "narrativeqa",
        128,
        "qa-f1",
        true,
        "You are given a story, which can be either a novel or a movie script, and a question. Answer the question \
         asconcisely as you can, using a single phrase if possible. Do not provide any explanation.\n\nStory: ",
        "\n\nNow, answer the question based on the story asconcisely as you can, using a single phrase if possible. Do \
         not provide any explanation.\n\nQuestion: {input}\n\nAnswer:",
    ),
    (
        "qasper",
        128,
        "qa-f1",
        true,
        "You are given a scientific article and a question. Answer the question as concisely as you can, using a single \
         phrase or sentence if possible. If the question cannot be answered based on the information in the article, \
         write \"unanswerable\". If the question is a yes/no question, answer \"yes\", \"no\", or \"unanswerable\". Do \
         not provide any explanation.\n\nArticle: ",
        "\n\n Answer the question based on the above article as concisely as you can, using a single phrase or sentence \
         if possible. If the question cannot be answered based on the information in the article, write \
         \"unanswerable\". If the question is a yes/no question, answer \"yes\", \"no\", or \"unanswerable\". Do not \
         provide any explanation.\n\nQuestion: {input}\n\nAnswer:",
    ),
    (
        "multifieldqa_en",
        64,
        "qa-f1",
        true,
        "Read the following text and answer briefly.\n\n",
        "\n\nNow, answer the following question based on the above text, only give me the answer and do not output any \
         other words.\n\nQuestion: {input}\nAnswer:",
    ),
    ("hotpotqa", 32, "qa-f1", true, PASSAGES, ABOUT_PASSAGES),
    ("2wikimqa", 32, "qa-f1", true, PASSAGES, ABOUT_PASSAGES),
    ("musique", 32, "qa-f1", true, PASSAGES, ABOUT_PASSAGES),
    (
        "gov_report",
        512,
        "rouge-l",
        true,
        "You are given a report by a government agency. Write a one-page summary of the report.\n\nReport:\n",
        "\n\nNow, write a one-page summary of the report.\n\nSummary:",
    ),
    (
        "qmsum",
        512,
        "rouge-l",
        true,
        "You are given a meeting transcript and a query containing a question or instruction. Answer the query in one or \
         more sentences.\n\nTranscript:\n",
        "\n\nNow, answer the query based on the above meeting transcript in one or more sentences.\n\nQuery: \
         {input}\nAnswer:",
    ),
    (
        "multi_news",
        512,
        "rouge-l",
        true,
        "You are given several news passages. Write a one-page summary of all news. \n\nNews:\n",
        "\n\nNow, write a one-page summary of all the news.\n\nSummary:",
    ),
    (
        "trec",
        64,
        "classification",
        false,
        "Please determine the type of the question below. Here are some examples of questions.\n\n",
        "\n{input}",
    ),
    (
        "triviaqa",
        32,
        "qa-f1",
        false,
        "Answer the question based on the given passage. Only give me the answer and do not output any other words. The \
         following are some examples.\n\n",
        "\n\n{input}",
    ),
    (
        "samsum",
        128,
        "rouge-l",
        false,
        "Summarize the dialogue into a few short sentences. The following are some examples.\n\n",
        "\n\n{input}",
    ),
    (
        "passage_count",
        32,
        "count",
        true,
        "There are some paragraphs below sourced from Wikipedia. Some of them may be duplicates. Please carefully read \
         these paragraphs and determine how many unique paragraphs there are after removing duplicates. In other words, \
         how many non-repeating paragraphs are there in total?\n\n",
        "\n\nPlease enter the final count of unique paragraphs after removing duplicates. The output format should only \
         contain the number, such as 1, 2, 3, and so on.\n\nThe final answer is: ",
    ),
    (
        "passage_retrieval_en",
        32,
        "retrieval",
        true,
        "Here are 30 paragraphs from Wikipedia, along with an abstract. Please determine which paragraph the abstract is \
         from.\n\n",
        "\n\nThe following is an abstract.\n\n{input}\n\nPlease enter the number of the paragraph that the abstract is \
         from. The answer format must be like \"Paragraph 1\", \"Paragraph 2\", etc.\n\nThe answer is: ",
    ),
    ("lcc", 64, "code-similarity", false, "Please complete the code given below. \n", "Next line of code:\n"),
    (
        "repobench-p",
        64,
        "code-similarity",
        false,
        "Please complete the code given below. \n",
        "{input}Next line of code:\n",
    ),
];

const PASSAGES: &str = "Answer the question based on the given passages. Only give me the answer and do not output any \
                        other words.\n\nThe following are given passages.\n";
const ABOUT_PASSAGES: &str = "\n\nAnswer the question based on the given passages. Only give me the answer and do not \
                              output any other words.\n\nQuestion: {input}\nAnswer:";

/// A line that is right for every dataset. Its texts look like parts of a prompt.
fn line() -> serde_json::Value {
    json!({
        "input": "What does {context} say?",
        "context": "Call me {input}.\nÜnïcödé: 海.",
        "answers": ["Paragraph 7", "7"],
        "length": 9,
        "dataset": "any",
        "language": "en",
        "all_classes": ["7", "Paragraph 7"],
        "_id": "0123abcd",
    })
}

/// A request for all lines of the files in a folder.
fn in_folder(folder: &Path) -> Request {
    Request { samples: None, data: Some(folder.to_owned()), ..request(100_000, &[]) }
}

fn write(folder: &Path, file: &str, lines: &[String]) {
    fs::write(folder.join(file), lines.join("\n")).unwrap();
}

#[test]
fn prompts_are_the_official_ones() {
    let folder = TempDir::new().unwrap();
    for (name, max_new_tokens, metric, chat, before, after) in LONGBENCH {
        write(folder.path(), &format!("{name}.jsonl"), &[line().to_string()]);
        let prompt = &prompts(&format!("longbench:{name}"), &in_folder(folder.path()))[0];
        assert_eq!(prompt.context, format!("{before}Call me {{input}}.\nÜnïcödé: 海."));
        assert_eq!(prompt.question, after.replace("{input}", "What does {context} say?"));
        assert_eq!(
            (prompt.chat, prompt.max_new_tokens, prompt.metric.name()),
            (chat, max_new_tokens, metric)
        );
        assert_eq!((prompt.answer_prefix.as_str(), prompt.id.as_str()), ("", "length100000-line1-0123abcd"));
        let rendered = prompt.render(BYTES.chat()).unwrap();
        let text = format!("{}{}", prompt.context, prompt.question);
        let text = if chat { format!("<user>{}</user><assistant>", text.trim()) } else { text };
        assert_eq!(rendered.text(), text);
        assert!(rendered.context.ends_with(&prompt.context));
    }
}

#[test]
fn few_shot_answers_end_with_their_first_line() {
    let folder = TempDir::new().unwrap();
    for (name, _, _, chat, ..) in LONGBENCH {
        write(folder.path(), &format!("{name}.jsonl"), &[line().to_string()]);
        let prompt = &prompts(&format!("longbench:{name}"), &in_folder(folder.path()))[0];
        let further = prompt.score("\nParagraph 7\nno. Paragraph 8, 8, 8");
        let first_alone = ["trec", "triviaqa", "samsum", "lcc", "repobench-p"].contains(&name);
        assert_eq!(further == prompt.score("Paragraph 7"), first_alone, "{name}");
        assert_eq!(first_alone, !chat);
    }
}

#[test]
fn lines_become_prompts_in_their_order() {
    let folder = TempDir::new().unwrap();
    let numbered = |number: usize| {
        let mut line = line();
        line["context"] = json!(format!("Text {number}."));
        line.as_object_mut().unwrap().remove("_id");
        line.to_string()
    };
    fs::create_dir(folder.path().join("data")).unwrap();
    let lines = [numbered(1), String::new(), format!("{}\r", numbered(3)), numbered(4), String::new()];
    write(folder.path(), "data/lcc.jsonl", &lines);
    let all = prompts("longbench:lcc", &in_folder(folder.path()));
    let ids: Vec<_> = all.iter().map(|prompt| (prompt.id.as_str(), prompt.facets.sample)).collect();
    assert_eq!(ids, [("length100000-line1", 1), ("length100000-line3", 3), ("length100000-line4", 4)]);
    assert!(all[1].context.ends_with("Text 3."));
    let some = prompts("longbench:lcc", &Request { samples: Some(2), ..in_folder(folder.path()) });
    assert_eq!(some, all[..2]);
}

#[test]
fn absent_data_is_named_with_where_it_is_published() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().display();
    assert_eq!(
        refusal("longbench:qmsum", &in_folder(folder.path())),
        (
            format!(
                "{place}: expected qmsum.jsonl or data/qmsum.jsonl, found neither; LongBench is published at \
                 https://huggingface.co/datasets/THUDM/LongBench (data.zip)"
            ),
            3
        )
    );
    assert_eq!(
        refusal("infinitebench", &Request { data: None, ..in_folder(folder.path()) }),
        (
            "infinitebench: expected a data folder with longbook_sum_eng.jsonl; InfiniteBench is published at \
             https://huggingface.co/datasets/xinrongzhang2022/InfiniteBench"
                .to_owned(),
            3
        )
    );
    let (reason, code) = refusal(&format!("ruler:{place}/absent.jsonl"), &request(4000, &[]));
    assert!(reason.starts_with(&format!("{place}/absent.jsonl: ")) && code == 3, "{reason}");
}

/// The model's file is to blame, not a line of the data.
#[test]
fn a_template_that_fails_is_blamed_on_the_model() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("hotpotqa.jsonl"), line().to_string()).unwrap();
    let mut model = Synthetic::new("qwen2");
    model.set("tokenizer.chat_template", Value::String("{{ raise_exception('no') }}".to_owned()));
    let task: Task = "longbench:hotpotqa".parse().unwrap();
    let error = task.prompts(&in_folder(folder.path()), &model.load().unwrap()).unwrap_err();
    let reason = format!("{error:#}");
    assert!(reason.contains("tiny.gguf: chat template: ") && !reason.contains("jsonl"), "{reason}");
}

#[test]
fn a_malformed_line_is_refused_by_its_number() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trec.jsonl");
    let changed = |field: &str, value: serde_json::Value| {
        let mut line = line();
        line[field] = value;
        line.to_string().into_bytes()
    };
    let without = |field: &str| {
        let mut line = line();
        line.as_object_mut().unwrap().remove(field);
        line.to_string().into_bytes()
    };
    let doubled = line().to_string().replacen('{', "{\"input\": \"twice\", ", 1).into_bytes();
    for (bad, reason) in [
        (b"{".to_vec(), "column 1: EOF while parsing an object"),
        (b"null".to_vec(), "column 4: invalid type: null"),
        (b"not json".to_vec(), "column 2: expected ident"),
        (b"\"\xff\"".to_vec(), "column 2: invalid unicode code point"),
        (b"{\"input\": \"\xff\"}".to_vec(), "column 12: invalid unicode code point"),
        ([line().to_string(), line().to_string()].concat().into_bytes(), "trailing characters"),
        (without("input"), "missing field `input`"),
        (without("context"), "missing field `context`"),
        (without("answers"), "missing field `answers`"),
        (without("all_classes"), "`all_classes`: expected a list of classes, found none"),
        (changed("all_classes", json!(null)), "`all_classes`: expected a list of classes, found none"),
        (changed("answers", json!([])), "`answers`: expected at least one, found none"),
        (changed("answers", json!("seven")), "invalid type: string \"seven\", expected a sequence"),
        (changed("answers", json!([7])), "invalid type: integer `7`, expected a string"),
        (changed("context", json!(["a", "b"])), "invalid type: sequence, expected a string"),
        (doubled, "duplicate field `input`"),
        (changed("_id", json!([])), "`_id`: column"),
        (changed("answers", json!(["7", 7])), "`answers[1]`: column"),
        (line().to_string().replace("[\"Paragraph 7\",", "[NaN,").into_bytes(), "`answers[0]`: column"),
    ] {
        let good = line().to_string().into_bytes();
        fs::write(&path, [good.as_slice(), b"\n", &bad, b"\n", &good].concat()).unwrap();
        let (found, code) = refusal("longbench:trec", &in_folder(folder.path()));
        let place = format!("{}, line 2: ", path.display());
        assert!(found.starts_with(&place) && found.contains(reason) && !found.contains('\n'), "{found}");
        assert!(code == 2 && !found.contains("line 1"), "{found}");
    }
    fs::write(&path, "\n\n").unwrap();
    let (found, _) = refusal("longbench:trec", &in_folder(folder.path()));
    assert_eq!(found, format!("{}: expected records, found none", path.display()));
}

#[test]
fn lines_are_read_as_python_and_editors_write_them() {
    let folder = TempDir::new().unwrap();
    let plain = line().to_string();
    let lines = [
        format!("\u{feff}{plain}"),
        plain.replace("\"0123abcd\"", "12"),
        plain.replace("\"length\":9", "\"length\":NaN"),
        plain.replace("What does", "What\\ud800 does"),
    ];
    assert!(lines.iter().all(|line| *line != plain), "nothing was changed");
    write(folder.path(), "hotpotqa.jsonl", &lines);
    write(folder.path(), "hotpotqa_e.jsonl", &lines[..1]);
    let all = prompts("longbench:hotpotqa", &in_folder(folder.path()));
    let ids: Vec<_> = all.iter().map(|prompt| prompt.id.rsplit_once('-').unwrap().1).collect();
    assert_eq!(ids, ["0123abcd", "12", "0123abcd", "0123abcd"]);
    assert!(all.iter().all(|prompt| prompt.context == all[0].context));
    assert!(all[3].question.contains("What\u{fffd} does {context} say?"));
    assert_eq!(prompts("longbench:hotpotqa_e", &in_folder(folder.path())), all[..1]);
    let limited = Request { limit: Some(2), ..in_folder(folder.path()) };
    assert_eq!(prompts("longbench:hotpotqa", &limited), all[..2]);
}

#[test]
fn a_text_that_is_too_long_loses_its_middle() {
    let folder = TempDir::new().unwrap();
    let words: Vec<String> = (0..4000).map(|number| format!("海{number}")).collect();
    let mut long = line();
    long["context"] = json!(words.join(" "));
    write(folder.path(), "hotpotqa.jsonl", &[line().to_string(), long.to_string()]);
    write(folder.path(), "triviaqa.jsonl", &[line().to_string(), long.to_string()]);
    for task in ["longbench:hotpotqa", "longbench:triviaqa"] {
        let whole = prompts(task, &in_folder(folder.path()));
        assert!(whole.iter().all(|prompt| !prompt.facets.truncated));
        for context_len in [700, 1001, 20_000] {
            let cut = prompts(task, &Request { context_len, ..in_folder(folder.path()) });
            assert_eq!(cut[0].context, whole[0].context);
            let (cut, whole) = (&cut[1], &whole[1]);
            let count = cut.count(&BYTES).unwrap();
            // Halves of an odd number lose one token, and up to two bytes of a letter become one sign of three.
            assert!((context_len - 6..=context_len).contains(&count), "{count} of {context_len}");
            assert!(cut.facets.truncated);
            assert_eq!(cut.question, whole.question);
            let same = |a: &str, b: &str| {
                a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum::<usize>()
            };
            let reversed = |text: &str| text.chars().rev().collect::<String>();
            let first = same(&cut.context, &whole.context);
            let last = same(&reversed(&cut.context), &reversed(&whole.context)) + cut.question.len();
            assert!(first.abs_diff(last) <= 6, "{first} and {last} of {context_len}");
            assert!(first + last + 12 >= cut.context.len() + cut.question.len());
        }
    }
}

#[test]
fn a_question_longer_than_its_half_is_cut_itself() {
    let folder = TempDir::new().unwrap();
    let mut long = line();
    long["input"] = json!("Who said so? ".repeat(100));
    write(folder.path(), "trec.jsonl", &[long.to_string()]);
    let cut = &prompts("longbench:trec", &Request { context_len: 600, ..in_folder(folder.path()) })[0];
    assert!(cut.context.starts_with("Please determine the type"));
    assert!(cut.question.ends_with("Who said so? ") && cut.question.len() == 300);
    assert!(!cut.question.contains('\n') && cut.facets.truncated);
}

#[test]
fn a_length_without_room_for_any_text_is_refused() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "hotpotqa.jsonl", &[line().to_string()]);
    for context_len in [0, 3, 20] {
        let (reason, code) =
            refusal("longbench:hotpotqa", &Request { context_len, ..in_folder(folder.path()) });
        assert!(
            reason.contains("line 1: context length: expected more than the 24 tokens around the text"),
            "{reason}"
        );
        assert_eq!(code, 2);
    }
}

#[test]
fn files_of_ruler_ask_in_their_last_line() {
    let folder = TempDir::new().unwrap();
    let record = json!({
        "index": 0,
        "input": "A number is hidden.\nThe number is 7.\nWhich number?",
        "outputs": ["7", "eight"],
        "length": 20,
        "answer_prefix": " The number is",
    });
    let plain = json!({ "input": "Which number?\n", "outputs": ["7"] });
    write(folder.path(), "validation.jsonl", &[record.to_string(), plain.to_string()]);
    let path = folder.path().join("validation.jsonl");
    let all = prompts(&format!("ruler:{}", path.display()), &in_folder(folder.path()));
    assert_eq!(all[0].context, "A number is hidden.\nThe number is 7.");
    assert_eq!(
        (all[0].question.as_str(), all[0].answer_prefix.as_str()),
        ("\nWhich number?", "The number is")
    );
    assert!(
        all[0]
            .render(BYTES.chat())
            .unwrap()
            .question
            .ends_with("Which number?</user><assistant>The number is")
    );
    assert_eq!((all[1].context.as_str(), all[1].question.as_str()), ("", "Which number?\n"));
    assert_eq!(all[0].score("It is 7."), 0.5);
    let any = prompts(&format!("ruler-qa:{}", path.display()), &in_folder(folder.path()));
    assert_eq!(any[0].score("It is 7."), 1.0);
    write(folder.path(), "validation.jsonl", &[json!({ "input": "", "outputs": [] }).to_string()]);
    let (reason, _) = refusal(&format!("ruler:{}", path.display()), &in_folder(folder.path()));
    assert!(
        reason.ends_with("validation.jsonl, line 1: `outputs`: expected at least one, found none"),
        "{reason}"
    );
}

/// RULER's own lengths of answers: by its questions, by kvpress' names of tasks, by the place of its files.
#[test]
fn answers_of_ruler_are_as_long_as_ruler_lets_them_be() {
    let folder = TempDir::new().unwrap();
    let of_record = |place: &str, record: serde_json::Value| {
        let path = folder.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, record.to_string()).unwrap();
        prompts(&format!("ruler:{}", path.display()), &in_folder(folder.path())).swap_remove(0)
    };
    let asks = |question: &str| json!({ "input": format!("Text.\n{question}"), "outputs": [7] });
    for (place, record, expected) in [
        ("a.jsonl", asks("Which number?"), (128, "contains-all")),
        ("a.jsonl", asks("What are all the special magic numbers for x?"), (128, "contains-all")),
        (
            "a.jsonl",
            asks("Question: Find all variables that are assigned the value 7 in the text above."),
            (30, "contains-all"),
        ),
        (
            "a.jsonl",
            asks("Question: What are the 10 most common words in the above list?"),
            (120, "contains-all"),
        ),
        (
            "a.jsonl",
            asks("What are the three most frequently appeared words in the above coded text?"),
            (50, "contains-all"),
        ),
        ("vt/validation.jsonl", asks("Which?"), (30, "contains-all")),
        ("cwe.jsonl", asks("Which?"), (120, "contains-all")),
        ("qa_1/validation.jsonl", asks("Which?"), (32, "contains-any")),
    ] {
        let prompt = of_record(place, record);
        assert_eq!((prompt.max_new_tokens, prompt.metric.name()), expected, "{place}: {}", prompt.question);
        assert_eq!(prompt.references, ["7"]);
    }
    let kvpress = json!({
        "context": "Text.\n",
        "question": "Which number?",
        "answer_prefix": " It is",
        "answer": ["7", "eight"],
        "task": "fwe",
        "max_new_tokens": 40,
    });
    let prompt = of_record("kvpress.jsonl", kvpress.clone());
    assert_eq!((prompt.context.as_str(), prompt.question.as_str()), ("Text.\n", "Which number?"));
    assert_eq!((prompt.answer_prefix.as_str(), prompt.max_new_tokens), ("It is", 40));
    assert_eq!(prompt.references, ["7", "eight"]);
    for (task, max_new_tokens, score) in [("fwe", 50, 0.5), ("niah_multikey_1", 128, 0.5), ("qa_2", 32, 1.0)]
    {
        let mut record = kvpress.clone();
        (record["task"], record["max_new_tokens"]) = (json!(task), json!(null));
        let prompt = of_record("kvpress.jsonl", record);
        assert_eq!((prompt.max_new_tokens, prompt.score("It is 7.")), (max_new_tokens, score), "{task}");
    }
    for (field, value, reason) in [
        (
            "max_new_tokens",
            json!(0),
            "`max_new_tokens`: expected 1 to the model's context length 64, found 0",
        ),
        ("max_new_tokens", json!(1_000_000_000_000_u64), "found 1000000000000"),
        ("input", json!("Both."), "expected `input`, or `context` and `question`"),
        ("question", json!(null), "expected `input`, or `context` and `question`"),
    ] {
        let mut record = kvpress.clone();
        record[field] = value;
        write(folder.path(), "bad.jsonl", &[record.to_string()]);
        let task = format!("ruler:{}", folder.path().join("bad.jsonl").display());
        let (found, code) = refusal(&task, &in_folder(folder.path()));
        assert!(found.contains("bad.jsonl, line 1: ") && found.ends_with(reason) && code == 2, "{found}");
    }
}

#[test]
fn novels_of_infinitebench_are_summarised() {
    let folder = TempDir::new().unwrap();
    let record =
        json!({ "id": 0, "context": "Call me Ishmael.", "input": "", "answer": ["A whale."], "options": [] });
    write(folder.path(), "longbook_sum_eng.jsonl", &[record.to_string()]);
    let prompt = &prompts("infinitebench", &in_folder(folder.path()))[0];
    assert_eq!(
        prompt.render(BYTES.chat()).unwrap().text(),
        "<user>Summarize the book below.\n\nCall me Ishmael.\n\nSummary:</user><assistant>"
    );
    assert_eq!((prompt.metric.name(), prompt.max_new_tokens), ("rouge-l", 1200));
    assert_eq!(prompt.references, ["A whale."]);
}
