//! The errors of a model file and of requests to the model.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use laprox_fixtures::quote::{escaped, excerpt};

/// The result of this module's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal, one line long. It names the file if a file is at fault. The line is complete: there is no chain of sources
/// behind it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder that cannot be read, or is not there.
    #[error("{}: {cause}", escaped(file.display()))]
    Io {
        /// Which file or folder.
        file: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A wheel that is not a zip archive, or a damaged one.
    #[error("{}: not a readable wheel: {}", escaped(file.display()), excerpt(cause))]
    Wheel {
        /// The wheel.
        file: PathBuf,
        /// Why.
        cause: zip::result::ZipError,
    },
    /// A file, a wheel or a folder with the wrong contents.
    #[error("{}: expected {}, found {}", escaped(file.display()), excerpt(expected), excerpt(found))]
    Contents {
        /// The file, wheel or folder.
        file: PathBuf,
        /// The contents that a model needs.
        expected: String,
        /// The contents that are there.
        found: String,
    },
    /// A GGUF file with a damaged header.
    #[error("{}: not a readable GGUF file: {}", escaped(file.display()), excerpt(reason))]
    Gguf {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A metadata value that is missing, of the wrong type, or asks for arithmetic that is not implemented.
    #[error("{}: metadata '{}': {}", escaped(file.display()), excerpt(key), excerpt(reason))]
    Metadata {
        /// The file.
        file: PathBuf,
        /// The metadata key.
        key: String,
        /// The fault of its value.
        reason: String,
    },
    /// A tensor that is missing, misshapen, cut short, left over or of an unsupported type.
    #[error("{}: tensor '{}': {}", escaped(file.display()), excerpt(tensor), excerpt(reason))]
    Tensor {
        /// The file.
        file: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The fault.
        reason: String,
    },
    /// A file of weights that cannot be mapped.
    #[error(transparent)]
    Map(#[from] laprox_fixtures::DumpError),
    /// A text that the tokenizer refuses.
    #[error("tokenizer: {}", excerpt(.0))]
    Tokenizer(tokenizers::Error),
    /// A conversation that the chat template refuses, or a model without a template.
    #[error("{}: chat template: {}", escaped(file.display()), excerpt(reason))]
    Chat {
        /// The file.
        file: PathBuf,
        /// The template's fault or refusal.
        reason: String,
    },
    /// A text with fewer tokens than the sample needs.
    #[error("the text has {found} tokens, but the context and the future need {needed}")]
    ShortText {
        /// Context plus future.
        needed: usize,
        /// The text's tokens.
        found: usize,
    },
    /// A request that no text can satisfy.
    #[error("{quantity}: expected {expected}, found {found}")]
    Request {
        /// The quantity out of range.
        quantity: Quantity,
        /// Its range.
        expected: String,
        /// The requested value.
        found: usize,
    },
    /// Activations that are NaN or infinite.
    #[error("{place}: the model computes NaN or infinity")]
    NotFinite {
        /// The layer and the tokens' positions, or the logits.
        place: String,
    },
    /// A failure of the tensor library.
    #[error("a tensor operation failed: {}", escaped(first_line(.0)))]
    Compute(candle_core::Error),
}

/// A number that a caller chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// `w`, the observation window's length.
    Window,
    /// The tokens that a cache has to hold.
    Tokens,
    /// The tokens of a prompt.
    PromptTokens,
    /// The tokens per pass through the layers.
    ChunkLen,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Window => "window",
            Self::Tokens => "tokens",
            Self::PromptTokens => "prompt tokens",
            Self::ChunkLen => "chunk length",
        })
    }
}

/// The message of a tensor library error without the backtrace that may follow it.
pub(super) fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Compute(error)
    }
}

impl Error {
    /// The error of an operation on `file`.
    pub(super) fn io(file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_path_buf();
        move |cause| Self::Io { file, cause }
    }

    /// The error of a file or folder that does not hold what was expected of it.
    pub(super) fn contents(file: &Path, expected: &str, found: impl Into<String>) -> Self {
        Self::Contents { file: file.to_path_buf(), expected: expected.to_owned(), found: found.into() }
    }

    /// The error of reading the wheel `file`.
    pub(super) fn wheel(file: &Path) -> impl FnOnce(zip::result::ZipError) -> Self {
        let file = file.to_path_buf();
        move |cause| Self::Wheel { file, cause }
    }
}
