//! `laprox inspect`

use anyhow::Result;
use laprox_fixtures::{Dump, Manifest, Supplement};
use serde::Serialize;

use super::open_dump;
use crate::cli::{Common, Inspect};
use crate::output::{Sink, pretty};
use crate::progress::Progress;
use crate::sample::missing;
use crate::table::Table;

#[derive(Serialize)]
struct Inspected<'a> {
    manifest: &'a Manifest,
    bytes: u64,
    sha256: String,
    checked: bool,
    tokens: Vec<Tokens<'a>>,
    supplements: Vec<Supplements<'a>>,
}

/// The tensors of a sample that a capture may leave out, and that every layer has.
#[derive(Serialize)]
struct Supplements<'a> {
    sample: &'a str,
    names: Vec<&'static str>,
}

impl<'a> Supplements<'a> {
    fn of(dump: &'a Dump, index: usize, sample: &'a str) -> Self {
        let has = |which: &Supplement| missing(dump, index, *which).is_none();
        Self { sample, names: Supplement::ALL.into_iter().filter(has).map(Supplement::name).collect() }
    }
}

/// The token ids of a sample. A dump holds no words.
#[derive(Serialize)]
struct Tokens<'a> {
    sample: &'a str,
    /// `None` if the dump does not hold them.
    ids: Option<Vec<u32>>,
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
    let tokens = |(index, sample)| Ok(Tokens { sample, ids: dump.tokens(index)? });
    let inspected = Inspected {
        manifest: dump.manifest(),
        bytes: dump.byte_len(),
        sha256: dump.digest(|bytes| progress.advance(bytes))?,
        checked: check,
        tokens: dump.sample_names().enumerate().map(tokens).collect::<Result<_>>()?,
        supplements: dump
            .sample_names()
            .enumerate()
            .map(|(index, sample)| Supplements::of(dump, index, sample))
            .collect(),
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
    let mut table =
        Table::of_labels(["sample", "context", "future", "start token", "token ids", "supplements"]);
    for ((sample, tokens), supplements) in samples.iter().zip(&inspected.tokens).zip(&inspected.supplements) {
        let start = match sample.bos {
            Some(true) => "added",
            Some(false) => "not added",
            None => "unknown",
        };
        let [context, future] = [sample.context, sample.future].map(|size| size.to_string());
        let ids = tokens.ids.as_deref().map_or_else(|| "not stored".to_owned(), first_ids);
        let supplements =
            if supplements.names.is_empty() { "none".to_owned() } else { supplements.names.join(", ") };
        table.push([sample.name.clone(), context, future, start.to_owned(), ids, supplements], vec![]);
    }
    format!("{facts}\n\n{table}\n")
}

/// The first ids of a list.
fn first_ids(ids: &[u32]) -> String {
    const SHOWN: usize = 8;
    let shown = ids.iter().take(SHOWN).map(u32::to_string).collect::<Vec<_>>().join(", ");
    if ids.len() > SHOWN { format!("{shown}, ..") } else { shown }
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
