//! SHA-256, as results name what they come from.

use sha2::{Digest, Sha256};

/// SHA-256 in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
