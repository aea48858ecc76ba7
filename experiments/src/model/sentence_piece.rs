//! The SentencePiece tokenizer of Llama 2, Mistral and TinyLlama: of all pairs that are a piece, the pair with the best
//! score is merged first.

use std::collections::HashMap;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Merges};
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Sequence as Normalizers};
use tokenizers::{DecoderWrapper, Result as TokenizersResult};

use super::error::{Error, Result};
use super::gguf::Gguf;
use super::header::Value;
use super::steps::Steps;
use super::vocabulary::{TokenType, Vocabulary, key};

/// The space within pieces.
const SPACE: &str = "▁";
/// Stands before a text that continues another one, so that it gets no space. Unicode leaves this code point to programs.
const CONTINUED: char = '\u{ffff}';
/// The longest piece in bytes: each of them may be the place of a merge.
const MAX_PIECE_LEN: usize = 1 << 10;

/// Rebuilds the steps between a text and its tokens.
///
/// # Errors
/// [`Error::Metadata`] when the scores do not fit the tokens, or a piece is too long.
pub(super) fn build(gguf: &Gguf<'_>, vocabulary: &Vocabulary) -> Result<Steps> {
    let adds_space = gguf.flag(&key("add_space_prefix"))?.unwrap_or(true);
    let mut inner = tokenizers::Tokenizer::new(read_bpe(gguf, vocabulary)?);
    let steps = normalizers(adds_space).map_err(Error::Tokenizer)?;
    inner.with_normalizer(Some(Normalizers::new(steps))).map_err(Error::Tokenizer)?;
    inner.with_decoder(Some(Decoders::new(decoders(adds_space).map_err(Error::Tokenizer)?)));
    Ok(Steps { inner, prepends_bos: true, continued: adds_space.then_some(CONTINUED) })
}

/// A character without a piece becomes its bytes' tokens, and the unknown token where the file has none.
fn read_bpe(gguf: &Gguf<'_>, vocabulary: &Vocabulary) -> Result<BPE> {
    let unknown = vocabulary.read_id(gguf, "unknown_token_id")?.unwrap_or(0);
    BPE::builder()
        .vocab_and_merges(vocabulary.ids(), merges(gguf, vocabulary)?)
        .unk_token(vocabulary.text(unknown).to_owned())
        .fuse_unk(true)
        .byte_fallback(true)
        .build()
        .map_err(|source| gguf.bad(&key("tokens"), source.to_string()))
}

/// Every pair of pieces that is a piece, the best score first. Ties are broken by ids: the file's order.
fn merges(gguf: &Gguf<'_>, vocabulary: &Vocabulary) -> Result<Merges> {
    let scores_key = key("scores");
    let scores = gguf.list(&scores_key, "a list of numbers", Value::number)?;
    let scores = scores.unwrap_or_else(|| vec![0.0; vocabulary.len()]);
    vocabulary.check_len(gguf, &scores_key, scores.len())?;

    let pieces = || vocabulary.of_type(TokenType::Text).chain(vocabulary.of_type(TokenType::UserDefined));
    if let Some((_, piece)) = pieces().find(|(_, piece)| piece.len() > MAX_PIECE_LEN) {
        let reason = format!("expected pieces of at most {MAX_PIECE_LEN} bytes, found {}", piece.len());
        return Err(gguf.bad(&key("tokens"), reason));
    }
    let ids: HashMap<&str, u32> = pieces().map(|(id, piece)| (piece, id)).collect();
    let mut merges = Vec::new();
    for (id, piece) in pieces() {
        for (middle, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(middle);
            if let (Some(&left_id), Some(&right_id)) = (ids.get(left), ids.get(right)) {
                merges.push((scores[id as usize], (id, left_id, right_id), (left, right)));
            }
        }
    }
    merges.sort_by(|(one, ids, _), (other, other_ids, _)| other.total_cmp(one).then(ids.cmp(other_ids)));
    Ok(merges.into_iter().map(|(_, _, (left, right))| (left.to_owned(), right.to_owned())).collect())
}

/// Spaces become part of the pieces, and one comes first: before the text, and after each token that is recognised in it.
fn normalizers(adds_space: bool) -> TokenizersResult<Vec<NormalizerWrapper>> {
    let spaces = Replace::new(" ", SPACE)?.into();
    if !adds_space {
        return Ok(vec![spaces]);
    }
    let continued = ReplacePattern::Regex(format!("^{SPACE}{CONTINUED}"));
    Ok(vec![Prepend::new(SPACE.to_owned()).into(), Replace::new(continued, "")?.into(), spaces])
}

fn decoders(adds_space: bool) -> TokenizersResult<Vec<DecoderWrapper>> {
    let mut steps: Vec<DecoderWrapper> =
        vec![Replace::new(SPACE, " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
    if adds_space {
        steps.push(Strip::new(' ', 1, 0).into());
    }
    Ok(steps)
}
