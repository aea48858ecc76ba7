//! What a command reads and what it writes: outputs lie apart from inputs, and a results folder can be written to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use laprox_fixtures::staging::Staging;

use crate::cli::Command;
use crate::given::Given;
use crate::printed::{Printed, config_beside};
use crate::tables::runs::Runs;

/// The paths of a command.
#[derive(Default)]
struct Paths<'a> {
    inputs: Vec<PathBuf>,
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
    let Paths { inputs, outputs, results } = paths(command)?;
    for (index, output) in outputs.iter().enumerate() {
        inputs.iter().try_for_each(|input| require_apart(output, input, "read"))?;
        outputs[..index].iter().try_for_each(|other| require_apart(output, other, "written"))?;
    }
    results.map_or(Ok(()), require_writable)
}

fn paths(command: &Command) -> Result<Paths<'_>> {
    let (inputs, outputs, results) = match command {
        Command::Inspect(_) | Command::Tasks | Command::Policies | Command::Completions(_) => {
            return Ok(Paths::default());
        }
        Command::Synth(synth) => (vec![], vec![synth.out.clone()], None),
        Command::Capture(capture) => {
            (all(capture.texts.iter().chain([&capture.model])), vec![capture.out.clone()], None)
        }
        Command::Score(score) => (all([&score.dump]), vec![score.out.clone()], None),
        Command::Evict(evict) => {
            (all(paths_of(evict.given.inputs()).chain([&evict.dump])), all(&evict.out), None)
        }
        Command::Bounds(bounds) => {
            (all(paths_of(bounds.given.inputs()).chain(&bounds.dump)), printed(&bounds.printed), None)
        }
        Command::Oracle(oracle) => {
            (all(paths_of(oracle.given.inputs()).chain(&oracle.dump)), printed(&oracle.printed), None)
        }
        Command::Ablate(ablate) => {
            let outputs = printed(&ablate.printed).into_iter().chain(ablate.results.clone());
            let inputs = ablate.dumps.iter().chain(&ablate.config).chain(paths_of(ablate.given.inputs()));
            (all(inputs), outputs.collect(), ablate.results.as_deref())
        }
        Command::Eval(eval) => {
            let inputs = eval.texts.iter().chain([&eval.model]).chain(&eval.haystack).chain(&eval.data);
            let inputs = inputs.chain(paths_of(eval.given.inputs()));
            let outputs = printed(&eval.printed).into_iter().chain(eval.results.clone());
            (all(inputs), outputs.collect(), eval.results.as_deref())
        }
        Command::Tables(tables) => {
            let given =
                [&tables.models, &tables.dumps, &tables.texts].into_iter().flatten().chain(&tables.data);
            let runs = Runs::committed()?;
            let folders =
                tables.results.iter().flat_map(|results| runs.iter().map(|(run, _)| results.join(run)));
            let inputs = given.cloned().chain(folders).collect();
            let outputs = all(tables.out.iter().chain(&tables.html));
            (inputs, outputs, tables.results.as_deref().filter(|_| !tables.quick))
        }
    };
    Ok(Paths { inputs, outputs, results })
}

fn all<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<PathBuf> {
    paths.into_iter().cloned().collect()
}

fn paths_of<'a>(inputs: impl Iterator<Item = &'a Given>) -> impl Iterator<Item = &'a PathBuf> {
    inputs.map(Given::path)
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
    bail!(
        "{}: expected a path apart from {}, which is {verb}, found {found}",
        output.display(),
        other.display()
    )
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
