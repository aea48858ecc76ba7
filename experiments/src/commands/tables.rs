//! `laprox tables`

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use crate::cli::{Common, Tables};
use crate::data::{self, DataFolder};
use crate::group::require_distinct;
use crate::output::{self, Sink, fill};
use crate::printed::Format;
use crate::tables::kinds::{self, KINDS, Kind};
use crate::tables::runs::{Run, Runner, Runs, Values};
use crate::tables::{Chapter, files, html, markdown};

/// All chapters, and the binary that made them.
#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    commit: &'static str,
    seed: u64,
    chapters: &'a [Chapter],
}

/// Makes the results that the tables read, unless they exist, and then the tables.
pub(super) fn run(arguments: &Tables, common: &Common) -> Result<()> {
    require_distinct("tables", &arguments.names)?;
    for (list, paths) in
        [("--model", &arguments.models), ("--dump", &arguments.dumps), ("--text", &arguments.texts)]
    {
        require_distinct(list, &shown(paths))?;
    }
    let kinds = kinds::named(&arguments.names)?;
    let page = arguments.html.as_deref();
    if let Some(page) = page.filter(|page| KINDS.iter().any(|kind| page.as_os_str() == kind.name)) {
        bail!(
            "--html {}: is the name of a table, expected --html=FILE, or --html at the end",
            page.display()
        );
    }
    let out = arguments.out.as_deref().map(|out| output::folder(out, common.force)).transpose()?;
    let page = Sink::open(page, Format::Markdown, common.force)?;
    let (runs, data_dir) = (Runs::committed()?, arguments.data_dir.as_deref());
    ensure!(
        data_dir.is_none() || !arguments.quick || arguments.results.is_none(),
        "--data-dir: laprox tables --quick --results does not read it"
    );
    let results = DataFolder::open(arguments.results.as_deref(), &data::RESULTS, data_dir)?;
    if !arguments.quick {
        let (needed, optional) = sources(&kinds)?;
        let made = needed.iter().chain(&optional).map(|file| runs.of_file(file));
        let made = made.collect::<Result<Vec<_>>>()?;
        let configured = reads(&made, "experiments");
        let configurations = configured.then(|| DataFolder::open(None, &data::ABLATIONS, data_dir));
        let configurations = configurations.transpose()?;
        let values = values(arguments, configurations.as_deref())?;
        refuse_unread(&made, &values)?;
        Runner { runs: &runs, values, results: &results, common, data_dir }.run(&needed, &optional)?;
    }
    let chapters = kinds.iter().map(|kind| Chapter::new(kind, &results, &runs, common.seed));
    let chapters: Vec<Chapter> = chapters.collect::<Result<_>>()?;
    if let Some(out) = out {
        fill(out, |folder| chapters.iter().try_for_each(|chapter| files::write(folder, chapter)))?;
    }
    if let Sink::File(..) = page {
        page.write(&html::report(&chapters)?)?;
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

/// The files that the tables need, and the files that they read if they exist.
fn sources(kinds: &[&Kind]) -> Result<(Vec<String>, Vec<String>)> {
    let configs = kinds.iter().map(|kind| kind.config()).collect::<Result<Vec<_>>>()?;
    let needed = configs.iter().flat_map(|config| config.sources.clone()).collect();
    Ok((needed, configs.into_iter().flat_map(|config| config.optional).collect()))
}

fn shown(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

/// The values of the runs' placeholders.
fn values(arguments: &Tables, configurations: Option<&Path>) -> Result<Values> {
    let mut models = shown(&arguments.models).into_iter();
    let experiments = configurations.and_then(Path::parent).map(|path| path.display().to_string());
    let values = [
        ("experiments", experiments.into_iter().collect()),
        ("model", models.next().into_iter().collect()),
        ("second-model", models.next().into_iter().collect()),
        ("dumps", shown(&arguments.dumps)),
        ("texts", shown(&arguments.texts)),
        ("data", shown(arguments.data.as_slice())),
    ];
    ensure!(models.next().is_none(), "--model: expected at most two, found {}", arguments.models.len());
    Ok(values.into_iter().filter(|(_, values): &(_, Vec<String>)| !values.is_empty()).collect())
}

/// Whether any of the runs has this placeholder.
fn reads(runs: &[&Run], placeholder: &str) -> bool {
    let placeholder = format!("{{{placeholder}}}");
    runs.iter().flat_map(|run| &run.command).any(|argument| argument.contains(&placeholder))
}

/// Refuses the options that none of the tables' runs reads.
fn refuse_unread(runs: &[&Run], values: &Values) -> Result<()> {
    const OPTIONS: [(&str, &str); 5] = [
        ("model", "--model"),
        ("second-model", "a second --model"),
        ("dumps", "--dump"),
        ("texts", "--text"),
        ("data", "--data"),
    ];
    match OPTIONS.into_iter().find(|(name, _)| values.contains_key(name) && !reads(runs, name)) {
        Some((_, option)) => bail!("{option}: none of these tables reads it"),
        None => Ok(()),
    }
}
