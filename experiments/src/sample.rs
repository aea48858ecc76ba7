//! One sample of a dump.

use std::path::PathBuf;

use anyhow::{Result, bail};
use laprox_fixtures::Dump;
use laprox_reference::{Backend, POLICIES, Policy, Supplement};

use crate::digest;
use crate::given::Given;
use crate::progress::Progress;
use crate::seed::seed_of;
use crate::sets::SetSizes;
use crate::streamed::Streamed;

/// The longest name of a text's sample before a number behind it.
const LONGEST_NAME: usize = 100;

/// A text's name, restricted to the characters of sample names.
#[must_use]
pub fn plain_name(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let plain = |letter: char| if is_plain(letter) { letter } else { '_' };
    let name: String = text.trim_start_matches('.').chars().map(plain).take(LONGEST_NAME).collect();
    let is_reserved = ["", "weights", "manifest.json"].iter().any(|other| name.eq_ignore_ascii_case(other));
    if is_reserved { format!("text_{name}") } else { name }
}

/// The first file of a supplement that a sample's layers lack.
#[must_use]
pub fn missing(dump: &Dump, sample: usize, supplement: Supplement) -> Option<PathBuf> {
    let manifest = dump.manifest();
    let mut layers = manifest.ordinals().zip(manifest.layers());
    let lacks = |(ordinal, _): &(_, _)| !dump.supplements(sample, *ordinal).contains(&supplement);
    let (_, layer) = layers.find(lacks)?;
    Some(dump.path().join(manifest.supplement_file(sample, layer, supplement)))
}

/// Refuses a policy that reads what a sample lacks.
///
/// # Errors
/// The policy, the file, and the command that writes it.
pub fn require_supplements(dump: &Dump, sample: usize, policy: &Policy) -> Result<()> {
    for &supplement in policy.needs() {
        if let Some(file) = missing(dump, sample, supplement) {
            let (file, written) = (file.display(), supplement.written_by());
            bail!("policy '{policy}': expected {file}, found nothing ({written})");
        }
    }
    Ok(())
}

/// The policies of the table that read supplements, if every sample of the dumps has them.
#[must_use]
pub fn supplied_policies(dumps: &[Dump]) -> Vec<Policy> {
    let has = |dump: &Dump, which: Supplement| {
        (0..dump.manifest().samples.len()).all(|sample| missing(dump, sample, which).is_none())
    };
    let reading = POLICIES.iter().filter(|entry| !entry.needs().is_empty());
    let supplied =
        reading.filter(|entry| entry.needs().iter().all(|&which| dumps.iter().all(|dump| has(dump, which))));
    supplied.filter_map(|entry| entry.name.parse().ok()).collect()
}

/// One sample of a dump, and the path that computes on it.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    /// The activations.
    pub dump: &'a Dump,
    /// The sample's index in the dump.
    pub index: usize,
    /// The path.
    pub backend: &'a dyn Backend,
    /// Scores and sets of it that were made elsewhere.
    pub given: &'a [Given],
}

impl<'a> Sample<'a> {
    /// The sample's name in the dump.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.dump.manifest().samples[self.index].name
    }

    /// `n`.
    #[must_use]
    pub fn context_len(&self) -> usize {
        self.dump.manifest().samples[self.index].context
    }

    /// `w`.
    #[must_use]
    pub fn window_len(&self) -> usize {
        self.dump.manifest().window
    }

    /// The digest of the context's tokens; `None` if the dump does not hold them.
    ///
    /// # Errors
    /// When the file of the tokens has changed.
    pub fn tokens_sha256(&self) -> Result<Option<String>> {
        let tokens = self.dump.tokens(self.index)?;
        Ok(tokens.map(|tokens| digest::of_tokens(&tokens[..self.context_len()])))
    }

    /// The sizes of its sets.
    #[must_use]
    pub fn set_sizes(&self) -> SetSizes {
        SetSizes::of(self.dump.manifest(), self.index)
    }

    /// The same, with the digest of the tokens that the sets are for.
    ///
    /// # Errors
    /// As [`Sample::tokens_sha256`].
    pub fn known_sizes(&self) -> Result<SetSizes> {
        Ok(SetSizes { tokens_sha256: self.tokens_sha256()?, ..self.set_sizes() })
    }

    /// The seed of this sample's draws: `seed` mixed with the sample's name.
    #[must_use]
    pub fn seed(&self, seed: u64) -> u64 {
        seed_of(self.name(), seed)
    }

    /// The sample's layers; each visit of one is a step of `progress`.
    #[must_use]
    pub fn layers(self, progress: &'a Progress) -> Streamed<'a> {
        Streamed::new(self, progress)
    }
}
