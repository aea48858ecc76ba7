//! SHA-256, as results name what they come from.

use sha2::{Digest, Sha256};

/// SHA-256 in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of token ids as little-endian u32.
#[must_use]
pub fn of_tokens(tokens: &[u32]) -> String {
    sha256(tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>())
}
