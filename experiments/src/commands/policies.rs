//! `laprox policies`

use anyhow::Result;
use laprox_reference::{POLICIES, PolicyEntry};
use serde::Serialize;

use crate::cli::Common;
use crate::output::Sink;
use crate::report::table;

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    formula: &'static str,
    defaults: String,
    source: &'static str,
}

/// Prints the table of policies.
pub(super) fn run(common: &Common) -> Result<()> {
    let listed: Vec<_> = POLICIES.iter().map(list).collect();
    if common.json {
        return Sink::Stdout.write(&format!("{}\n", serde_json::to_string_pretty(&listed)?));
    }
    let mut table = table(["policy", "score", "defaults", "source"]);
    for policy in listed {
        table.add_row([policy.name, policy.formula, &policy.defaults, policy.source]);
    }
    Sink::Stdout.write(&format!("{table}\n"))
}

fn list(entry: &PolicyEntry) -> Listed {
    let defaults = entry.options.iter().map(|key| format!("{}={}", key.name(), key.get(&entry.defaults)));
    Listed {
        name: entry.name,
        formula: entry.formula,
        defaults: defaults.collect::<Vec<_>>().join(","),
        source: entry.source,
    }
}
