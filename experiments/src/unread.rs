//! Options that a command does not read are refused: they would change nothing, and a user could believe otherwise.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Error};

use crate::eval::EvalTask;

/// The common options that each command does not read. `--threads` changes no result and is accepted by all.
pub const UNREAD: [(&str, &[&str]); 13] = [
    ("inspect", &["path", "seed", "force", "times"]),
    ("synth", &["path", "times"]),
    ("capture", &["path", "seed", "times"]),
    ("score", &[]),
    ("evict", &[]),
    ("bounds", &["times"]),
    ("oracle", &["times"]),
    ("ablate", &["times"]),
    ("eval", &["times"]),
    ("tasks", &["path", "seed", "force", "times"]),
    ("tables", &["times"]),
    ("policies", &["path", "seed", "force", "times"]),
    ("completions", &["json", "path", "seed", "force", "times"]),
];

/// Per command, an option of its own and a common one that it no longer reads beside that.
const UNREAD_BESIDE: [(&str, &str, &str); 3] =
    [("ablate", "results", "json"), ("eval", "results", "json"), ("tables", "quick", "path")];

/// Removes the options that a command does not read from its help.
#[must_use]
pub fn hide(command: Command) -> Command {
    let common: Vec<Arg> = command.get_arguments().filter(|option| option.is_global_set()).cloned().collect();
    UNREAD.iter().fold(command, |command, (name, unread)| {
        let unread = common.iter().filter(|option| unread.contains(&option.get_id().as_str()));
        command.mut_subcommand(name, |subcommand| {
            subcommand.args(unread.map(|option| option.clone().hide(true)))
        })
    })
}

/// Refuses the options that the command does not read.
///
/// # Errors
/// When there is one.
pub fn refuse(matches: &ArgMatches) -> Result<(), Error> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let given = |option: &str| matches.value_source(option) == Some(ValueSource::CommandLine);
    let unread = UNREAD.iter().filter(|row| row.0 == name).flat_map(|row| row.1);
    if let Some(option) = unread.copied().find(|option| given(option)) {
        return Err(unread_by(option, name));
    }
    for (_, own, common) in UNREAD_BESIDE.iter().filter(|row| row.0 == name) {
        if given(own) && given(common) {
            return Err(unread_by(common, &format!("{name} --{own}")));
        }
    }
    if name == "eval" { refuse_for_tasks(matches, given) } else { Ok(()) }
}

/// Refuses the options of `laprox eval` that none of its tasks reads.
fn refuse_for_tasks(eval: &ArgMatches, given: impl Fn(&str) -> bool) -> Result<(), Error> {
    let tasks: Vec<&EvalTask> = eval.get_many("task").into_iter().flatten().collect();
    let unread = |option: &&str| given(option) && !tasks.iter().any(|task| task.reads(option));
    let Some(option) = EvalTask::OPTIONS.into_iter().find(unread) else { return Ok(()) };
    let tasks: Vec<String> = tasks.iter().map(ToString::to_string).collect();
    Err(unread_by(option, &format!("eval --task {}", tasks.join(","))))
}

fn unread_by(option: &str, reader: &str) -> Error {
    Error::raw(ErrorKind::ArgumentConflict, format!("--{option}: laprox {reader} does not read it\n"))
}
