//! Retained sets in files: the sizes that a set has, and its two arrays.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use laprox_fixtures::{Manifest, reals, whole_numbers};
use laprox_reference::{Error, RetainedSet, Reweighting};
use serde::{Deserialize, Serialize};

use crate::input::{read_text, require_files};

const OFFSETS: &str = ".offsets.npy";
const POSITIONS: &str = ".positions.npy";
const BIAS: &str = ".bias.npy";
const VALUES: &str = ".values.npy";
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
    /// `d`; 0 if it is not known, and then no values are read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub head_dim: usize,
    /// SHA-256 of the context's token ids as little-endian u32, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_sha256: Option<String>,
}

impl SetSizes {
    /// Those of a set of the sample `index`.
    ///
    /// # Panics
    /// When there is no such sample.
    #[must_use]
    pub fn of(manifest: &Manifest, index: usize) -> Self {
        let sample = &manifest.samples[index];
        Self {
            sample: sample.name.clone(),
            layers: manifest.layers.clone(),
            kv_heads: manifest.model.kv_heads,
            context: sample.context,
            window: manifest.window,
            head_dim: manifest.model.head_dim,
            tokens_sha256: None,
        }
    }

    /// Those of the sets in a folder, as its summary tells them.
    ///
    /// # Errors
    /// [`crate::exit::Missing`] when there is no summary; otherwise when it does not tell the sizes.
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

    /// Reads the sample's set from a folder that this or another program has written.
    ///
    /// # Errors
    /// When the set does not have these sizes.
    pub fn read(&self, folder: &Path) -> Result<RetainedSet> {
        // A summary may tell any sizes; no array is as large as the saturated ones.
        let heads = self.layers.len().saturating_mul(self.kv_heads);
        let [offsets_file, positions_file] = files(folder, &self.sample);
        let offsets: Vec<u64> = whole_numbers(&offsets_file, heads.saturating_add(1))?;
        let (last, most) = (offsets[heads], heads.saturating_mul(self.context));
        let count = usize::try_from(last).ok().filter(|&count| count <= most);
        let count = count.with_context(|| {
            format!("{}: expected at most {most} positions, found {last}", offsets_file.display())
        })?;
        let positions: Vec<u32> = whole_numbers(&positions_file, count)?;
        let set = self.set(&offsets, &positions).with_context(|| positions_file.display().to_string())?;
        match self.reweighting(folder, count)? {
            Some(reweighting) => Ok(set.reweighted(reweighting)?),
            None => Ok(set),
        }
    }

    /// The biases and values of a set of so many entries, if there are any.
    fn reweighting(&self, folder: &Path, entries: usize) -> Result<Option<Reweighting>> {
        let [bias_file, values_file] = reweighting_files(folder, &self.sample);
        let narrow = |numbers: Vec<f64>| numbers.into_iter().map(|number| number as f32).collect();
        let values = if values_file.exists() {
            let missing = || format!("{}: expected {} beside it", values_file.display(), bias_file.display());
            ensure!(bias_file.exists(), missing());
            Some(narrow(reals(&values_file, &[entries, self.head_dim])?))
        } else {
            None
        };
        if !bias_file.exists() {
            return Ok(None);
        }
        let bias = narrow(reals(&bias_file, &[entries])?);
        Ok(Some(Reweighting::new(bias, values).with_context(|| bias_file.display().to_string())?))
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

/// The SHA-256 of the tokens that the sets of a folder were made for, by sample, as far as a summary tells.
///
/// # Errors
/// When the summary is not one.
pub fn tokens_in(folder: &Path) -> Result<BTreeMap<String, String>> {
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
    let file = folder.join(SUMMARY);
    if !file.is_file() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read(&file).with_context(|| file.display().to_string())?;
    let summary: Summary = serde_json::from_slice(&text).map_err(|fault| {
        anyhow!("{}: expected a summary of a set, found a fault: {fault}", file.display())
    })?;
    let known = summary.sets.into_iter().filter_map(|made| Some((made.sample, made.tokens_sha256?)));
    Ok(known.collect())
}

/// Refuses sets that were made for other tokens than those of the samples, as far as both are known.
///
/// # Errors
/// One line that names the summary and both digests; otherwise as [`tokens_in`].
pub fn check_tokens(folder: &Path, samples: &[SetSizes]) -> Result<()> {
    let tokens = tokens_in(folder)?;
    for SetSizes { sample, tokens_sha256, .. } in samples {
        let Some((made, own)) = tokens.get(sample).zip(tokens_sha256.as_ref()) else { continue };
        ensure!(
            made == own,
            "{}: {sample}: expected a set for tokens with SHA-256 {own}, found one for {made}",
            folder.join(SUMMARY).display()
        );
    }
    Ok(())
}

fn is_zero(size: &usize) -> bool {
    *size == 0
}

/// The files of a sample's set, offsets first, whether or not they exist.
#[must_use]
pub fn files(folder: &Path, sample: &str) -> [PathBuf; 2] {
    [OFFSETS, POSITIONS].map(|ending| folder.join(format!("{sample}{ending}")))
}

/// The files of a sample's biases and replaced values, which only a reweighted set has.
#[must_use]
pub fn reweighting_files(folder: &Path, sample: &str) -> [PathBuf; 2] {
    [BIAS, VALUES].map(|ending| folder.join(format!("{sample}{ending}")))
}
