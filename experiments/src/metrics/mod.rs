//! Scores of answers, from 0 to 1: the measures of LongBench (arXiv 2308.14508) and RULER (arXiv 2404.06654).
//!
//! Each computes the same as the benchmark's own program, quirks included, so that scores can be compared with published
//! ones. With several references LongBench takes the best score, and RULER counts every reference.

mod classification;
mod code_similarity;
mod containment;
mod count;
mod matching_blocks;
mod prefix;
mod python;
mod qa_f1;
mod retrieval;
mod rouge_l;

/// A way to score an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// F1 of the words, as a multiset.
    QaF1,
    /// F of the words in longest common subsequences.
    RougeL,
    /// Whether the answer names the right class, divided by the number of classes that it names.
    Classification {
        /// All classes.
        classes: Vec<String>,
    },
    /// The share of the answer's numbers that are the number of the right paragraph.
    Retrieval,
    /// The share of the answer's numbers that are the right one.
    Count,
    /// The similarity of two lines of code.
    CodeSimilarity,
    /// The share of references that the answer contains.
    ContainsAll,
    /// Whether the answer contains any reference.
    ContainsAny,
    /// Another metric, on the answer's first line that is not empty.
    FirstLine(Box<Metric>),
}

impl Metric {
    /// The metric's name in tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::QaF1 => "qa-f1",
            Self::RougeL => "rouge-l",
            Self::Classification { .. } => "classification",
            Self::Retrieval => "retrieval",
            Self::Count => "count",
            Self::CodeSimilarity => "code-similarity",
            Self::ContainsAll => "contains-all",
            Self::ContainsAny => "contains-any",
            Self::FirstLine(metric) => metric.name(),
        }
    }

    /// Partial credit beside the score, by its own name: `prefix` for a single text that counts only as a whole.
    #[must_use]
    pub fn partial(&self, answer: &str, references: &[String]) -> Option<(&'static str, f64)> {
        match (self, references) {
            (Self::ContainsAll, [reference]) => Some(("prefix", prefix::score(answer, reference))),
            _ => None,
        }
    }

    /// The score of an answer, 0 without references.
    #[must_use]
    pub fn score(&self, answer: &str, references: &[String]) -> f64 {
        let best = |score: &dyn Fn(&str, &str) -> f64| {
            references.iter().map(|reference| score(answer, reference)).fold(0.0, f64::max)
        };
        match self {
            Self::QaF1 => best(&qa_f1::score),
            Self::RougeL => best(&rouge_l::score),
            Self::Classification { classes } => {
                best(&|answer, reference| classification::score(answer, reference, classes))
            }
            Self::Retrieval => best(&retrieval::score),
            Self::Count => best(&count::score),
            Self::CodeSimilarity => best(&code_similarity::score),
            Self::ContainsAny => best(&containment::score),
            Self::ContainsAll => {
                let scores = references.iter().map(|reference| containment::score(answer, reference));
                scores.sum::<f64>() / references.len().max(1) as f64
            }
            Self::FirstLine(metric) => metric.score(python::first_line(answer), references),
        }
    }
}
