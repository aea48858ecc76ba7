//! Files that are not GGUF, told by their first bytes, with the way on from each.

use std::path::Path;

use super::error::{Error, Result};
use super::header::MAGIC;

/// As many bytes as [`refuse`] looks at.
pub(super) const HEAD_LEN: usize = 512;

const CONVERT: &str =
    "convert it with llama.cpp's convert_hf_to_gguf.py, or capture with fixtures/capture_hf.py";

/// Refuses a file that does not begin as GGUF.
///
/// # Errors
/// [`Error::Contents`] says what the file seems to be.
pub(super) fn refuse(file: &Path, bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(MAGIC) {
        return Ok(());
    }
    Err(Error::contents(file, "a GGUF file", describe(&bytes[..bytes.len().min(HEAD_LEN)])))
}

fn describe(head: &[u8]) -> String {
    kind(head).unwrap_or_else(|| "a file that does not begin with 'GGUF'".to_owned())
}

/// The kind of file that begins so, with the way on from it.
pub(super) fn kind(head: &[u8]) -> Option<String> {
    let starts = |magic: &[u8]| head.starts_with(magic);
    let text = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let kind = if head.is_empty() {
        "an empty file".to_owned()
    } else if starts(b"version https://git-lfs") {
        "a Git LFS pointer (fetch the file itself with `git lfs pull`)".to_owned()
    } else if ["<!doctype", "<html", "<head"].iter().any(|tag| text.starts_with(tag)) {
        "an HTML page (download the file itself)".to_owned()
    } else if is_safetensors(head) {
        "a safetensors file (name its folder, with config.json and tokenizer.json beside it)".to_owned()
    } else if starts(b"PK\x03\x04") {
        format!("a zip archive: a wheel has to end in .whl, a PyTorch checkpoint is not read ({CONVERT})")
    } else if head.first() == Some(&0x80) && head.get(1).is_some_and(|version| (2..=5).contains(version)) {
        format!("a PyTorch checkpoint ({CONVERT})")
    } else if [b"lmgg", b"fmgg", b"tjgg", b"algg"].iter().any(|magic| starts(*magic)) {
        "a GGML file from before GGUF (download a GGUF file of the model)".to_owned()
    } else if starts(b"\x1f\x8b") || starts(b"\x28\xb5\x2f\xfd") || starts(b"BZh") || starts(b"\xfd7zXZ") {
        "a compressed file (decompress it)".to_owned()
    } else if text.starts_with('{') {
        "a JSON document".to_owned()
    } else {
        return None;
    };
    Some(kind)
}

/// Whether a length of less than 2^32 and a JSON object follow each other.
fn is_safetensors(head: &[u8]) -> bool {
    matches!(head, [_, _, _, _, 0, 0, 0, 0, b'{', ..])
}
