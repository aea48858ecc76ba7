//! Questions about long texts, with their answers: what evicting does to what a model says.
//!
//! ```text
//! NAME -> Task -> prompts(Request, Tokens) -> Prompt { context, question, references, metric }
//! ```
//!
//! Generated tasks draw everything from a seed, each prompt from a stream of its own, and fill the length asked for.
//! The others read a benchmark's files.

mod common_words;
mod depth;
mod frequent_words;
mod generate;
mod haystack;
mod infinitebench;
mod longbench;
mod needle;
mod prompt;
mod records;
mod request;
mod ruler;
mod sentences;
mod task;
mod tokens;
mod truncate;
mod variable_tracking;

pub use depth::Depth;
pub use haystack::Haystack;
pub use prompt::{Facets, Prompt, Rendered};
pub use request::Request;
pub use task::{Argument, Task, TaskEntry};
pub use tokens::Tokens;

use common_words::CommonWords;
use frequent_words::FrequentWords;
use generate::generate;
use needle::{Multivalue, Needle};
use variable_tracking::VariableTracking;

const RULER: &str = "after RULER, arXiv 2404.06654";

/// Every task, in the order in which tables list them.
pub static TASKS: [TaskEntry; 10] = [
    TaskEntry {
        name: "needle",
        argument: Argument::None,
        summary: "the number of a thing, hidden in prose at a depth",
        source: RULER,
        prompts: |task, request, tokens| needles(task, 1, request, tokens),
    },
    TaskEntry {
        name: "needle-multikey",
        argument: Argument::None,
        summary: "the same beside three other things with other numbers",
        source: RULER,
        prompts: |task, request, tokens| needles(task, 4, request, tokens),
    },
    TaskEntry {
        name: "needle-multivalue",
        argument: Argument::None,
        summary: "four numbers of one thing, scattered over prose",
        source: RULER,
        prompts: |task, request, tokens| generate(task, [Multivalue { values: 4 }], request, tokens),
    },
    TaskEntry {
        name: "variable-tracking",
        argument: Argument::None,
        summary: "the variables that a value reaches over a chain of assignments, scattered over prose",
        source: RULER,
        prompts: |task, request, tokens| generate(task, [VariableTracking], request, tokens),
    },
    TaskEntry {
        name: "common-words",
        argument: Argument::None,
        summary: "the ten most common words of a long list",
        source: RULER,
        prompts: |task, request, tokens| generate(task, [CommonWords], request, tokens),
    },
    TaskEntry {
        name: "frequent-words",
        argument: Argument::None,
        summary: "the three most frequent words of a coded text",
        source: RULER,
        prompts: |task, request, tokens| generate(task, [FrequentWords], request, tokens),
    },
    TaskEntry {
        name: "longbench",
        argument: Argument::OneOf(&longbench::NAMES),
        summary: "a task of LongBench, from its file",
        source: "arXiv 2308.14508",
        prompts: longbench::prompts,
    },
    TaskEntry {
        name: "infinitebench",
        argument: Argument::None,
        summary: "En.Sum of InfiniteBench: summarise a novel, from its file",
        source: "arXiv 2402.13718",
        prompts: infinitebench::prompts,
    },
    TaskEntry {
        name: "ruler",
        argument: Argument::File,
        summary: "a file of RULER's generators whose outputs are all asked for",
        source: "arXiv 2404.06654",
        prompts: ruler::prompts,
    },
    TaskEntry {
        name: "ruler-qa",
        argument: Argument::File,
        summary: "a file of RULER's generators of which one output suffices",
        source: "arXiv 2404.06654",
        prompts: ruler::qa_prompts,
    },
];

fn needles(task: &Task, keys: usize, request: &Request, tokens: &dyn Tokens) -> anyhow::Result<Vec<Prompt>> {
    generate(task, request.depths.iter().map(|&depth| Needle { keys, depth }), request, tokens)
}
