//! `laprox tasks`

use anyhow::Result;
use serde::Serialize;

use crate::cli::Common;
use crate::eval::task::TEXT_TASKS;
use crate::output::{Sink, pretty};
use crate::table::Table;
use crate::tasks::{Argument, TASKS};

/// One task, for tables and JSON.
#[derive(Serialize)]
struct Line {
    task: &'static str,
    argument: String,
    summary: &'static str,
    source: &'static str,
}

/// Lists every task with its question and its source.
pub(super) fn run(common: &Common) -> Result<()> {
    let lines = lines();
    if common.json {
        return Sink::Stdout.write(&pretty(&lines)?);
    }
    let mut tasks = Table::of_labels(["task", "argument", "what", "source"]);
    for line in &lines {
        tasks.push([line.task, &line.argument, line.summary, line.source], vec![]);
    }
    Sink::Stdout.write(&format!("{tasks}\n"))
}

fn lines() -> Vec<Line> {
    let asking = TASKS.iter().map(|task| Line {
        task: task.name,
        argument: match task.argument {
            Argument::None => String::new(),
            Argument::OneOf(names) => names.join(" "),
            Argument::File => "FILE".into(),
        },
        summary: task.summary,
        source: task.source,
    });
    let reading =
        TEXT_TASKS.map(|(task, summary)| Line { task, argument: String::new(), summary, source: "" });
    asking.chain(reading).collect()
}
