//! The steps between a text and its tokens: what sets one kind of tokenizer apart from another.

/// The steps of one kind of tokenizer.
pub(super) struct Steps {
    /// The steps, without the tokens that are recognised before any of them.
    pub(super) inner: tokenizers::Tokenizer,
    /// Whether a text gets a begin-of-sequence token if the file does not say so.
    pub(super) prepends_bos: bool,
    /// Stands before a text that continues another one, if the steps treat it differently.
    pub(super) continued: Option<char>,
}
