//! What a command reads and what it writes: outputs lie apart from inputs, and a results folder can be written to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use laprox_fixtures::staging::Staging;

use crate::cli::Command;
use crate::printed::{Printed, config_beside};

/// The paths of a command.
#[derive(Default)]
struct Paths<'a> {
    inputs: Vec<&'a Path>,
    outputs: Vec<PathBuf>,
    /// The folder that a stopped run goes on in.
    results: Option<&'a Path>,
}

/// Refuses, before anything is read, an output that is an input, or lies inside or around one, or that overlaps another
/// output; and a results folder that cannot be written to.
///
/// # Errors
/// One line that names both paths, or the folder.
pub fn check(command: &Command) -> Result<()> {
    let Paths { inputs, mut outputs, results } = paths(command);
    outputs.extend(results.map(Path::to_owned));
    for (index, output) in outputs.iter().enumerate() {
        for input in &inputs {
            require_apart(output, input, "read")?;
        }
        for other in &outputs[..index] {
            require_apart(output, other, "written")?;
        }
    }
    results.map_or(Ok(()), require_writable)
}

fn paths(command: &Command) -> Paths<'_> {
    fn all<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<&'a Path> {
        paths.into_iter().map(PathBuf::as_path).collect()
    }
    match command {
        Command::Inspect(_) | Command::Tasks | Command::Policies | Command::Completions(_) => Paths::default(),
        Command::Synth(synth) => Paths { outputs: vec![synth.out.clone()], ..Paths::default() },
        Command::Capture(capture) => Paths {
            inputs: all(capture.texts.iter().chain([&capture.model])),
            outputs: vec![capture.out.clone()],
            results: None,
        },
        Command::Score(score) => {
            Paths { inputs: all([&score.dump]), outputs: vec![score.out.clone()], results: None }
        }
        Command::Evict(evict) => {
            Paths { inputs: all([&evict.dump]), outputs: evict.out.iter().cloned().collect(), results: None }
        }
        Command::Bounds(bounds) => {
            Paths { inputs: all(&bounds.dump), outputs: printed(&bounds.printed), results: None }
        }
        Command::Oracle(oracle) => {
            Paths { inputs: all(&oracle.dump), outputs: printed(&oracle.printed), results: None }
        }
        Command::Ablate(ablate) => Paths {
            inputs: all(ablate.dumps.iter().chain(&ablate.config)),
            outputs: printed(&ablate.printed),
            results: ablate.results.as_deref(),
        },
        Command::Eval(eval) => Paths {
            inputs: all(eval.texts.iter().chain([&eval.model]).chain(&eval.haystack).chain(&eval.data)),
            outputs: printed(&eval.printed),
            results: eval.results.as_deref(),
        },
        Command::Tables(tables) => {
            let read = tables.results.as_ref().filter(|_| tables.quick);
            let given = [&tables.models, &tables.dumps, &tables.texts].into_iter().flatten();
            Paths {
                inputs: all(given.chain(&tables.data).chain(read)),
                outputs: tables.out.iter().chain(&tables.html).cloned().collect(),
                results: tables.results.as_deref().filter(|_| !tables.quick),
            }
        }
    }
}

fn printed(printed: &Printed) -> Vec<PathBuf> {
    printed.out.iter().flat_map(|out| [out.clone(), config_beside(out)]).collect()
}

fn require_apart(output: &Path, other: &Path, verb: &str) -> Result<()> {
    let [one, two] = [output, other].map(resolved);
    let found = match (one.starts_with(&two), two.starts_with(&one)) {
        (false, false) => return Ok(()),
        (true, true) => "the same",
        (true, false) => "one inside it",
        (false, true) => "one around it",
    };
    bail!("{}: expected a path apart from {}, which is {verb}, found {found}", output.display(), other.display())
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let missing = || {
        let (parent, name) = (path.parent()?, path.file_name()?);
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        Some(resolved(parent).join(name))
    };
    path.canonicalize().ok().or_else(missing).unwrap_or_else(|| path.to_owned())
}

fn require_writable(folder: &Path) -> Result<()> {
    let folder = if folder.is_absolute() { folder.to_owned() } else { Path::new(".").join(folder) };
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    Staging::within(existing).map(drop).with_context(|| {
        format!("{}: expected a folder that can be written to for --results", existing.display())
    })
}
