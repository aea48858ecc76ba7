//! Text to token ids and back, rebuilt from the GGUF file.

use tokenizers::AddedToken;

use super::error::{Error, Result};
use super::gguf::Gguf;
use super::steps::Steps;
use super::vocabulary::{TokenType, Vocabulary, key};
use super::{byte_level, sentence_piece};

/// The tokens between the last one that is kept and the end of what is encoded.
pub(crate) const MARGIN: usize = 256;

/// More bytes than most tokens of prose have.
pub(crate) const TOKEN_BYTES: usize = 8;

/// Converts text to token ids and back.
pub struct Tokenizer {
    pub(super) inner: tokenizers::Tokenizer,
    pub(super) vocabulary_len: usize,
    /// The mark that keeps a text that continues another one from getting a space before it.
    pub(super) continued: Option<char>,
    pub(super) bos: Option<u32>,
    /// The text of the begin-of-sequence token, empty if the model has none.
    pub(super) bos_text: String,
    /// The text of the end-of-sequence token, empty if the model has none.
    pub(super) eos_text: String,
    /// The tokens that end the sequence or the turn.
    pub(super) ends: Vec<u32>,
    pub(super) prepends_bos: bool,
}

impl Tokenizer {
    /// Rebuilds the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// [`Error::Metadata`] when a key is missing or malformed, or the kind of tokenizer is not implemented.
    pub(super) fn read(gguf: &Gguf<'_>) -> Result<Self> {
        let model = key("model");
        let build = match &*gguf.required(&model, gguf.text(&model)?)? {
            "gpt2" => byte_level::build,
            "llama" => sentence_piece::build,
            other => {
                let known = "only 'gpt2' (byte-level BPE) and 'llama' (SentencePiece)";
                return Err(gguf.bad(&model, format!("'{other}' is not supported, {known}")));
            }
        };
        let vocabulary = Vocabulary::read(gguf)?;
        let Steps { mut inner, prepends_bos, continued } = build(gguf, &vocabulary)?;
        add_tokens(&vocabulary, &mut inner)?;

        let bos = vocabulary.read_id(gguf, "bos_token_id")?;
        let eos = gguf.required(&key("eos_token_id"), vocabulary.read_id(gguf, "eos_token_id")?)?;
        let end_of_turn = vocabulary.read_id(gguf, "eot_token_id")?;
        let prepends_bos = gguf.flag(&key("add_bos_token"))?.unwrap_or(prepends_bos);
        if prepends_bos {
            gguf.required(&key("bos_token_id"), bos)?;
        }
        let ends = std::iter::once(eos).chain(end_of_turn).collect();
        let text = |id: u32| vocabulary.text(id).to_owned();
        Ok(Self {
            inner,
            vocabulary_len: vocabulary.len(),
            continued,
            bos,
            bos_text: bos.map_or_else(String::new, text),
            eos_text: text(eos),
            ends,
            prepends_bos,
        })
    }

    /// The token ids of a text. The text of a control token such as `<|im_start|>` becomes that token.
    ///
    /// The begin-of-sequence token comes first if the model's metadata asks for it, once: a text that begins with that
    /// token, as a rendered chat template may, gets no second one. No token comes last that the text does not hold.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode_noting_start(text)?.0)
    }

    /// The same, and whether the first token was added.
    fn encode_noting_start(&self, text: &str) -> Result<(Vec<u32>, bool)> {
        let mut tokens = self.ids(text)?;
        let added = self.bos.filter(|bos| self.prepends_bos && tokens.first() != Some(bos));
        if let Some(bos) = added {
            tokens.insert(0, bos);
        }
        Ok((tokens, added.is_some()))
    }

    /// The first `len` token ids of a text, or all of them if it has fewer, and whether the first was added. Only the beginning
    /// of a long text is encoded.
    ///
    /// They are those of [`Self::encode`], unless one word of more than 256 tokens crosses the end of that beginning.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the text cannot be encoded.
    pub fn encode_beginning(&self, text: &str, len: usize) -> Result<(Vec<u32>, bool)> {
        let needed = len.saturating_add(MARGIN);
        let mut reach = needed.saturating_mul(TOKEN_BYTES);
        loop {
            let end = (reach..text.len()).find(|&end| text.is_char_boundary(end)).unwrap_or(text.len());
            let (mut tokens, added_start) = self.encode_noting_start(&text[..end])?;
            if end == text.len() || tokens.len() >= needed {
                tokens.truncate(len);
                return Ok((tokens, added_start));
            }
            reach = reach.saturating_mul(2);
        }
    }

    /// The token ids of a text that continues another one: no begin-of-sequence token, and no space before it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the text cannot be encoded.
    pub fn encode_further(&self, text: &str) -> Result<Vec<u32>> {
        let marked = self.continued.map(|mark| format!("{mark}{text}"));
        self.ids(marked.as_deref().unwrap_or(text))
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(Error::Tokenizer)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of token ids, without control tokens; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the ids cannot be decoded.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.inner.decode(tokens, true).map_err(Error::Tokenizer)
    }

    /// The number of tokens in the vocabulary.
    #[must_use]
    pub fn vocabulary_len(&self) -> usize {
        self.vocabulary_len
    }

    /// Whether this token ends the sequence or the turn, so that generation stops.
    #[must_use]
    pub fn ends(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }
}

/// Registers the tokens that are recognised before any other step.
fn add_tokens(vocabulary: &Vocabulary, tokenizer: &mut tokenizers::Tokenizer) -> Result<()> {
    let of_type = |wanted: TokenType, omitted: bool| {
        let tokens = vocabulary.of_type(wanted);
        tokens.map(move |(_, token)| AddedToken::from(token.to_owned(), omitted).normalized(false))
    };
    let omitted = of_type(TokenType::Control, true).chain(of_type(TokenType::Unknown, true));
    tokenizer.add_special_tokens(omitted).map_err(Error::Tokenizer)?;
    tokenizer.add_tokens(of_type(TokenType::UserDefined, false)).map_err(Error::Tokenizer)?;
    Ok(())
}
