//! One sample of a dump.

use anyhow::Result;
use laprox_fixtures::Dump;
use laprox_reference::Backend;

use crate::digest;
use crate::given::Given;
use crate::progress::Progress;
use crate::seed::seed_of;
use crate::streamed::Streamed;

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
