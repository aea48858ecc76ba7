//! How much text a prompt holds.

/// The amount of text in a prompt.
#[derive(Clone, Copy)]
pub(super) struct Size {
    /// Sentences of prose, or words of a list.
    pub(super) whole: usize,
    /// Bytes of one more sentence.
    pub(super) part: usize,
}
