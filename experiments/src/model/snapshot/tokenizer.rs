//! The tokenizer of a snapshot: tokenizer.json as it stands, with the special tokens of the files beside it.

use serde_json::Value;

use crate::model::error::{Error, Result};
use crate::model::tokenizer::Tokenizer;

use super::document::Document;
use super::files::SnapshotFiles;

/// Reads the tokenizer of a model whose embedding has `vocabulary_len` rows.
///
/// # Errors
/// [`Error::Contents`] when tokenizer.json is malformed or has more tokens than the model, [`Error::Metadata`] when a special
/// token is missing or unknown.
pub(super) fn read(files: &SnapshotFiles, vocabulary_len: usize) -> Result<Tokenizer> {
    let inner = parse(files, vocabulary_len)?;
    let config = files.document("tokenizer_config.json")?;
    let bos = special(&config, "bos_token", &inner)?;
    let eos = special(&config, "eos_token", &inner)?;
    let start = start_token(files, &inner)?;
    let adds_bos = config.flag("add_bos_token")?;
    let prepends_bos = adds_bos.unwrap_or(start.is_some());
    let named = bos.as_ref().map(|token| token.id);
    let bos_id = if adds_bos.is_some() { named.or(start) } else { start.or(named) };
    if prepends_bos {
        config.required("bos_token", bos_id)?;
    }
    let mut ends = end_tokens(files, vocabulary_len)?;
    ends.extend(eos.as_ref().map(|token| token.id));
    if ends.is_empty() {
        return Err(
            config.bad("eos_token", "missing, and so is eos_token_id in the files beside it".to_owned())
        );
    }
    let text = |token: Option<Special>| token.map_or_else(String::new, |token| token.text);
    Ok(Tokenizer {
        inner,
        vocabulary_len,
        continued: None,
        bos: bos_id,
        bos_text: text(bos),
        eos_text: text(eos),
        ends,
        prepends_bos,
    })
}

/// A special token.
struct Special {
    id: u32,
    text: String,
}

fn parse(files: &SnapshotFiles, vocabulary_len: usize) -> Result<tokenizers::Tokenizer> {
    const NAME: &str = "tokenizer.json";
    let bad = |expected: &str, found| Error::contents(&files.folder().join(NAME), expected, found);
    let document = files.document(NAME)?;
    if document.get("normalizer").is_some_and(is_precompiled) {
        return Err(document.unsupported("normalizer", "'Precompiled' is not supported"));
    }
    let text = files.text(NAME).unwrap_or_default();
    let mut inner = tokenizers::Tokenizer::from_bytes(text)
        .map_err(|fault| bad("a tokenizer", format!("a fault: {fault}")))?;
    // The lengths of training are none of a prompt's.
    inner.with_truncation(None).map_err(Error::Tokenizer)?;
    inner.with_padding(None);
    match inner.get_vocab(true).into_values().max() {
        Some(id) if (id as usize) < vocabulary_len => Ok(inner),
        Some(id) => Err(bad(&format!("ids below config.json's vocab_size {vocabulary_len}"), id.to_string())),
        None => Err(bad("a tokenizer", "an empty vocabulary".to_owned())),
    }
}

/// Whether a normaliser has a part of the kind `Precompiled`, on which the tokenizers crate panics where it is malformed. The
/// architectures of the table have none.
fn is_precompiled(normalizer: &Value) -> bool {
    let parts = normalizer.get("normalizers").and_then(Value::as_array);
    normalizer.get("type").is_some_and(|kind| kind == "Precompiled")
        || parts.is_some_and(|parts| parts.iter().any(is_precompiled))
}

/// A special token of tokenizer_config.json, a text or an object that holds one.
fn special(config: &Document, key: &str, inner: &tokenizers::Tokenizer) -> Result<Option<Special>> {
    let content = |value| Value::as_str(value).or_else(|| value.get("content")?.as_str());
    let Some(text) = config.optional(key, "a token's text", content)? else {
        return Ok(None);
    };
    let id = inner.token_to_id(text);
    let id = id.ok_or_else(|| config.bad(key, format!("'{text}' is not in tokenizer.json")))?;
    Ok(Some(Special { id, text: text.to_owned() }))
}

/// The token that tokenizer.json's post-processor puts before a text.
fn start_token(files: &SnapshotFiles, inner: &tokenizers::Tokenizer) -> Result<Option<u32>> {
    let encoding = inner.encode("a", true).map_err(Error::Tokenizer)?;
    let ids = encoding.get_ids().iter().zip(encoding.get_special_tokens_mask());
    let start: Vec<u32> = ids.take_while(|(_, special)| **special == 1).map(|(id, _)| *id).collect();
    match start[..] {
        [] => Ok(None),
        [id] => Ok(Some(id)),
        _ => {
            let file = files.folder().join("tokenizer.json");
            Err(Error::contents(&file, "at most one token before a text", start.len().to_string()))
        }
    }
}

/// The ids that end a text: those of generation_config.json, otherwise those of config.json.
fn end_tokens(files: &SnapshotFiles, vocabulary_len: usize) -> Result<Vec<u32>> {
    const KEY: &str = "eos_token_id";
    let expected = format!("an id below {vocabulary_len}, or a list of them");
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok().filter(|&id| (id as usize) < vocabulary_len);
    for name in ["generation_config.json", "config.json"] {
        let ids = files.document(name)?.optional(KEY, &expected, |value| match value {
            Value::Array(values) => values.iter().map(id).collect(),
            value => Some(vec![id(value)?]),
        })?;
        if let Some(ids) = ids {
            return Ok(ids);
        }
    }
    Ok(Vec::new())
}
