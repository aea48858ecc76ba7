//! The metrics: by hand, and against LongBench's own program.

use laprox_experiments::metrics::Metric;

fn score(metric: &Metric, answer: &str, references: &[&str]) -> f64 {
    metric.score(answer, &references.iter().map(|&reference| reference.to_owned()).collect::<Vec<_>>())
}

fn classification(classes: &[&str]) -> Metric {
    Metric::Classification { classes: classes.iter().map(|&class| class.to_owned()).collect() }
}

fn all() -> Vec<Metric> {
    let first_line = Metric::FirstLine(Box::new(Metric::QaF1));
    vec![
        Metric::QaF1,
        Metric::RougeL,
        classification(&["sea"]),
        Metric::Retrieval,
        Metric::Count,
        Metric::CodeSimilarity,
        Metric::ContainsAll,
        Metric::ContainsAny,
        first_line,
    ]
}

#[derive(serde::Deserialize)]
struct Row {
    metric: String,
    answer: String,
    reference: String,
    score: f64,
    classes: String,
}

#[test]
fn scores_equal_those_of_longbench_to_the_bit() {
    let mut reader = csv::Reader::from_reader(include_str!("longbench_metrics.csv").as_bytes());
    let mut compared = std::collections::BTreeMap::<String, usize>::new();
    for row in reader.deserialize() {
        let row: Row = row.unwrap();
        let classes: Vec<&str> = row.classes.split('|').collect();
        let metrics = all().into_iter().map(|metric| match metric {
            Metric::Classification { .. } => classification(&classes),
            other => other,
        });
        let metric = metrics.into_iter().find(|metric| metric.name() == row.metric).unwrap();
        let found = score(&metric, &row.answer, &[&row.reference]);
        assert_eq!(found, row.score, "{}: {:?} for {:?}", row.metric, row.answer, row.reference);
        *compared.entry(row.metric).or_default() += 1;
    }
    assert!(compared.len() == 6 && compared.values().all(|&count| count >= 19), "{compared:?}");
}

#[test]
fn scores_lie_between_zero_and_one() {
    let texts =
        ["", " ", ".", "\n", "sea", "Paragraph 3", "3", "a", "the sea. 海", "\u{301}", "#", "`x`", "Σ", "ß3"];
    for metric in all() {
        for answer in texts {
            for reference in texts {
                let score = score(&metric, answer, &[reference, "sea"]);
                assert!((0.0..=1.0).contains(&score), "{metric:?}: {score} for {answer:?}, {reference:?}");
            }
        }
    }
}

#[test]
fn without_references_or_answer_nothing_is_right() {
    for metric in all() {
        assert_eq!(score(&metric, "sea 3", &[]), 0.0, "{metric:?}");
        assert_eq!(score(&metric, "", &["Paragraph 3"]), 0.0, "{metric:?}");
    }
}

#[test]
fn the_best_reference_counts() {
    assert_eq!(score(&Metric::QaF1, "white whale", &["ship", "whale", "boat"]), 2.0 / 3.0);
    assert_eq!(score(&Metric::Count, "7", &["6", "7"]), 1.0);
    assert_eq!(score(&Metric::CodeSimilarity, "x = 1", &["", "x = 1"]), 1.0);
}

#[test]
fn qa_f1_is_that_of_word_multisets() {
    let f1 = |precision: f64, recall: f64| 2.0 * precision * recall / (precision + recall);
    // Two of three words are common, and two of four.
    assert_eq!(
        score(&Metric::QaF1, "The whale, the white one!", &["a whale white as snow"]),
        f1(2.0 / 3.0, 0.5)
    );
    // A word counts as often as in both.
    assert_eq!(score(&Metric::QaF1, "no no no", &["no no yes yes"]), f1(2.0 / 3.0, 0.5));
    assert_eq!(score(&Metric::QaF1, "the", &["the"]), 0.0);
    assert_eq!(score(&Metric::QaF1, "STRASSE Ünï", &["strasse ÜNÏ"]), 1.0);
    // Only ASCII punctuation goes, and an article before a combining accent is one to Python.
    assert_eq!(score(&Metric::QaF1, "“whale”", &["whale"]), 0.0);
    assert_eq!(score(&Metric::QaF1, "a\u{301} whale", &["\u{301} whale"]), 1.0);
    assert_eq!(score(&Metric::QaF1, "a-whale", &["a whale"]), 0.0);
}

#[test]
fn rouge_l_counts_different_words_of_common_subsequences() {
    let f = |precision: f64, recall: f64| 2.0 * (precision * recall / (precision + recall + 1e-8));
    // The LCS of "a b c" and "a c d e" is "a c".
    assert_eq!(score(&Metric::RougeL, "a b c", &["a c d e"]), f(2.0 / 3.0, 2.0 / 4.0));
    // The union over sentences: "a", then "b".
    assert_eq!(score(&Metric::RougeL, "a x. b y.", &["b a"]), f(2.0 / 4.0, 2.0 / 2.0));
    // A word that comes twice counts once.
    assert_eq!(score(&Metric::RougeL, "a a a", &["a b"]), f(1.0, 1.0 / 2.0));
    assert_eq!(score(&Metric::RougeL, "...", &["a"]), 0.0);
    assert_eq!(score(&Metric::RougeL, "海 sea", &["sea 海"]), f(1.0 / 2.0, 1.0 / 2.0));
}

#[test]
fn a_class_counts_less_among_others() {
    let metric = classification(&["Food", "Other food", "Food kind", "kind", "Land"]);
    assert_eq!(score(&metric, "Land", &["Land"]), 1.0);
    assert_eq!(score(&metric, "Land or Food", &["Land"]), 0.5);
    assert_eq!(score(&metric, "land", &["Land"]), 0.0);
    // "Food" and "kind" are struck off as parts of the reference.
    assert_eq!(score(&metric, "Food kind", &["Food kind"]), 1.0);
    // With "Food" struck off, the walk passes over "kind".
    assert_eq!(score(&classification(&["Food", "kind", "Food kind"]), "Food kind", &["Food kind"]), 0.5);
}

#[test]
fn numbers_count_among_all_numbers() {
    assert_eq!(score(&Metric::Count, "There are 7, not 8 or 07.", &["7"]), 1.0 / 3.0);
    assert_eq!(score(&Metric::Count, "seven", &["7"]), 0.0);
    assert_eq!(score(&Metric::Count, "7 and ٧", &["7"]), 0.5);
    assert_eq!(score(&Metric::Retrieval, "Paragraph 12, or 3", &["Paragraph 12"]), 0.5);
    assert_eq!(score(&Metric::Retrieval, "12", &["Paragraph twelve", "Paragraph Paragraph 12"]), 1.0);
    assert_eq!(score(&Metric::Retrieval, "12", &["12"]), 0.0);
}

#[test]
fn code_is_compared_by_its_first_line() {
    // "abcd" and "bcde" share "bcd": 2 * 3 / 8.
    assert_eq!(score(&Metric::CodeSimilarity, "abcd", &["bcde"]), 0.75);
    assert_eq!(score(&Metric::CodeSimilarity, "\n\n# x\n// y\nx = `1`\nx = 1\ny = 2", &["x = 1"]), 1.0);
    assert_eq!(score(&Metric::CodeSimilarity, "# x", &[""]), 1.0);
    assert_eq!(score(&Metric::CodeSimilarity, "x", &[""]), 0.0);
    // An empty line further down is a line of code.
    assert_eq!(score(&Metric::CodeSimilarity, "# x\n\nx", &["x"]), 0.0);
    // 2 * 1 / 16 is 12.5 %, and halves go to the even number.
    assert_eq!(score(&Metric::CodeSimilarity, "axxxxxxx", &["ayyyyyyy"]), 0.12);
}

#[test]
fn contained_references_count_in_any_case() {
    assert_eq!(score(&Metric::ContainsAll, "Ahab, STARBUCK", &["ahab", "Starbuck", "Stubb", "Flask"]), 0.5);
    assert_eq!(score(&Metric::ContainsAny, "Ahab, STARBUCK", &["ahab", "Starbuck", "Stubb", "Flask"]), 1.0);
    assert_eq!(score(&Metric::ContainsAny, "Pip", &["Stubb", "Flask"]), 0.0);
    assert_eq!(score(&Metric::ContainsAll, "ÜBER 海", &["über", "海"]), 1.0);
}

#[test]
fn the_first_line_alone_may_count() {
    let metric = Metric::FirstLine(Box::new(Metric::QaF1));
    assert_eq!(metric.name(), "qa-f1");
    assert_eq!(score(&metric, "\n\nwhale\nship", &["whale"]), 1.0);
    assert_eq!(score(&metric, " \nwhale", &["whale"]), 0.0);
}

#[test]
fn a_prefix_counts_the_characters_that_are_right_from_the_beginning() {
    let references = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let partial = |answer: &str| Metric::ContainsAll.partial(answer, &references(&["6110912"]));
    assert_eq!(partial(" 6110912."), Some(("prefix", 1.0)));
    assert_eq!(partial("611."), Some(("prefix", 3.0 / 7.0)));
    assert_eq!(partial("16110912"), Some(("prefix", 0.0)));
    assert_eq!(partial(""), Some(("prefix", 0.0)));
    assert_eq!(Metric::ContainsAll.partial("611", &references(&["6110912", "5"])), None);
    assert_eq!(Metric::QaF1.partial("611", &references(&["6110912"])), None);
}
