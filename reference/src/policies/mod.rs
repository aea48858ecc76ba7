//! One policy, one file: each fills a [`PolicyEntry`] with its formula, its defaults, its source and its score.

mod centred;
mod full;
mod laprox;
mod oracle;
mod random;
mod snapkv;
mod streaming;
mod tova;

use crate::policy::PolicyEntry;

/// Every policy, in the order in which tables list them.
pub static POLICIES: [PolicyEntry; 12] = [
    laprox::ENTRY,
    centred::ENTRY,
    snapkv::ENTRY,
    tova::ENTRY,
    streaming::ENTRY,
    random::ENTRY,
    full::ENTRY,
    oracle::CERTIFIED,
    oracle::BRANCH_AND_BOUND,
    oracle::EXHAUSTIVE,
    oracle::RENORMALISED,
    oracle::FUTURE,
];
