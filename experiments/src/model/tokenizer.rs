//! Text to token ids and back; the byte-level BPE tokenizer of a GGUF file, rebuilt from its vocabulary, merges and token
//! types.

use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use super::error::{Error, Result};
use super::gguf::Gguf;
use super::header::Value;
use super::pre_tokenizer::PreTokenizer;

/// GGUF's type of a control token such as `<|im_start|>`: recognised in text, omitted from decoded text.
const CONTROL: u64 = 3;
/// GGUF's type of a token that the model's author added to the vocabulary: recognised in text, kept in decoded text.
const USER_DEFINED: u64 = 4;

/// Converts text to token ids and back.
pub struct Tokenizer {
    pub(super) inner: tokenizers::Tokenizer,
    pub(super) vocabulary_len: usize,
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
        refuse_other_kinds(gguf)?;
        let rules = PreTokenizer::read(gguf, &key("pre"))?;
        let vocabulary = read_vocabulary(gguf)?;
        let mut inner = tokenizers::Tokenizer::new(read_bpe(gguf, &vocabulary, rules.ignores_merges)?);
        split_as(rules, &mut inner)?;
        inner.with_decoder(Some(ByteLevelDecoder::default()));
        add_tokens(gguf, &vocabulary, &mut inner)?;

        let bos = read_id(gguf, "bos_token_id", vocabulary.len())?;
        let eos = gguf.required(&key("eos_token_id"), read_id(gguf, "eos_token_id", vocabulary.len())?)?;
        let end_of_turn = read_id(gguf, "eot_token_id", vocabulary.len())?;
        let prepends_bos = gguf.flag(&key("add_bos_token"))?.unwrap_or(rules.prepends_bos);
        if prepends_bos {
            gguf.required(&key("bos_token_id"), bos)?;
        }
        let ends = std::iter::once(eos).chain(end_of_turn).collect();
        let text = |id: u32| vocabulary[id as usize].clone();
        Ok(Self {
            inner,
            vocabulary_len: vocabulary.len(),
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
        let mut tokens = self.encode_further(text)?;
        if let Some(bos) = self.bos.filter(|bos| self.prepends_bos && tokens.first() != Some(bos)) {
            tokens.insert(0, bos);
        }
        Ok(tokens)
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
        self.vocabulary_len
    }

    /// Whether this token ends the sequence or the turn, so that generation stops.
    #[must_use]
    pub fn ends(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }
}

fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

fn refuse_other_kinds(gguf: &Gguf<'_>) -> Result<()> {
    let model = key("model");
    match &*gguf.required(&model, gguf.text(&model)?)? {
        "gpt2" => Ok(()),
        other => Err(gguf.bad(&model, format!("'{other}' is not supported, only 'gpt2' (byte-level BPE)"))),
    }
}

fn read_vocabulary(gguf: &Gguf<'_>) -> Result<Vec<String>> {
    let tokens = key("tokens");
    let vocabulary = gguf.list(&tokens, "a list of strings", |token| Some(token.text()?.into_owned()))?;
    gguf.required(&tokens, vocabulary.filter(|tokens| !tokens.is_empty()))
}

fn read_bpe(gguf: &Gguf<'_>, vocabulary: &[String], ignore_merges: bool) -> Result<BPE> {
    let merges_key = key("merges");
    let merges: Option<Merges> = gguf.list(&merges_key, "a list of pairs separated by a space", |merge| {
        let merge = merge.text()?;
        let (left, right) = merge.split_once(' ')?;
        Some((left.to_owned(), right.to_owned()))
    })?;
    let ids: Vocab = (0..).zip(vocabulary).map(|(id, token)| (token.clone(), id)).collect();
    BPE::builder()
        .vocab_and_merges(ids, gguf.required(&merges_key, merges)?)
        .ignore_merges(ignore_merges)
        .build()
        .map_err(|source| gguf.bad(&merges_key, source.to_string()))
}

/// Sets the steps before BPE.
fn split_as(rules: &PreTokenizer, tokenizer: &mut tokenizers::Tokenizer) -> Result<()> {
    if rules.composes {
        tokenizer.with_normalizer(Some(NFC)).map_err(Error::Tokenizer)?;
    }
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for pattern in rules.patterns {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        steps.push(split.map_err(Error::Tokenizer)?.into());
    }
    steps.push(ByteLevel::new(false, true, false).into());
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    Ok(())
}

/// Registers the tokens that are recognised before any other step.
fn add_tokens(gguf: &Gguf<'_>, vocabulary: &[String], tokenizer: &mut tokenizers::Tokenizer) -> Result<()> {
    let types_key = key("token_type");
    let types = gguf.list(&types_key, "a list of whole numbers", Value::unsigned)?;
    let types = gguf.required(&types_key, types)?;
    if types.len() != vocabulary.len() {
        let reason = format!("expected one for each of {} tokens, found {}", vocabulary.len(), types.len());
        return Err(gguf.bad(&types_key, reason));
    }
    let of_type = |wanted: u64| {
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
