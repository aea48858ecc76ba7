//! `--scores` and `--retained`: scores and sets that were made elsewhere, as rows beside policies or in place of one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use laprox_fixtures::reals;
use laprox_reference::{Error, HeadScores, LayerIndex, Policy, RetainedSet, Rule};
use serde::Serialize;

use crate::digest::sha256;
use crate::exit::Missing;
use crate::group::distinct;
use crate::sets::{self, SetSizes};

/// A policy whose scores or sets lie in files.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    policy: Policy,
    path: PathBuf,
}

/// Arguments of a command that evicts under one policy.
#[derive(Args, Clone, Debug, Default)]
pub struct GivenOne {
    /// Slot scores in place of a policy's, [NAME=]F.npy[:key=value,..]: f64 or f32 [layers, Hkv, n-w], as `laprox score`
    /// writes them; for several samples a folder with a NAME.npy each. allocation=head by default.
    #[arg(long, value_name = "F.npy", value_parser = Given::scores, conflicts_with_all = ["policy", "retained"])]
    pub scores: Option<Given>,
    /// A retained set in place of a policy's, [NAME=]DIR: per sample NAME.offsets.npy and NAME.positions.npy, and of a reweighted set
    /// NAME.bias.npy and NAME.values.npy, as `laprox evict --out` writes them. Its budget is what it holds.
    #[arg(long, value_name = "DIR", value_parser = Given::set, conflicts_with = "policy")]
    pub retained: Option<Given>,
}

/// Arguments of a command that compares policies.
#[derive(Args, Clone, Debug, Default)]
pub struct GivenMany {
    /// Slot scores beside the policies', [NAME=]F.npy[:key=value,..]: f64 or f32 [layers, Hkv, n-w], as `laprox score` writes
    /// them; for several samples a folder with a NAME.npy each. allocation=head by default; repeat the option for more.
    #[arg(long, value_name = "F.npy", value_parser = Given::scores)]
    pub scores: Vec<Given>,
    /// Retained sets beside the policies', [NAME=]DIR: per sample NAME.offsets.npy and NAME.positions.npy, and of a reweighted set
    /// NAME.bias.npy and NAME.values.npy, as `laprox evict --out` writes them. The budget of a set is what it holds; repeat the option for more.
    #[arg(long, value_name = "DIR", value_parser = Given::set)]
    pub retained: Vec<Given>,
}

impl GivenOne {
    /// The input, if there is one.
    pub fn inputs(&self) -> impl Iterator<Item = &Given> {
        self.scores.iter().chain(&self.retained)
    }
}

impl GivenMany {
    /// All inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &Given> {
        self.scores.iter().chain(&self.retained)
    }

    /// All inputs. A name stands for one path, which may be given again with other options.
    ///
    /// # Errors
    /// When two paths have one name, or one is given twice.
    pub fn distinct(&self) -> Result<Vec<Given>> {
        let inputs: Vec<Given> = self.inputs().cloned().collect();
        for (index, input) in inputs.iter().enumerate() {
            let Some(same) = inputs[..index].iter().find(|other| other.is_of(&input.policy)) else {
                continue;
            };
            let [one, two] = [same, input].map(|input| input.path.display());
            let name = input.policy.name();
            ensure!(
                same.path == input.path,
                "{one} and {two}: both named {name}, expected NAME=PATH for one of them"
            );
            ensure!(!inputs[..index].contains(input), "{one}: {} is given twice", input.policy);
        }
        Ok(inputs)
    }
}

/// One input, by name and content.
#[derive(Clone, Debug, Serialize)]
pub struct GivenSource {
    /// The name in rows.
    pub name: String,
    /// SHA-256 over its files, in the order of the samples.
    pub sha256: String,
}

impl Given {
    /// Reads `[NAME=]F.npy[:key=value,..]`. Without a name, the file's stem is the name.
    ///
    /// # Errors
    /// [`Error::Policy`] when the name or an option is refused.
    pub fn scores(text: &str) -> Result<Self, Error> {
        let (name, rest) = split_name(text);
        let (path, options) = split_options(rest);
        let path = PathBuf::from(path);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self { policy: Policy::of_given_scores(name.unwrap_or(&stem), options)?, path })
    }

    /// Reads `[NAME=]DIR`. Without a name, the folder's own is the name.
    ///
    /// # Errors
    /// [`Error::Policy`] when the name is refused.
    pub fn set(text: &str) -> Result<Self, Error> {
        let (name, path) = split_name(text);
        let path = PathBuf::from(path);
        let own = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self { policy: Policy::of_given_set(name.unwrap_or(&own))?, path })
    }

    /// The policy that stands for it in rows.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The files of a sample, whether or not they exist.
    fn files(&self, sample: &str) -> Vec<PathBuf> {
        let inside = |ending: &str| self.path.join(format!("{sample}{ending}"));
        match self.policy.rule() {
            Rule::GivenSet => {
                let optional = sets::reweighting_files(&self.path, sample).into_iter();
                sets::files(&self.path, sample)
                    .into_iter()
                    .chain(optional.filter(|file| file.exists()))
                    .collect()
            }
            _ if self.path.is_dir() => vec![inside(".npy")],
            _ => vec![self.path.clone()],
        }
    }

    /// Whether it is the input of a policy: options do not matter.
    fn is_of(&self, policy: &Policy) -> bool {
        self.policy.name() == policy.name()
    }

    fn require_existing(&self) -> Result<()> {
        let exists = self.path.symlink_metadata().is_ok();
        let missing = || Missing(format!("{}: no such file or folder", self.path.display()));
        Ok(exists.then_some(()).ok_or_else(missing)?)
    }

    fn check(&self, samples: &[SetSizes]) -> Result<()> {
        let name = || self.path.display().to_string();
        self.require_existing()?;
        let scores = matches!(self.policy.rule(), Rule::GivenScores);
        if !scores {
            ensure!(
                self.path.is_dir(),
                "{}: expected a folder with a retained set, found something else",
                name()
            );
        } else if samples.len() > 1 && !self.path.is_dir() {
            bail!(
                "{}: expected a folder with a NAME.npy for each of {} samples, found a file",
                name(),
                samples.len()
            );
        }
        if !scores {
            sets::check_tokens(&self.path, samples)?;
        }
        let read = |sample: &SetSizes| {
            if scores { self.scores_of(sample).map(drop) } else { sample.read(&self.path).map(drop) }
        };
        samples.iter().try_for_each(read)
    }

    fn scores_of(&self, sample: &SetSizes) -> Result<Vec<HeadScores>> {
        let SetSizes { layers, kv_heads, context, window, .. } = sample;
        let candidate_len = context.saturating_sub(*window);
        let shape = [layers.len(), *kv_heads, candidate_len];
        let file = self.files(&sample.sample).swap_remove(0);
        let values = reals(&file, &shape)?;
        let heads = |layer: usize| {
            let of_head =
                |head: usize| values[(layer * kv_heads + head) * candidate_len..][..candidate_len].to_vec();
            (0..*kv_heads).map(of_head).collect()
        };
        let scores = |(place, &layer)| HeadScores::new(LayerIndex(layer), heads(place));
        Ok(layers.iter().enumerate().map(scores).collect::<Result<_, _>>()?)
    }
}

/// Refuses paths that do not exist.
///
/// # Errors
/// [`Missing`].
pub fn require_existing(inputs: &[Given]) -> Result<()> {
    inputs.iter().try_for_each(Given::require_existing)
}

/// Refuses, before anything is computed, inputs that do not fit the samples.
///
/// # Errors
/// [`Missing`] when a path does not exist; otherwise one line that names the file.
pub fn check(inputs: &[Given], samples: &[SetSizes]) -> Result<()> {
    inputs.iter().try_for_each(|input| input.check(samples))
}

/// Every input by its name and the digest of its files.
///
/// # Errors
/// When a file cannot be read.
pub fn sources(inputs: &[Given], samples: &[SetSizes]) -> Result<Vec<GivenSource>> {
    let source = |&(name, path): &(&str, &Path)| -> Result<GivenSource> {
        let input = inputs.iter().find(|input| input.policy.name() == name && input.path == path);
        let files =
            input.into_iter().flat_map(|input| samples.iter().flat_map(|sample| input.files(&sample.sample)));
        let digest = |file: PathBuf| -> Result<String> {
            Ok(sha256(fs::read(&file).with_context(|| file.display().to_string())?))
        };
        let digests = files.map(digest).collect::<Result<Vec<_>>>()?;
        Ok(GivenSource { name: name.to_owned(), sha256: sha256(digests.concat()) })
    };
    let names = distinct(inputs.iter().map(|input| (input.policy.name(), input.path.as_path())));
    names.iter().map(source).collect()
}

/// Scores of a sample, by the name of a policy.
///
/// # Errors
/// When there are none of this name, or they do not fit the sample.
pub fn scores(inputs: &[Given], sample: &SetSizes, policy: &Policy) -> Result<Vec<HeadScores>> {
    of(inputs, policy)?.scores_of(sample)
}

/// A set of a sample, by the name of a policy.
///
/// # Errors
/// When there is none of this name, or it does not fit the sample.
pub fn set(inputs: &[Given], sample: &SetSizes, policy: &Policy) -> Result<RetainedSet> {
    sample.read(&of(inputs, policy)?.path)
}

fn of<'a>(inputs: &'a [Given], policy: &Policy) -> Result<&'a Given> {
    let found = inputs.iter().find(|input| input.is_of(policy));
    found.with_context(|| format!("{policy}: nothing of this name was given"))
}

/// `NAME=REST`: a name holds neither the separators of paths nor those of options.
fn split_name(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, rest)) if !name.contains(['/', '\\', ':']) => (Some(name), rest),
        _ => (None, text),
    }
}

/// `PATH:key=value,..`: the options begin after the first colon that a key and `=` follow.
fn split_options(text: &str) -> (&str, Option<&str>) {
    let is_key =
        |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let begins = |rest: &str| rest.split_once('=').is_some_and(|(key, _)| is_key(key));
    let mut colons = text.match_indices(':').map(|(at, _)| at);
    match colons.find(|at| begins(&text[at + 1..])) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}
