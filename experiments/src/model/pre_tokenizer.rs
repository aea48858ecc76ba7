//! The pieces into which a text is cut before BPE: one row of a table per set of rules that GGUF files name.

use super::error::Result;
use super::gguf::Gguf;

/// One set of rules.
pub(super) struct PreTokenizer {
    /// The values of `tokenizer.ggml.pre` that stand for it.
    names: &'static [&'static str],
    /// Whether the text is brought into Unicode's composed form (NFC) first.
    pub(super) composes: bool,
    /// Regular expressions, applied in turn. Each cuts the pieces of the one before it into its matches and the text
    /// between them.
    pub(super) patterns: &'static [&'static str],
    /// Whether a piece that is a token becomes that token, whatever the merges say.
    pub(super) ignores_merges: bool,
    /// Whether a text gets a begin-of-sequence token if the file does not say so.
    pub(super) prepends_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Contractions, words with one leading mark, single digits, marks, white space.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As [`QWEN2`], with up to three digits.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words with one leading mark, cut before an upper-case letter that follows a lower-case one, single digits, marks, white
/// space.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As [`TEKKEN`], with contractions at the end of words and up to three digits.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The rules of the models' own tokenizers, which llama.cpp quotes; its regular expressions are without classes such as
/// `\p{Lu}`.
static ROWS: [PreTokenizer; 8] = [
    PreTokenizer {
        names: &["smollm"],
        composes: false,
        patterns: &[r"\p{N}", GPT2],
        ignores_merges: false,
        prepends_bos: false,
    },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen"],
        composes: true,
        patterns: &[QWEN2],
        ignores_merges: false,
        prepends_bos: false,
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3"],
        composes: false,
        patterns: &[LLAMA3],
        ignores_merges: true,
        prepends_bos: true,
    },
    PreTokenizer {
        names: &["gpt-2", "olmo", "phi-2"],
        composes: false,
        patterns: &[GPT2],
        ignores_merges: false,
        prepends_bos: false,
    },
    PreTokenizer {
        names: &["dbrx", "smaug-bpe"],
        composes: false,
        patterns: &[LLAMA3],
        ignores_merges: false,
        prepends_bos: false,
    },
    PreTokenizer {
        names: &["tekken"],
        composes: false,
        patterns: &[TEKKEN],
        ignores_merges: true,
        prepends_bos: true,
    },
    PreTokenizer {
        names: &["gpt-4o", "llama4"],
        composes: false,
        patterns: &[GPT4O],
        ignores_merges: false,
        prepends_bos: false,
    },
    PreTokenizer {
        names: &["default"],
        composes: false,
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        ignores_merges: false,
        prepends_bos: false,
    },
];

impl PreTokenizer {
    /// Finds the row of a file.
    ///
    /// # Errors
    /// [`super::Error::Metadata`] when the file names no rules, or others.
    pub(super) fn read(gguf: &Gguf<'_>, key: &str) -> Result<&'static Self> {
        let name = gguf.required(key, gguf.text(key)?)?;
        ROWS.iter().find(|row| row.names.contains(&&*name)).ok_or_else(|| {
            let names: Vec<&str> = ROWS.iter().flat_map(|row| row.names).copied().collect();
            gguf.bad(key, format!("'{name}' is not supported, only {}", names.join(", ")))
        })
    }
}
