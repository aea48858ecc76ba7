//! `--scores` and `--retained`: scores and sets that were made elsewhere, as rows beside policies or in place of one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use laprox_fixtures::{reals, whole_numbers};
use laprox_reference::{Error, HeadScores, LayerIndex, LayerShape, Policy, RetainedSet, Rule};
use ndarray::ArrayView1;
use ndarray_npy::{WritableElement, WriteNpyExt};
use serde::{Deserialize, Serialize};

use crate::digest::sha256;
use crate::exit::Missing;
use crate::group::distinct;
use crate::input::{read_text, require_files};
use crate::output::create;
use crate::sample::Sample;

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
    /// A retained set in place of a policy's, [NAME=]DIR: per sample NAME.offsets.npy and NAME.positions.npy, as
    /// `laprox evict --out` writes them. Its budget is what it holds.
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
    /// Retained sets beside the policies', [NAME=]DIR: per sample NAME.offsets.npy and NAME.positions.npy, as
    /// `laprox evict --out` writes them. The budget of a set is what it holds; repeat the option for more.
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

/// What tells for which tokens sets were made.
#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    sets: Vec<MadeFor>,
}

#[derive(Deserialize)]
struct MadeFor {
    sample: String,
    #[serde(default)]
    tokens_sha256: Option<String>,
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
            Rule::GivenSet => set_files(&self.path, sample).to_vec(),
            _ if self.path.is_dir() => vec![inside(".npy")],
            _ => vec![self.path.clone()],
        }
    }

    /// Whether it is the input of a policy: options do not matter.
    fn is_of(&self, policy: &Policy) -> bool {
        self.policy.name() == policy.name()
    }

    fn check(&self, samples: &[Sample<'_>]) -> Result<()> {
        let name = || self.path.display().to_string();
        if self.path.symlink_metadata().is_err() {
            return Err(Missing(format!("{}: no such file or folder", name())).into());
        }
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
            self.check_tokens(samples)?;
        }
        let read = |sample: &Sample<'_>| {
            if scores { self.scores_of(sample).map(drop) } else { self.set_of(sample).map(drop) }
        };
        samples.iter().try_for_each(read)
    }

    /// Refuses a set that was made for other tokens, where its summary and the dump tell.
    fn check_tokens(&self, samples: &[Sample<'_>]) -> Result<()> {
        let file = self.path.join(SUMMARY);
        if !file.is_file() {
            return Ok(());
        }
        let text = fs::read(&file).with_context(|| file.display().to_string())?;
        let summary: Summary = serde_json::from_slice(&text).map_err(|fault| {
            anyhow!("{}: expected a summary of a set, found a fault: {fault}", file.display())
        })?;
        for sample in samples {
            let made = summary.sets.iter().find(|made| made.sample == sample.name());
            let Some((made, own)) =
                made.and_then(|made| made.tokens_sha256.clone()).zip(sample.tokens_sha256()?)
            else {
                continue;
            };
            let name = sample.name();
            ensure!(
                made == own,
                "{}: {name}: expected a set for tokens with SHA-256 {own}, found one for {made}",
                file.display()
            );
        }
        Ok(())
    }

    fn scores_of(&self, sample: &Sample<'_>) -> Result<Vec<HeadScores>> {
        let manifest = sample.dump.manifest();
        let LayerShape { kv_heads, context_len, window_len, .. } = manifest.layer_shape(sample.index);
        let candidate_len = context_len - window_len;
        let shape = [manifest.layers.len(), kv_heads, candidate_len];
        let file = self.files(sample.name()).swap_remove(0);
        let values = reals(&file, &shape)?;
        let heads = |layer: usize| {
            let of_head =
                |head: usize| values[(layer * kv_heads + head) * candidate_len..][..candidate_len].to_vec();
            (0..kv_heads).map(of_head).collect()
        };
        let layers = manifest.layers.iter().enumerate();
        Ok(layers
            .map(|(place, &layer)| HeadScores::new(LayerIndex(layer), heads(place)))
            .collect::<Result<_, _>>()?)
    }

    fn set_of(&self, sample: &Sample<'_>) -> Result<RetainedSet> {
        SetSizes::of(sample).read(&self.path)
    }
}

const OFFSETS: &str = ".offsets.npy";
const POSITIONS: &str = ".positions.npy";
/// The file beside the sets that says how they came about.
pub const SUMMARY: &str = "summary.json";

/// The sizes of a sample's set, which its arrays do not tell.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SetSizes {
    /// The sample.
    pub sample: String,
    /// The layers' numbers in the model.
    pub layers: Vec<usize>,
    /// `Hkv`.
    pub kv_heads: usize,
    /// `n`.
    pub context: usize,
    /// `w`.
    pub window: usize,
    /// SHA-256 of the context's token ids as little-endian u32, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_sha256: Option<String>,
}

impl SetSizes {
    /// Those of a set of a sample.
    #[must_use]
    pub fn of(sample: &Sample<'_>) -> Self {
        let manifest = sample.dump.manifest();
        Self {
            sample: sample.name().to_owned(),
            layers: manifest.layers.clone(),
            kv_heads: manifest.model.kv_heads,
            context: sample.context_len(),
            window: sample.window_len(),
            tokens_sha256: None,
        }
    }

    /// The same with the digest of the sample's tokens, if the dump holds them.
    ///
    /// # Errors
    /// When the tokens cannot be read.
    pub fn with_tokens(sample: &Sample<'_>) -> Result<Self> {
        Ok(Self { tokens_sha256: sample.tokens_sha256()?, ..Self::of(sample) })
    }

    /// Those of the sets in a folder, as its summary tells them.
    ///
    /// # Errors
    /// [`Missing`] when there is no summary; otherwise when it does not tell the sizes.
    pub fn all_in(folder: &Path) -> Result<Vec<Self>> {
        #[derive(Deserialize)]
        struct Summary {
            sets: Vec<SetSizes>,
        }
        let file = folder.join(SUMMARY);
        require_files(std::iter::once(&file))?;
        let text = read_text(&file)?;
        let summary: Summary = serde_json::from_str(&text)
            .with_context(|| format!("{}: expected the sizes of sets", file.display()))?;
        Ok(summary.sets)
    }

    /// Reads the sample's set from a folder that [`write_set`] or another program has written.
    ///
    /// # Errors
    /// When the set does not have these sizes.
    pub fn read(&self, folder: &Path) -> Result<RetainedSet> {
        // A summary may tell any sizes; no array is as large as the saturated ones.
        let heads = self.layers.len().saturating_mul(self.kv_heads);
        let [offsets_file, positions_file] = set_files(folder, &self.sample);
        let offsets: Vec<u64> = whole_numbers(&offsets_file, heads.saturating_add(1))?;
        let (last, most) = (offsets[heads], heads.saturating_mul(self.context));
        let count = usize::try_from(last).ok().filter(|&count| count <= most);
        let count = count.with_context(|| {
            format!("{}: expected at most {most} positions, found {last}", offsets_file.display())
        })?;
        let positions: Vec<u32> = whole_numbers(&positions_file, count)?;
        self.set(&offsets, &positions).with_context(|| positions_file.display().to_string())
    }

    /// The set of these arrays.
    ///
    /// # Errors
    /// As [`RetainedSet::from_stored`].
    pub fn set(&self, offsets: &[u64], positions: &[u32]) -> Result<RetainedSet, Error> {
        let sizes = (self.layers.len(), self.kv_heads);
        RetainedSet::from_stored(sizes, self.context, self.window, offsets, positions)
    }
}

fn set_files(folder: &Path, sample: &str) -> [PathBuf; 2] {
    [OFFSETS, POSITIONS].map(|ending| folder.join(format!("{sample}{ending}")))
}

/// Writes a sample's set into a folder, in the form that `--retained` reads.
///
/// # Errors
/// When the file system fails.
pub fn write_set(folder: &Path, sample: &str, retained: &RetainedSet) -> Result<()> {
    let offsets: Vec<u64> = retained.offsets().iter().map(|&offset| offset as u64).collect();
    let [offsets_file, positions_file] = set_files(folder, sample);
    write_array(&offsets_file, &offsets)?;
    write_array(&positions_file, retained.positions())
}

fn write_array(path: &Path, values: &[impl WritableElement]) -> Result<()> {
    create(path, |file| Ok(ArrayView1::from(values).write_npy(file)?))
}

/// Refuses, before anything is computed, inputs that do not fit the samples.
///
/// # Errors
/// [`Missing`] when a path does not exist; otherwise one line that names the file.
pub fn check(inputs: &[Given], samples: &[Sample<'_>]) -> Result<()> {
    inputs.iter().try_for_each(|input| input.check(samples))
}

/// Every input by its name and the digest of its files.
///
/// # Errors
/// When a file cannot be read.
pub fn sources(inputs: &[Given], samples: &[Sample<'_>]) -> Result<Vec<GivenSource>> {
    let source = |&(name, path): &(&str, &Path)| -> Result<GivenSource> {
        let input = inputs.iter().find(|input| input.policy.name() == name && input.path == path);
        let files =
            input.into_iter().flat_map(|input| samples.iter().flat_map(|sample| input.files(sample.name())));
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
pub fn scores(sample: &Sample<'_>, policy: &Policy) -> Result<Vec<HeadScores>> {
    of(sample, policy)?.scores_of(sample)
}

/// A set of a sample, by the name of a policy.
///
/// # Errors
/// When there is none of this name, or it does not fit the sample.
pub fn set(sample: &Sample<'_>, policy: &Policy) -> Result<RetainedSet> {
    of(sample, policy)?.set_of(sample)
}

fn of<'a>(sample: &Sample<'a>, policy: &Policy) -> Result<&'a Given> {
    let found = sample.given.iter().find(|input| input.is_of(policy));
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
