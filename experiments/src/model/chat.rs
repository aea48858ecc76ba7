//! The chat template of the GGUF file: it turns a conversation into text of the form that the model was tuned on.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, context};

use super::error::{Error, Result};
use super::gguf::Gguf;
use super::tokenizer::Tokenizer;

/// A Jinja template over `messages`, `add_generation_prompt`, `bos_token` and `eos_token`.
pub struct ChatTemplate {
    source: Option<String>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Reads the template; a model without one can still be loaded.
    pub(super) fn read(gguf: &Gguf<'_>, tokenizer: &Tokenizer) -> Result<Self> {
        let source = gguf.text("tokenizer.chat_template")?.map(str::to_owned);
        Ok(Self { source, bos: tokenizer.bos_text().to_owned(), eos: tokenizer.eos_text().to_owned() })
    }

    /// A user's message as the first turn of a conversation, up to the beginning of the answer.
    ///
    /// # Errors
    /// [`Error::Chat`] when the model has no template, or the template is malformed or refuses the message.
    pub fn render(&self, message: &str) -> Result<String> {
        let source = self.source.as_ref().ok_or_else(|| Error::Chat("the model has none".to_owned()))?;
        let values = context! {
            messages => [context! { role => "user", content => message }],
            add_generation_prompt => true,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        let rendered = environment().and_then(|environment| environment.render_str(source, values));
        rendered.map_err(|source| Error::Chat(source.to_string()))
    }
}

/// Jinja as Hugging Face configures it for chat templates.
fn environment() -> std::result::Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_function("raise_exception", |reason: String| {
        Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
    });
    Ok(environment)
}
