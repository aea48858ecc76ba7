//! The tokens of a GGUF file, with their types.

use tokenizers::models::bpe::Vocab;

use super::error::Result;
use super::gguf::Gguf;

/// What a token is for, as GGUF numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenType {
    /// A text.
    Text,
    /// Stands for texts that have no token.
    Unknown,
    /// Such as `<|im_start|>`: recognised in text, omitted from decoded text.
    Control,
    /// Added to the vocabulary by the model's author: recognised in text, kept in decoded text.
    UserDefined,
    /// Stands for one byte of a character without a token.
    Byte,
}

/// The tokens, by their ids.
pub(super) struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<TokenType>,
}

impl Vocabulary {
    /// Reads the tokens and their types.
    ///
    /// # Errors
    /// [`super::Error::Metadata`] when a list is missing, empty or malformed, or the lists differ in length.
    pub(super) fn read(gguf: &Gguf<'_>) -> Result<Self> {
        let (tokens_key, types_key) = (key("tokens"), key("token_type"));
        let tokens = gguf.list(&tokens_key, "a list of strings", |token| Some(token.text()?.into_owned()))?;
        let tokens = gguf.required(&tokens_key, tokens.filter(|tokens| !tokens.is_empty()))?;
        let types = gguf.list(&types_key, "a list of whole numbers", |number| number.unsigned().map(of))?;
        let vocabulary = Self { tokens, types: gguf.required(&types_key, types)? };
        vocabulary.check_len(gguf, &types_key, vocabulary.types.len())?;
        Ok(vocabulary)
    }

    /// Refuses a list that has not one element per token.
    pub(super) fn check_len(&self, gguf: &Gguf<'_>, key: &str, found: usize) -> Result<()> {
        if found == self.len() {
            return Ok(());
        }
        Err(gguf.bad(key, format!("expected one for each of {} tokens, found {found}", self.len())))
    }

    /// The number of tokens.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// A token's text.
    pub(super) fn text(&self, id: u32) -> &str {
        &self.tokens[id as usize]
    }

    /// The ids by text.
    pub(super) fn ids(&self) -> Vocab {
        (0..).zip(&self.tokens).map(|(id, token)| (token.clone(), id)).collect()
    }

    /// The tokens of one type, with their ids.
    pub(super) fn of_type(&self, wanted: TokenType) -> impl Iterator<Item = (u32, &str)> {
        let tokens = (0..).zip(&self.tokens).zip(&self.types);
        tokens.filter(move |(_, kind)| **kind == wanted).map(|((id, token), _)| (id, token.as_str()))
    }

    /// Reads the id of a token with a role, such as `bos_token_id`; `None` if the key is absent.
    pub(super) fn read_id(&self, gguf: &Gguf<'_>, name: &str) -> Result<Option<u32>> {
        let key = key(name);
        let Some(id) = gguf.size(&key)? else {
            return Ok(None);
        };
        if id >= self.len() {
            return Err(gguf.bad(&key, format!("expected an id below {}, found {id}", self.len())));
        }
        Ok(u32::try_from(id).ok())
    }
}

/// `tokenizer.ggml.NAME`, a metadata key.
pub(super) fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

fn of(number: u64) -> TokenType {
    match number {
        2 => TokenType::Unknown,
        3 => TokenType::Control,
        4 => TokenType::UserDefined,
        6 => TokenType::Byte,
        _ => TokenType::Text,
    }
}
