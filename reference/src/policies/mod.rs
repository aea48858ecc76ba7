//! One policy, one file: each fills a [`PolicyEntry`] with its formula, its defaults, its source and its score.
//!
//! A file's own documentation says what the published method does that is not possible on a dump or under the shared
//! budget rule, in what papers and published code differ, and what could not be found out.

mod adakv;
mod cake;
mod caote;
mod centred;
mod criticalkv;
mod defensivekv;
mod dropkv;
mod expected_attention;
mod full;
mod h2o;
mod keydiff;
mod knorm;
mod laprox;
mod lava;
mod obcache;
mod oracle;
mod pyramidkv;
mod random;
mod snapkv;
mod streaming;
mod tova;
mod vatp;

use crate::policy::PolicyEntry;

/// The options of a policy that ranks: what divides the budget, its own, and what comes first in every ranking.
macro_rules! ranking {
    ($($own:expr),* $(,)?) => {
        &[
            $crate::policy::OptionKey::Allocation(&$crate::allocate::Allocation::ALL),
            $crate::policy::OptionKey::Norm,
            $crate::policy::OptionKey::Number(&$crate::allocate::pyramid::BETA),
            $crate::policy::OptionKey::Number(&$crate::allocate::ada::ALPHA),
            $crate::policy::OptionKey::Number(&$crate::allocate::cake::TAU1),
            $crate::policy::OptionKey::Number(&$crate::allocate::cake::TAU2),
            $($own,)*
            $crate::policy::OptionKey::Sinks,
            $crate::policy::OptionKey::MinPerHead,
        ]
    };
}

use ranking;

/// Every policy, in the order in which tables list them.
pub static POLICIES: [PolicyEntry; 28] = [
    laprox::ENTRY,
    centred::ENTRY,
    snapkv::ENTRY,
    h2o::ENTRY,
    tova::ENTRY,
    streaming::ENTRY,
    pyramidkv::ENTRY,
    adakv::ENTRY,
    criticalkv::ENTRY,
    cake::ENTRY,
    lava::ENTRY,
    defensivekv::ENTRY,
    obcache::VALUE,
    obcache::KEY,
    obcache::JOINT,
    dropkv::ENTRY,
    caote::ENTRY,
    vatp::ENTRY,
    knorm::ENTRY,
    keydiff::ENTRY,
    expected_attention::ENTRY,
    random::ENTRY,
    full::ENTRY,
    oracle::CERTIFIED,
    oracle::BRANCH_AND_BOUND,
    oracle::EXHAUSTIVE,
    oracle::RENORMALISED,
    oracle::FUTURE,
];
