//! The kernels as they ship: PTX text, the parameters of its entries, and the digest of its sources.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The PTX of every kernel, for compute capability 8.0 and later.
pub const TEXT: &str = include_str!("../ptx/sm_80.ptx");

/// The sources, in their order in the translation unit.
pub const SOURCES: [&str; 9] = [
    "common.cu",
    "upload.cu",
    "attend.cu",
    "project.cu",
    "score.cu",
    "select.cu",
    "gather.cu",
    "evaluate.cu",
    "gram.cu",
];

/// The beginning of the PTX's first line.
const STAMP: &str = "// sources sha256 ";

/// Joins the sources of a folder to one translation unit.
///
/// # Errors
/// A source that cannot be read.
pub fn translation_unit(folder: &Path) -> io::Result<String> {
    let sources = SOURCES.iter().map(|name| std::fs::read_to_string(folder.join(name)));
    Ok(sources.collect::<io::Result<Vec<_>>>()?.join("\n"))
}

/// The first line of the PTX of a translation unit.
#[must_use]
pub fn stamp(translation_unit: &str) -> String {
    let digest = Sha256::digest(translation_unit);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{STAMP}{digits}")
}

/// The bytes of each parameter of each kernel, read from the `.param` lists.
///
/// Parameters are plain numbers and addresses. A kernel with any other parameter is left out.
#[must_use]
pub fn signatures(text: &str) -> HashMap<String, Vec<usize>> {
    let entries = text.split(".visible .entry ").skip(1);
    entries.filter_map(|entry| signature(entry.split_once(')')?.0)).collect()
}

/// `name(.param .u64 one, .param .u32 two`
fn signature(entry: &str) -> Option<(String, Vec<usize>)> {
    let (name, list) = entry.split_once('(')?;
    let parameters = list.split(',').map(str::trim).filter(|parameter| !parameter.is_empty());
    let size = |parameter: &str| match parameter.split_whitespace().nth(1)? {
        ".u64" => Some(8),
        ".u32" | ".f32" => Some(4),
        _ => None,
    };
    Some((name.trim().to_owned(), parameters.map(size).collect::<Option<_>>()?))
}
