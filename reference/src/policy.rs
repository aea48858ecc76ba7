//! A policy is a score rule and an allocation rule; it parses from and prints to `NAME[:key=value[,key=value]..]`.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::oracle::Oracle;
use crate::parameter::Parameter;
use crate::policies::POLICIES;
use crate::pool::{Pool, PoolStage, Pooling};
use crate::score::ScoreFn;

pub use crate::options::{Base, GroupRule, OptionKey, PolicyOptions};

/// What a policy does with a layer.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Ranks the candidates; an allocation cuts the ranking.
    Score(ScoreFn),
    /// Ranks them twice: one score fills the first part of a KV head's share, another the rest.
    TwoStage(TwoStage),
    /// Keeps everything, whatever the budget.
    Everything,
    /// Searches for the best set itself.
    Oracle(Oracle),
    /// Needs what no dump holds: what that is, and how it would be captured.
    Unavailable(&'static str),
}

impl Rule {
    /// Whether scores say what the policy keeps.
    #[must_use]
    pub fn ranks(&self) -> bool {
        matches!(self, Self::Score(_) | Self::TwoStage(_))
    }
}

/// A rule in two stages.
#[derive(Clone, Copy, Debug)]
pub struct TwoStage {
    /// The score that allocates, and fills the first part of each KV head's share.
    pub first: ScoreFn,
    /// The score that fills the rest of it.
    pub second: ScoreFn,
    /// How much of a share the first part is.
    pub ratio: &'static Parameter,
}

/// One row of the table of policies.
#[derive(Debug)]
pub struct PolicyEntry {
    /// The name in the policy syntax.
    pub name: &'static str,
    /// The score's equation.
    pub formula: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// In what a dump limits it, one sentence for the foot of a table; empty where it does not.
    pub caveat: &'static str,
    /// What it does.
    pub rule: Rule,
    /// The options that it has, in the order in which they are printed.
    pub options: &'static [OptionKey],
    /// Their values where none is given.
    pub defaults: PolicyOptions,
}

/// A policy with all its options resolved.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    entry: &'static PolicyEntry,
    options: PolicyOptions,
}

impl Policy {
    /// The policy's row in the table.
    #[must_use]
    pub fn entry(&self) -> &'static PolicyEntry {
        self.entry
    }

    /// The policy's name without options.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    /// What the policy does.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.entry.rule
    }

    /// All options, resolved.
    #[must_use]
    pub fn options(&self) -> &PolicyOptions {
        &self.options
    }

    /// Whether the policy has an option of this name.
    #[must_use]
    pub fn has_option(&self, key: &str) -> bool {
        self.entry.options.iter().any(|option| option.name() == key)
    }

    /// The same policy with one option changed.
    ///
    /// # Errors
    /// [`Error::Policy`] when the policy does not have the option, or the option not the value.
    pub fn with(self, key: &str, value: &str) -> Result<Self, Error> {
        let refuse = |reason| Error::Policy { policy: self.to_string(), reason };
        let option = self.entry.options.iter().find(|option| option.name() == key);
        let option = option.ok_or_else(|| refuse(no_such_option(self.entry, key)))?;
        let mut options = self.options;
        option.set(&mut options, value).map_err(|reason| refuse(format!("{key}: {reason}")))?;
        Ok(Self { options, ..self })
    }

    /// The same score under the allocation that the policy has by default.
    #[must_use]
    pub fn with_default_allocation(mut self) -> Self {
        self.options.allocation = self.entry.defaults.allocation;
        self
    }

    /// The policy whose draws depend on `seed` as well as on its own `seed` option.
    #[must_use]
    pub fn reseeded(mut self, seed: u64) -> Self {
        self.options.seed ^= seed;
        self
    }

    /// Whether two policies give the same scores, whatever they do with them.
    #[must_use]
    pub fn scores_like(&self, other: &Self) -> bool {
        self.name() == other.name() && self.options.of_score() == other.options.of_score()
    }

    /// Refuses options that exclude each other.
    ///
    /// # Errors
    /// [`Error::Policy`] says which.
    pub fn check(&self) -> Result<(), Error> {
        let pools_attention = self.options.pool.stage == PoolStage::Attention;
        if pools_attention && self.options.group_rule == GroupRule::Exact {
            let reason =
                "gqa=exact has no attention apart from its values, expected pool= without @attention";
            return Err(Error::Policy { policy: self.to_string(), reason: reason.into() });
        }
        Ok(())
    }

    /// Whether the score is made of whole columns of the window's attention, and pooled once it is finished.
    #[must_use]
    pub fn reads_whole_columns(&self, window_len: usize) -> bool {
        let Pool { pooling, stage } = self.options.pool;
        let pools_scores = pooling == Pooling::None || stage == PoolStage::Score;
        pools_scores && self.queries_read(window_len).is_ok_and(|read| read == window_len)
    }

    /// How many of a window's `window_len` queries the score reads: all, or the last ones.
    ///
    /// A default beyond the window reads all of it.
    ///
    /// # Errors
    /// [`Error::Policy`] when more were asked for.
    pub fn queries_read(&self, window_len: usize) -> Result<usize, Error> {
        let asked = self.options.window.unwrap_or(window_len);
        if asked > window_len && self.options.window != self.entry.defaults.window {
            let reason = format!("window: expected at most the window's {window_len} queries, found {asked}");
            return Err(Error::Policy { policy: self.to_string(), reason });
        }
        Ok(asked.min(window_len))
    }
}

impl Policy {
    /// Why an option means nothing under the policy's allocation, if so.
    fn idle(&self, option: &OptionKey) -> Option<String> {
        let under = option.allocations()?;
        let names: Vec<_> = under.iter().map(|allocation| allocation.name()).collect();
        let reason =
            || format!("{}= only means something with allocation={}", option.name(), names.join("|"));
        (!under.contains(&self.options.allocation)).then(reason)
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.options == other.options
    }
}

impl Eq for Policy {}

impl fmt::Display for Policy {
    /// The name and the options that differ from the defaults.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry.name)?;
        let mut separator = ':';
        for option in self.entry.options {
            let value = option.get(&self.options);
            if value != option.get(&self.entry.defaults) {
                write!(f, "{separator}{}={value}", option.name())?;
                separator = ',';
            }
        }
        Ok(())
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Error::Policy { policy: text.to_owned(), reason };
        let (name, options) = split_name(text);
        let entry = POLICIES.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names: Vec<_> = POLICIES.iter().map(|entry| entry.name).collect();
            refuse(format!("no such policy, expected one of {}", names.join(", ")))
        })?;
        let mut policy = Self { entry, options: entry.defaults };
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
        if let Some(reason) = entry.options.iter().filter(given).find_map(|option| policy.idle(option)) {
            return Err(refuse(reason));
        }
        policy.check()?;
        Ok(policy)
    }
}

/// The name and what follows its colon; an oracle's name has a colon of its own.
fn split_name(text: &str) -> (&str, Option<&str>) {
    let skipped = if text.starts_with(ORACLE) { ORACLE.len() } else { 0 };
    match text[skipped..].find(':') {
        Some(colon) => (&text[..skipped + colon], Some(&text[skipped + colon + 1..])),
        None => (text, None),
    }
}

/// What an oracle's name begins with.
const ORACLE: &str = "oracle:";

fn no_such_option(entry: &PolicyEntry, key: &str) -> String {
    let has: Vec<_> = entry.options.iter().map(OptionKey::name).collect();
    let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
    format!("no option '{key}', {} has: {has}", entry.name)
}
