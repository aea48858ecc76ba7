//! `laprox tables`

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::cli::{Common, Tables};
use crate::output::{Sink, refuse_existing, write_folder};
use crate::tables::kinds::{self, KINDS, Kind};
use crate::tables::runs::{Runner, Runs, Values};
use crate::tables::{Chapter, files, html, markdown};

/// The committed results.
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results");

/// All chapters, and the binary that made them.
#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    commit: &'static str,
    seed: u64,
    chapters: &'a [Chapter],
}

/// Makes what the tables are made of, unless it is there, and then the tables.
pub(super) fn run(arguments: &Tables, common: &Common) -> Result<()> {
    let kinds = kinds::named(&arguments.names)?;
    let page = arguments.html.as_deref();
    if let Some(page) = page.filter(|page| KINDS.iter().any(|kind| page.as_os_str() == kind.name)) {
        bail!(
            "--html {}: is the name of a table, expected --html=FILE, or --html at the end",
            page.display()
        );
    }
    for path in arguments.out.iter().map(PathBuf::as_path).chain(page) {
        refuse_existing(path, common.force)?;
    }
    let runs = Runs::committed()?;
    let results = arguments.results.as_deref().unwrap_or(Path::new(COMMITTED));
    if !arguments.quick {
        let (needed, optional) = sources(&kinds)?;
        Runner { runs: &runs, values: values(arguments), results, common }.run(&needed, &optional)?;
    }
    let chapters = kinds.iter().map(|kind| Chapter::new(kind, results, &runs, common.seed));
    let chapters: Vec<Chapter> = chapters.collect::<Result<_>>()?;
    if let Some(out) = &arguments.out {
        write_folder(out, common.force, |folder| {
            chapters.iter().try_for_each(|chapter| files::write(folder, chapter))
        })?;
    }
    if let Some(path) = page {
        Sink::File { path, force: common.force }.write(&html::report(&chapters))?;
    }
    Sink::Stdout.write(&text(&chapters, common)?)
}

fn text(chapters: &[Chapter], common: &Common) -> Result<String> {
    if !common.json {
        return Ok(chapters.iter().map(markdown::page).collect::<Vec<_>>().join("\n"));
    }
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("LAPROX_COMMIT"));
    let document = Document { version, commit, seed: common.seed, chapters };
    Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
}

/// The files that the tables need, and those that they read where they are there.
fn sources(kinds: &[&Kind]) -> Result<(Vec<String>, Vec<String>)> {
    let configs = kinds.iter().map(|kind| kind.config()).collect::<Result<Vec<_>>>()?;
    let needed = configs.iter().flat_map(|config| config.sources.clone()).collect();
    Ok((needed, configs.into_iter().flat_map(|config| config.optional).collect()))
}

/// What the placeholders of runs stand for.
fn values(arguments: &Tables) -> Values {
    let shown = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    let models = shown(&arguments.models);
    let values = [
        ("experiments", vec![env!("CARGO_MANIFEST_DIR").to_owned()]),
        ("model", models.iter().take(1).cloned().collect()),
        ("second-model", models.iter().skip(1).take(1).cloned().collect()),
        ("dumps", shown(&arguments.dumps)),
        ("texts", shown(&arguments.texts)),
        ("data", shown(arguments.data.as_slice())),
    ];
    values.into_iter().filter(|(_, values)| !values.is_empty()).collect()
}
