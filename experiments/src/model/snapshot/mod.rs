//! A snapshot of a hub's repository: config.json, weights in safetensors files, tokenizer.json and what comes with them.
//!
//! ```text
//! files              folder -> SnapshotFiles: texts, mapped weights, their digest
//! document           text   -> typed values of a JSON object
//! class, keys, rotary  the tables of what is implemented
//! config, tensors, tokenizer, template   SnapshotFiles -> Snapshot
//! ```

mod class;
mod config;
mod document;
mod files;
mod keys;
mod rotary;
mod template;
mod tensors;
mod tokenizer;

use super::chat::ChatTemplate;
use super::config::Config;
use super::error::Result;
use super::rope::Divisors;
use super::tokenizer::Tokenizer;
use class::Class;
use config::Described;
pub(super) use files::SnapshotFiles;
use tensors::SnapshotTensors;

/// The parts of a model.
pub(super) struct Snapshot<'a> {
    pub(super) config: Config,
    /// The divisors of the rotary frequencies.
    pub(super) divisors: Divisors,
    pub(super) tensors: SnapshotTensors<'a>,
    pub(super) tokenizer: Tokenizer,
    pub(super) chat: ChatTemplate,
}

impl<'a> Snapshot<'a> {
    /// Reads everything but the weights' elements.
    ///
    /// # Errors
    /// [`super::Error`] when a file is damaged or asks for arithmetic that is not implemented.
    pub(super) fn read(files: &'a SnapshotFiles) -> Result<Self> {
        let document = files.document("config.json")?;
        let class = Class::read(&document)?;
        let Described { config, divisors, vocabulary_len } = config::read(&document, class)?;
        let tied = document.flag("tie_word_embeddings")?.unwrap_or(false);
        let tokenizer = tokenizer::read(files, vocabulary_len)?;
        Ok(Self {
            config,
            divisors,
            tensors: SnapshotTensors::read(files, class, class.biases(&document)?, tied)?,
            chat: ChatTemplate::new(files.folder(), template::read(files)?, &tokenizer),
            tokenizer,
        })
    }
}
