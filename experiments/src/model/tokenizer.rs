//! The byte-level BPE tokenizer, rebuilt from the vocabulary, merges and token types of the GGUF file.

use candle_core::quantized::gguf_file::Value;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use super::error::{Error, Result};
use super::gguf::Gguf;

/// GGUF's type of a control token such as `<|im_start|>`: recognised in text, omitted from decoded text.
const CONTROL: i32 = 3;
/// GGUF's type of a token that the model's author added to the vocabulary: recognised in text, kept in decoded text.
const USER_DEFINED: i32 = 4;

/// Qwen2's pieces of a text before BPE: contractions, words with one leading mark, single digits, marks, white space.
const QWEN2_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Converts text to token ids and back.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary: Vec<String>,
    bos: Option<u32>,
    eos: u32,
    ends: Vec<u32>,
    prepends_bos: bool,
}

impl Tokenizer {
    /// Rebuilds the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// [`Error::Metadata`] when a key is missing or malformed, or the kind of tokenizer is not implemented.
    pub(super) fn read(gguf: &Gguf<'_>) -> Result<Self> {
        refuse_other_kinds(gguf)?;
        let vocabulary = read_vocabulary(gguf)?;
        let mut inner = tokenizers::Tokenizer::new(read_bpe(gguf, &vocabulary)?);
        apply_pre_tokenizer(gguf, &mut inner)?;
        inner.with_decoder(Some(ByteLevelDecoder::default()));
        add_tokens(gguf, &vocabulary, &mut inner)?;

        let bos = read_id(gguf, "bos_token_id", vocabulary.len())?;
        let eos = gguf.required(&key("eos_token_id"), read_id(gguf, "eos_token_id", vocabulary.len())?)?;
        let end_of_turn = read_id(gguf, "eot_token_id", vocabulary.len())?;
        let prepends_bos = gguf.flag(&key("add_bos_token"))?.unwrap_or(false);
        if prepends_bos {
            gguf.required(&key("bos_token_id"), bos)?;
        }
        let ends = std::iter::once(eos).chain(end_of_turn).collect();
        Ok(Self { inner, vocabulary, bos, eos, ends, prepends_bos })
    }

    /// The token ids of a text. The text of a control token such as `<|im_start|>` becomes that token.
    ///
    /// The begin-of-sequence token comes first only if the model's metadata asks for it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let bos = self.bos.filter(|_| self.prepends_bos);
        Ok(bos.into_iter().chain(self.encode_further(text)?).collect())
    }

    /// The token ids of a text that continues another one: no begin-of-sequence token.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the text cannot be encoded.
    pub fn encode_further(&self, text: &str) -> Result<Vec<u32>> {
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
        self.vocabulary.len()
    }

    /// Whether this token ends the sequence or the turn, so that generation stops.
    #[must_use]
    pub fn ends(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The text of the begin-of-sequence token, empty if the model has none.
    pub(super) fn bos_text(&self) -> &str {
        self.bos.map_or("", |bos| &self.vocabulary[bos as usize])
    }

    /// The text of the end-of-sequence token.
    pub(super) fn eos_text(&self) -> &str {
        &self.vocabulary[self.eos as usize]
    }
}

fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

fn refuse_other_kinds(gguf: &Gguf<'_>) -> Result<()> {
    let model = key("model");
    match gguf.required(&model, gguf.text(&model)?)? {
        "gpt2" => {}
        other => return Err(gguf.bad(&model, format!("'{other}' is not supported, only 'gpt2'"))),
    }
    let appends_eos = key("add_eos_token");
    if gguf.flag(&appends_eos)?.unwrap_or(false) {
        return Err(gguf.bad(&appends_eos, "not supported".to_owned()));
    }
    Ok(())
}

fn read_vocabulary(gguf: &Gguf<'_>) -> Result<Vec<String>> {
    let tokens = key("tokens");
    let vocabulary = gguf.list(&tokens, "a list of strings", |token| token.to_string().ok().cloned())?;
    gguf.required(&tokens, vocabulary.filter(|tokens| !tokens.is_empty()))
}

fn read_bpe(gguf: &Gguf<'_>, vocabulary: &[String]) -> Result<BPE> {
    let merges_key = key("merges");
    let merges: Option<Merges> = gguf.list(&merges_key, "a list of pairs separated by a space", |merge| {
        let (left, right) = merge.to_string().ok()?.split_once(' ')?;
        Some((left.to_owned(), right.to_owned()))
    })?;
    let ids: Vocab = (0..).zip(vocabulary).map(|(id, token)| (token.clone(), id)).collect();
    BPE::builder()
        .vocab_and_merges(ids, gguf.required(&merges_key, merges)?)
        .build()
        .map_err(|source| gguf.bad(&merges_key, source.to_string()))
}

/// Sets the steps before BPE, by the name that GGUF gives to the model family's rules.
fn apply_pre_tokenizer(gguf: &Gguf<'_>, tokenizer: &mut tokenizers::Tokenizer) -> Result<()> {
    let pre = key("pre");
    let steps: Vec<PreTokenizerWrapper> = match gguf.required(&pre, gguf.text(&pre)?)? {
        "smollm" => vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()],
        "qwen2" => {
            tokenizer.with_normalizer(Some(NFC)).map_err(Error::Tokenizer)?;
            let pattern = SplitPattern::Regex(QWEN2_PATTERN.to_owned());
            let split =
                Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(Error::Tokenizer)?;
            vec![split.into(), ByteLevel::new(false, true, false).into()]
        }
        other => {
            return Err(gguf.bad(&pre, format!("'{other}' is not supported, only 'smollm' and 'qwen2'")));
        }
    };
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    Ok(())
}

/// Registers the tokens that are recognised before any other step.
fn add_tokens(gguf: &Gguf<'_>, vocabulary: &[String], tokenizer: &mut tokenizers::Tokenizer) -> Result<()> {
    let types_key = key("token_type");
    let types = gguf.list(&types_key, "a list of i32", |value| match value {
        Value::I32(kind) => Some(*kind),
        _ => None,
    })?;
    let types = gguf.required(&types_key, types)?;
    if types.len() != vocabulary.len() {
        let reason = format!("expected one for each of {} tokens, found {}", vocabulary.len(), types.len());
        return Err(gguf.bad(&types_key, reason));
    }
    let of_type = |wanted: i32| {
        let tokens = types.iter().zip(vocabulary).filter(move |(kind, _)| **kind == wanted);
        tokens.map(move |(_, token)| AddedToken::from(token.clone(), wanted == CONTROL).normalized(false))
    };
    tokenizer.add_special_tokens(of_type(CONTROL)).map_err(Error::Tokenizer)?;
    tokenizer.add_tokens(of_type(USER_DEFINED)).map_err(Error::Tokenizer)?;
    Ok(())
}

fn read_id(gguf: &Gguf<'_>, name: &str, vocabulary_len: usize) -> Result<Option<u32>> {
    let key = key(name);
    let Some(id) = gguf.size(&key)? else {
        return Ok(None);
    };
    if id >= vocabulary_len {
        return Err(gguf.bad(&key, format!("expected an id below {vocabulary_len}, found {id}")));
    }
    Ok(u32::try_from(id).ok())
}
