//! The commands, a file per command.

mod ablate;
pub mod bounds;
mod capture;
mod completions;
mod eval;
mod evict;
mod inspect;
mod oracle;
mod policies;
mod score;
mod synth;
mod tables;
mod tasks;

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use laprox_fixtures::Dump;

use crate::cli::{Cli, Command, Runner};
use crate::exit::Missing;
use crate::input::require_files;
use crate::model::{Model, ModelFile};
use crate::places;
use crate::progress::note;

/// Runs a command.
///
/// # Errors
/// Any error of the command; [`crate::exit`] turns it into an exit code.
pub fn run(cli: &Cli) -> Result<()> {
    places::check(&cli.command)?;
    if let Some(threads) = cli.common.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
        pool.build_global().context("--threads")?;
    }
    match &cli.command {
        Command::Inspect(arguments) => inspect::run(arguments, &cli.common),
        Command::Synth(arguments) => synth::run(arguments, &cli.common),
        Command::Capture(arguments) => capture::run(arguments, &cli.common),
        Command::Score(arguments) => score::run(arguments, &cli.common),
        Command::Evict(arguments) => evict::run(arguments, &cli.common),
        Command::Bounds(arguments) => bounds::run(arguments, &cli.common),
        Command::Oracle(arguments) => oracle::run(arguments, &cli.common),
        Command::Ablate(arguments) => ablate::run(arguments, &cli.common),
        Command::Tables(arguments) => tables::run(arguments, &cli.common),
        Command::Eval(arguments) => eval::run(arguments, &cli.common),
        Command::Tasks => tasks::run(&cli.common),
        Command::Policies => policies::run(&cli.common),
        Command::Completions(arguments) => completions::run(arguments),
    }
}

/// Opens a dump. An absent dump is a missing file, a malformed one is bad input.
///
/// # Errors
/// [`Missing`] when there is none; otherwise as [`Dump::open`].
pub fn open_dump(path: &Path) -> Result<Dump> {
    if path.symlink_metadata().is_err() {
        return Err(Missing(format!("{}: no such dump", path.display())).into());
    }
    Ok(Dump::open(path)?)
}

/// Refuses a model that is not there. The name of a repository is refused with the way to download it.
fn require_model(path: &PathBuf) -> Result<()> {
    if !path.exists() && is_repository(path) {
        let name = path.display();
        let download = format!("`hf download {name} --local-dir FOLDER` downloads it, if it is a repository");
        return Err(Missing(format!("{name}: no such file or folder; {download}")).into());
    }
    require_files(std::iter::once(path))
}

/// Whether a path may be meant as OWNER/NAME on a hub.
fn is_repository(path: &Path) -> bool {
    let mut parts = path.components();
    let is_name = |part: Option<Component>| matches!(part, Some(Component::Normal(_)));
    let has_two = is_name(parts.next()) && is_name(parts.next()) && parts.next().is_none();
    let is_file = path
        .extension()
        .is_some_and(|extension| ["gguf", "whl", "safetensors"].iter().any(|e| extension == *e));
    has_two && !is_file && path.parent().is_some_and(|owner| !owner.exists())
}

/// Loads a model, and says on stderr when it only resembles a published one.
fn load_model(path: &Path, runner: Runner) -> Result<Model> {
    let file = ModelFile::open(path)?;
    if let Some(published) = file.namesake() {
        let (path, sha256) = (path.display(), file.sha256());
        note(format_args!(
            "{path}: resembles {published}, but its sha256 {sha256} is unknown: taken as another model"
        ));
    }
    Ok(Model::load(&file, runner.weights)?.with_cache_dtype(runner.cache_dtype))
}
