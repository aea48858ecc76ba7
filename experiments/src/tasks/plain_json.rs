//! What Python's `json` writes and JSON does not have.

use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};

/// A whole string, or a number that JSON lacks.
static TOKEN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(?-u)"(?:[^"\\]|\\.)*"|-?Infinity|NaN"#).expect("a valid expression"));

/// An escape inside a string: a surrogate pair, half of one, or any other.
static ESCAPE: LazyLock<Regex> = LazyLock::new(|| {
    let pair = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}";
    Regex::new(&format!(r"(?-u){pair}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{{2}})|\\."))
        .expect("a valid expression")
});

/// A line of JSON in which numbers that are not finite are null, and halves of surrogate pairs are U+FFFD.
pub(super) fn plain_json(line: &[u8]) -> Vec<u8> {
    let whole = |token: &Captures<'_>| match &token[0] {
        text if text.starts_with(b"\"") => with_whole_pairs(text),
        _ => b"null".to_vec(),
    };
    TOKEN.replace_all(line, whole).into_owned()
}

fn with_whole_pairs(text: &[u8]) -> Vec<u8> {
    let whole = |escape: &Captures<'_>| match escape.name("half") {
        Some(_) => br"\ufffd".to_vec(),
        None => escape[0].to_vec(),
    };
    ESCAPE.replace_all(text, whole).into_owned()
}

#[cfg(test)]
mod tests {
    use super::plain_json;

    #[test]
    fn only_what_json_lacks_is_replaced() {
        for (written, read) in [
            (r#"{"a": NaN, "b": [-Infinity, Infinity]}"#, r#"{"a": null, "b": [null, null]}"#),
            (r#"{"NaN": "NaN \" NaN", "b": "\\"}"#, r#"{"NaN": "NaN \" NaN", "b": "\\"}"#),
            (r#"["Wh\ud800o", "\udc00\ud83d\ude00\ud83d"]"#, r#"["Wh\ufffdo", "\ufffd\ud83d\ude00\ufffd"]"#),
            (r#"["\\ud800", "\\\ud800"]"#, r#"["\\ud800", "\\\ufffd"]"#),
            (r#"["\ud7ff\ue000 海"]"#, r#"["\ud7ff\ue000 海"]"#),
        ] {
            assert_eq!(String::from_utf8(plain_json(written.as_bytes())).unwrap(), read);
        }
        assert_eq!(plain_json(b"[\"\xff\"]"), b"[\"\xff\"]");
    }
}
