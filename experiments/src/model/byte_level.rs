//! Byte-level BPE: every byte has a token, and the file lists the merges.

use tokenizers::SplitDelimiterBehavior;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, Merges};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use super::error::{Error, Result};
use super::gguf::Gguf;
use super::pre_tokenizer::PreTokenizer;
use super::steps::Steps;
use super::vocabulary::{Vocabulary, key};

/// Rebuilds the steps between a text and its tokens.
///
/// # Errors
/// [`Error::Metadata`] when the merges are missing or malformed, or the rules before them are not implemented.
pub(super) fn build(gguf: &Gguf<'_>, vocabulary: &Vocabulary) -> Result<Steps> {
    let rules = PreTokenizer::read(gguf, &key("pre"))?;
    let mut inner = tokenizers::Tokenizer::new(read_bpe(gguf, vocabulary, rules.ignores_merges)?);
    split_as(rules, &mut inner)?;
    inner.with_decoder(Some(ByteLevelDecoder::default()));
    Ok(Steps { inner, prepends_bos: rules.prepends_bos, continued: None })
}

fn read_bpe(gguf: &Gguf<'_>, vocabulary: &Vocabulary, ignore_merges: bool) -> Result<BPE> {
    let merges_key = key("merges");
    let merges: Option<Merges> = gguf.list(&merges_key, "a list of pairs separated by a space", |merge| {
        let merge = merge.text()?;
        let (left, right) = merge.split_once(' ')?;
        Some((left.to_owned(), right.to_owned()))
    })?;
    let (ids, merges) = (vocabulary.ids(), gguf.required(&merges_key, merges)?);
    if let Some((left, right)) =
        merges.iter().find(|(left, right)| !ids.contains_key(&format!("{left}{right}")))
    {
        return Err(gguf.bad(&merges_key, format!("expected a token '{left}{right}', found none")));
    }
    BPE::builder()
        .vocab_and_merges(ids, merges)
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
