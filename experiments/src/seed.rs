//! Seeds of what is named.

use sha2::{Digest, Sha256};

/// `seed` mixed with a name, so that draws under two names differ.
#[must_use]
pub fn seed_of(name: &str, seed: u64) -> u64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
    u64::from_le_bytes(std::array::from_fn(|byte| digest[byte]))
}
