//! The errors of a model file and of requests to the model.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of this module's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal, one line long. It names the file if a file is at fault.
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
    /// A wheel or a folder with the wrong contents.
    #[error("{}: expected {expected}, found {found}", file.display())]
    Contents {
        /// The wheel or folder.
        file: PathBuf,
        /// The contents that a model needs.
        expected: String,
        /// The contents that are there.
        found: String,
    },
    /// A file with the name or the size of a model whose digest is known, but with another digest.
    #[error("{}: is named or sized like {model}, whose sha256 is {expected}, but its own is {found}", file.display())]
    Digest {
        /// The file, wheel or folder that was read.
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
        /// The fault of its value.
        reason: String,
    },
    /// A tensor that is missing, misshapen, cut short or left over.
    #[error("{}: tensor '{tensor}': {reason}", file.display())]
    Tensor {
        /// The file.
        file: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The fault.
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
    #[error("a tensor operation failed: {}", first_line(.0))]
    Compute(candle_core::Error),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Compute(error)
    }
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
