//! The runs of this binary that make the results, and running them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::child;
use crate::cli::Common;
use crate::data::VARIABLE;
use crate::exit::Missing;
use crate::group::distinct;
use crate::interrupt;
use crate::output;
use crate::progress::note;

/// The command that makes a folder of results.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The arguments of `laprox`, with `{placeholders}`.
    pub command: Vec<String>,
}

/// Every run by the name of the folder that it fills.
#[derive(Clone, Debug)]
pub struct Runs(BTreeMap<String, Run>);

/// The values of placeholders: one argument, or several for an argument that is nothing else.
pub type Values = BTreeMap<&'static str, Vec<String>>;

/// The log of runs in the results folder.
const LOG: &str = "runs.csv";

impl Runs {
    /// The runs that the tables are made of.
    ///
    /// # Errors
    /// Never, as long as the committed file is a right one.
    pub fn committed() -> Result<Self> {
        toml::from_str(include_str!("../../tables/runs.toml")).map(Self).context("tables/runs.toml")
    }

    /// Every run with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Run)> {
        self.0.iter().map(|(name, run)| (name.as_str(), run))
    }

    /// The run that makes a results file.
    ///
    /// # Errors
    /// When no run fills its folder.
    pub fn of_file(&self, file: &str) -> Result<&Run> {
        self.0.get(folder_of(file)).with_context(|| format!("{file}: no run makes it"))
    }
}

/// The run that a results file belongs to, by name.
fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or(file, |(folder, _)| folder)
}

impl Run {
    /// The first placeholder that has no value.
    #[must_use]
    pub fn lacks(&self, values: &Values) -> Option<&str> {
        let mut names =
            self.command.iter().filter_map(|argument| placeholder(argument)).map(|(_, name)| name);
        names.find(|name| !values.contains_key(name))
    }

    /// The arguments with every placeholder filled; those without a value stay.
    #[must_use]
    pub fn arguments(&self, values: &Values) -> Vec<String> {
        self.command.iter().flat_map(|argument| filled(argument, values)).collect()
    }
}

/// The first `{name}` in an argument, with its braces and without.
fn placeholder(argument: &str) -> Option<(&str, &str)> {
    let start = argument.find('{')?;
    let end = start + argument[start..].find('}')?;
    Some((&argument[start..=end], &argument[start + 1..end]))
}

fn filled(argument: &str, values: &Values) -> Vec<String> {
    let Some((braced, name)) = placeholder(argument) else { return vec![argument.to_owned()] };
    match values.get(name) {
        Some(values) => values.iter().map(|value| argument.replace(braced, value)).collect(),
        None => vec![argument.to_owned()],
    }
}

/// Makes results files by child processes of this binary.
pub struct Runner<'a> {
    /// All runs.
    pub runs: &'a Runs,
    /// The values of placeholders, except for `folder`, which is the run's own one.
    pub values: Values,
    /// The results folder.
    pub results: &'a Path,
    /// The options that are passed on to children.
    pub common: &'a Common,
    /// Where children find the default dump, in place of the embedded one.
    pub data_dir: Option<&'a Path>,
}

impl Runner<'_> {
    /// Makes the needed files, and the optional ones whose placeholders have values; each run is started once.
    ///
    /// A run with `--results` goes on where it was stopped. A run with `--out` is left out if its file exists, unless forced.
    ///
    /// # Errors
    /// When a placeholder of a needed run has no value, before anything has run; or when a run fails.
    pub fn run(&self, needed: &[String], optional: &[String]) -> Result<()> {
        let needed = folders(needed);
        for name in &needed {
            if let Some(lacking) = self.lacks(name)? {
                bail!("run {name}: expected a value for {{{lacking}}}, see laprox tables --help");
            }
        }
        let optional = folders(optional).into_iter().filter(|name| !needed.contains(name));
        for name in needed.iter().copied().chain(optional) {
            match self.lacks(name)? {
                Some(lacking) => {
                    note(format_args!("{name}: left out, there is no value for {{{lacking}}}"));
                }
                None => self.run_one(name)?,
            }
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Result<&Run> {
        self.runs.0.get(name).with_context(|| format!("{name}: no such run"))
    }

    fn values_of(&self, name: &str) -> Values {
        let folder = self.results.join(name).display().to_string();
        self.values.clone().into_iter().chain([("folder", vec![folder])]).collect()
    }

    fn lacks(&self, name: &str) -> Result<Option<&str>> {
        Ok(self.get(name)?.lacks(&self.values_of(name)))
    }

    fn run_one(&self, name: &str) -> Result<()> {
        let arguments = self.get(name)?.arguments(&self.values_of(name));
        let out = arguments.iter().skip_while(|argument| *argument != "--out").nth(1).map(PathBuf::from);
        if !self.common.force && out.as_deref().is_some_and(Path::exists) {
            note(format_args!("{name}: there already"));
            return Ok(());
        }
        let folder = out.as_deref().and_then(Path::parent).unwrap_or(self.results);
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        note(format_args!("{name}: laprox {}", arguments.join(" ")));
        let start = Instant::now();
        let status = interrupt::run(&mut self.command(&arguments)?).with_context(|| format!("run {name}"))?;
        self.log(name, start.elapsed().as_secs_f64(), status)?;
        match status.code() {
            // A claim that does not hold is a result.
            Some(0 | 1) => Ok(()),
            Some(3) => Err(Missing(format!("run {name}: something is missing")).into()),
            _ => bail!("run {name}: ended with {status}"),
        }
    }

    fn command(&self, arguments: &[String]) -> Result<Command> {
        let mut command = child::command()?;
        command.args(arguments).stdout(Stdio::null()).envs(self.data_dir.map(|dir| (VARIABLE, dir)));
        command.args(["--seed", &self.common.seed.to_string()]);
        if let Some(path) = self.common.path.to_possible_value() {
            command.args(["--path", path.get_name()]);
        }
        if let Some(threads) = self.common.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if self.common.force {
            command.arg("--force");
        }
        Ok(command)
    }

    /// Adds a line to the log.
    fn log(&self, run: &str, seconds: f64, status: ExitStatus) -> Result<()> {
        let path = self.results.join(LOG);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let line = Logged {
            run,
            command: format!("laprox {}", self.get(run)?.command.join(" ")),
            seconds,
            exit: status.code(),
            seed: self.common.seed,
            threads: self
                .common
                .threads
                .map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from),
            processor: processor(),
            commit: env!("LAPROX_COMMIT"),
        };
        let mut writer = csv::WriterBuilder::new().has_headers(before.is_empty()).from_writer(Vec::new());
        writer.serialize(line)?;
        let line = writer.into_inner()?;
        output::write(output::file(&path, true)?, |file| {
            file.write_all(before.as_bytes())?;
            Ok(file.write_all(&line)?)
        })
    }
}

/// A run that has ended, resumed ones once for each time.
#[derive(Serialize)]
struct Logged<'a> {
    run: &'a str,
    command: String,
    seconds: f64,
    exit: Option<i32>,
    seed: u64,
    threads: usize,
    processor: String,
    commit: &'static str,
}

/// The processor's name, or `unknown`.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or("unknown").to_owned()
}

fn folders(files: &[String]) -> Vec<&str> {
    distinct(files.iter().map(|file| folder_of(file)))
}
