//! `laprox inspect`

use anyhow::Result;
use laprox_fixtures::{Dump, Manifest};
use serde::Serialize;

use super::open_dump;
use crate::cli::{Common, Inspect};
use crate::output::{Sink, pretty};
use crate::progress::Progress;
use crate::table::Table;

#[derive(Serialize)]
struct Inspected<'a> {
    manifest: &'a Manifest,
    bytes: u64,
    sha256: String,
    checked: bool,
}

/// Shows a dump's manifest, its size and its digest; with `--check` every value is read first.
pub(super) fn run(arguments: &Inspect, common: &Common) -> Result<()> {
    print(&open_dump(&arguments.dump)?, arguments.check, common.json)
}

/// The same of an open dump.
pub(super) fn print(dump: &Dump, check: bool, json: bool) -> Result<()> {
    let passes = if check { 2 } else { 1 };
    let progress = Progress::new("reading", passes * dump.byte_len());
    if check {
        dump.check(|bytes| progress.advance(bytes))?;
    }
    let inspected = Inspected {
        manifest: dump.manifest(),
        bytes: dump.byte_len(),
        sha256: dump.digest(|bytes| progress.advance(bytes))?,
        checked: check,
    };
    drop(progress);
    Sink::Stdout.write(&if json { pretty(&inspected)? } else { text(&inspected) })
}

fn text(inspected: &Inspected<'_>) -> String {
    let Manifest { model, layers, window, samples, .. } = inspected.manifest;
    let mut facts = Table::of_labels(["dump", ""]);
    let checked =
        if inspected.checked { "every value is finite" } else { "headers only (--check reads all)" };
    for (name, fact) in [
        ("model", format!("{} ({})", model.name, model.source_dtype)),
        ("layers", format!("{} of {}: {}", layers.len(), model.layers, ranges(layers))),
        ("heads", format!("{} query, {} KV, head dimension {}", model.heads, model.kv_heads, model.head_dim)),
        ("hidden size", model.hidden_size.to_string()),
        ("attention scale", model.attention_scale.to_string()),
        ("window", window.to_string()),
        ("size", format!("{} bytes", inspected.bytes)),
        ("sha256", inspected.sha256.clone()),
        ("checked", checked.into()),
    ] {
        facts.push([name.to_owned(), fact], vec![]);
    }
    let mut table = Table::of_labels(["sample", "context", "future"]);
    for sample in samples {
        table.push([sample.name.clone(), sample.context.to_string(), sample.future.to_string()], vec![]);
    }
    format!("{facts}\n\n{table}\n")
}

/// Ascending numbers with runs abridged: `0-3, 7`.
fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let name = |run: &[usize]| match run {
        [first, .., last] => format!("{first}-{last}"),
        run => run.iter().map(usize::to_string).collect(),
    };
    runs.map(name).collect::<Vec<_>>().join(", ")
}
