//! What can be wrong with a model file or with what is asked of the model.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this module's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal, one line long, that names the file wherever one is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder that cannot be read, or is not there.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which file or folder.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A wheel that is not a zip archive, or a damaged one.
    #[error("{}: not a readable wheel: {source}", file.display())]
    Wheel {
        /// The wheel.
        file: PathBuf,
        /// Why.
        source: zip::result::ZipError,
    },
    /// A wheel or a folder that does not hold what it should.
    #[error("{}: expected {expected}, found {found}", file.display())]
    Contents {
        /// The wheel or folder.
        file: PathBuf,
        /// What should be inside.
        expected: String,
        /// What is.
        found: String,
    },
    /// A file that claims, by name or size, to be a model whose digest is known, and is not.
    #[error("{}: is named or sized like {model}, whose sha256 is {expected}, but its own is {found}", file.display())]
    Digest {
        /// Where the bytes came from.
        file: PathBuf,
        /// The model that the file claims to be.
        model: &'static str,
        /// That model's digest.
        expected: &'static str,
        /// The file's digest.
        found: String,
    },
    /// A file that is not GGUF, or a damaged one.
    #[error("{}: not a readable GGUF file: {reason}", file.display())]
    Gguf {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A metadata value that is missing, of the wrong type, or asks for arithmetic that is not implemented.
    #[error("{}: metadata '{key}': {reason}", file.display())]
    Metadata {
        /// The file.
        file: PathBuf,
        /// The metadata key.
        key: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// A tensor that is missing, misshapen, cut short or left over.
    #[error("{}: tensor '{tensor}': {reason}", file.display())]
    Tensor {
        /// The file.
        file: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text that the tokenizer refuses.
    #[error("tokenizer: {0}")]
    Tokenizer(tokenizers::Error),
    /// A conversation that the chat template refuses, or a model without a template.
    #[error("chat template: {0}")]
    Chat(String),
    /// A text with fewer tokens than the sample needs.
    #[error("the text has {found} tokens, but the context and the future need {needed}")]
    ShortText {
        /// Context plus future.
        needed: usize,
        /// The text's tokens.
        found: usize,
    },
    /// A request that no text can satisfy.
    #[error("{what}: expected {expected}, found {found}")]
    Request {
        /// Which size.
        what: &'static str,
        /// The rule.
        expected: String,
        /// What was asked for.
        found: usize,
    },
    /// A failure of the tensor library.
    #[error("{}", first_line(.0))]
    Compute(#[from] candle_core::Error),
}

/// The message of a tensor library error without the backtrace that follows it where backtraces are switched on.
pub(super) fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl Error {
    /// The error of an operation on `file`.
    pub(super) fn io(file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_path_buf();
        move |source| Self::Io { file, source }
    }

    /// The error of reading the wheel `file`.
    pub(super) fn wheel(file: &Path) -> impl FnOnce(zip::result::ZipError) -> Self {
        let file = file.to_path_buf();
        move |source| Self::Wheel { file, source }
    }
}
