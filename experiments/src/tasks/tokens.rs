//! What a task needs to know of a model: how long a prompt is in its tokens.

use anyhow::Result;

use super::prompt::{Prompt, Rendered};
use crate::model::Model;

/// A model's tokens, in which prompts are measured and cut.
pub trait Tokens {
    /// The prompt as the model reads it.
    ///
    /// # Errors
    /// When the prompt cannot be rendered.
    fn render(&self, prompt: &Prompt) -> Result<Rendered>;

    /// A text's tokens, behind the one that begins a sequence where the model has it.
    ///
    /// # Errors
    /// When the text has no tokens in the model's vocabulary.
    fn tokenise(&self, text: &str) -> Result<Vec<u32>>;

    /// The tokens of a text that goes on where another one ended.
    ///
    /// # Errors
    /// As [`Tokens::tokenise`].
    fn tokenise_further(&self, text: &str) -> Result<Vec<u32>>;

    /// The text of tokens.
    ///
    /// # Errors
    /// When they are no tokens of the model.
    fn detokenise(&self, tokens: &[u32]) -> Result<String>;

    /// How many tokens the model reads before it answers: the context's and then the question's, which no token spans,
    /// so that a question asked after an eviction has the tokens that it would have had before.
    ///
    /// # Errors
    /// Those of [`Tokens::render`] and [`Tokens::tokenise`].
    fn count(&self, prompt: &Prompt) -> Result<usize> {
        let rendered = self.render(prompt)?;
        Ok(self.tokenise(&rendered.context)?.len() + self.tokenise_further(&rendered.question)?.len())
    }
}

impl Tokens for Model {
    fn render(&self, prompt: &Prompt) -> Result<Rendered> {
        prompt.render(self.chat())
    }

    fn tokenise(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer().encode(text)?)
    }

    fn tokenise_further(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer().encode_further(text)?)
    }

    fn detokenise(&self, tokens: &[u32]) -> Result<String> {
        Ok(self.tokenizer().decode(tokens)?)
    }
}
