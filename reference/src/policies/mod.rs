//! The table of policies. A file defines one policy, or a family of them; each fills a [`PolicyEntry`].
//!
//! The documentation of a file compares the policy with the published method: the parts that a dump or the shared
//! budget rule makes impossible, the differences between paper and code, and the parts that remain unknown.

mod adakv;
mod cake;
mod caote;
mod capkv;
mod centred;
mod chunkkv;
mod criticalkv;
mod curdkv;
mod defensivekv;
mod dropkv;
mod expected_attention;
mod full;
mod given;
mod h2o;
mod keydiff;
mod knorm;
mod kvzip;
mod lagkv;
mod laprox;
mod lava;
mod leverage;
mod manifoldkv;
mod nestedkv;
mod obcache;
mod oracle;
mod poisson;
mod pyramidkv;
mod random;
mod restkv;
mod shrunk;
mod snapkv;
mod streaming;
mod tova;
mod vatp;

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::options::OptionKey;
use crate::policy::{Policy, PolicyEntry};

/// Every policy, in the order in which tables list them.
pub static POLICIES: [PolicyEntry; 40] = [
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
    restkv::ENTRY,
    vatp::ENTRY,
    knorm::ENTRY,
    keydiff::ENTRY,
    manifoldkv::ENTRY,
    nestedkv::ENTRY,
    leverage::ENTRY,
    curdkv::ENTRY,
    capkv::ENTRY,
    lagkv::ENTRY,
    chunkkv::ENTRY,
    expected_attention::ENTRY,
    kvzip::ENTRY,
    kvzip::PLUS,
    shrunk::ENTRY,
    poisson::ENTRY,
    random::ENTRY,
    full::ENTRY,
    oracle::CERTIFIED,
    oracle::BRANCH_AND_BOUND,
    oracle::EXHAUSTIVE,
    oracle::RENORMALISED,
    oracle::FUTURE,
];

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason| Error::Policy { policy: text.to_owned(), reason };
        let (name, options) = split_name(text);
        let entry = POLICIES.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names: Vec<_> = POLICIES.iter().map(|entry| entry.name).collect();
            refuse(format!("no such policy, expected one of {}", names.join(", ")))
        })?;
        with_options(Self::by_default(entry), text, options)
    }
}

/// A policy with the options `key=value,..`; `text` is the policy as written.
fn with_options(mut policy: Policy, text: &str, options: Option<&str>) -> Result<Policy> {
    let refuse = |reason| Error::Policy { policy: text.to_owned(), reason };
    let mut given = Vec::new();
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let pair = option.split_once('=');
        let (key, value) = pair.ok_or_else(|| refuse(format!("expected key=value, found '{option}'")))?;
        if given.contains(&key) {
            return Err(refuse(format!("option {key} is given twice")));
        }
        given.push(key);
        policy = policy.with(key, value)?;
    }
    let given = |option: &&OptionKey| given.contains(&option.name());
    let options = policy.entry().options.keys();
    if let Some(reason) = options.iter().filter(given).find_map(|option| policy.idle(option)) {
        return Err(refuse(reason));
    }
    policy.check()?;
    Ok(policy)
}

/// The name, and the text after its colon. An oracle's name has a colon of its own.
fn split_name(text: &str) -> (&str, Option<&str>) {
    let skipped = if text.starts_with(ORACLE) { ORACLE.len() } else { 0 };
    match text[skipped..].find(':') {
        Some(colon) => (&text[..skipped + colon], Some(&text[skipped + colon + 1..])),
        None => (text, None),
    }
}

/// The beginning of every oracle's name.
const ORACLE: &str = "oracle:";
