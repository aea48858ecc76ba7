//! Questions about long texts, with their right answers: they measure the effect of an eviction on a model's answers.
//!
//! ```text
//! NAME -> Task -> prompts(Request, Model) -> Prompt { context, question, references, metric }
//! ```
//!
//! Generated tasks draw their prompts from a seed, a separate stream per prompt, and fill the requested length. The other
//! tasks read a benchmark's files.

mod common_words;
mod depth;
mod frequent_words;
mod generate;
mod haystack;
mod infinitebench;
mod longbench;
mod needle;
mod plain_json;
mod prompt;
mod records;
mod request;
mod ruler;
mod sentences;
mod size;
mod task;
mod truncate;
mod variable_tracking;

pub use depth::Depth;
pub use haystack::Haystack;
pub use prompt::{Facets, Prompt, Rendered};
pub use request::Request;
pub use task::{Argument, Task, TaskEntry};

use common_words::CommonWords;
use frequent_words::FrequentWords;
use generate::generate;
use needle::{Multivalue, Needle};
use variable_tracking::VariableTracking;

use crate::model::Model;

const RULER: &str = "after RULER, arXiv 2404.06654";

/// Every task, in the order of tables.
pub static TASKS: [TaskEntry; 10] = [
    TaskEntry {
        name: "needle",
        argument: Argument::None,
        options: &["depth", "haystack"],
        summary: "the number of a thing, hidden in prose at a depth",
        source: RULER,
        prompts: |task, request, model| needles(task, 1, request, model),
    },
    TaskEntry {
        name: "needle-multikey",
        argument: Argument::None,
        options: &["depth", "haystack"],
        summary: "the same beside three other things with other numbers",
        source: RULER,
        prompts: |task, request, model| needles(task, 4, request, model),
    },
    TaskEntry {
        name: "needle-multivalue",
        argument: Argument::None,
        options: &["haystack"],
        summary: "four numbers of one thing, scattered over prose",
        source: RULER,
        prompts: |task, request, model| generate(task, [Multivalue { values: 4 }], request, model),
    },
    TaskEntry {
        name: "variable-tracking",
        argument: Argument::None,
        options: &["haystack"],
        summary: "the variables that a value reaches over a chain of assignments, scattered over prose",
        source: RULER,
        prompts: |task, request, model| generate(task, [VariableTracking], request, model),
    },
    TaskEntry {
        name: "common-words",
        argument: Argument::None,
        options: &["haystack"],
        summary: "the ten most common words of a long list",
        source: RULER,
        prompts: |task, request, model| generate(task, [CommonWords], request, model),
    },
    TaskEntry {
        name: "frequent-words",
        argument: Argument::None,
        options: &[],
        summary: "the three most frequent words of a coded text",
        source: RULER,
        prompts: |task, request, model| generate(task, [FrequentWords], request, model),
    },
    TaskEntry {
        name: "longbench",
        argument: Argument::OneOf(&longbench::NAMES),
        options: &["data"],
        summary: "a task of LongBench or LongBench-E, from its file",
        source: "arXiv 2308.14508",
        prompts: longbench::prompts,
    },
    TaskEntry {
        name: "infinitebench",
        argument: Argument::None,
        options: &["data"],
        summary: "En.Sum of InfiniteBench: summarise a novel, from its file",
        source: "arXiv 2402.13718",
        prompts: infinitebench::prompts,
    },
    TaskEntry {
        name: "ruler",
        argument: Argument::File,
        options: &[],
        summary: "a file of RULER's generators whose outputs are all asked for, except for its questions (qa)",
        source: "arXiv 2404.06654",
        prompts: ruler::prompts,
    },
    TaskEntry {
        name: "ruler-qa",
        argument: Argument::File,
        options: &[],
        summary: "a file of RULER's generators of which one output suffices",
        source: "arXiv 2404.06654",
        prompts: ruler::qa_prompts,
    },
];

fn needles(task: &Task, keys: usize, request: &Request, model: &Model) -> anyhow::Result<Vec<Prompt>> {
    generate(task, request.depths.iter().map(|&depth| Needle { keys, depth }), request, model)
}
