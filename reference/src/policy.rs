//! A policy is a score rule and an allocation rule; it parses from and prints to `NAME[:key=value[,key=value]..]`.

use std::fmt;

use crate::error::{Error, Result};
use crate::options::{GroupRule, OptionKey, OptionList, PolicyOptions, Refit};
use crate::pool::PoolStage;
use crate::quantity::Supplement;
use crate::score::{Score, ScoreEntry};
use crate::statistic::Statistic;

/// The oracles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Oracle {
    /// A set with a proof, at any size.
    Certified,
    /// The optimum, by branching until error and bound meet.
    BranchAndBound,
    /// The optimum, by trying every set.
    Exhaustive,
    /// A set whose `renormalised` error no swap among the most promising candidates lowers.
    Renormalised,
    /// `Certified` for the later queries.
    Future,
}

/// How a policy decides.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Ranks the candidates; an allocation cuts the ranking.
    Score(&'static ScoreEntry),
    /// Draws the candidates with probabilities by their scores, and reweighs those that stay.
    Draw(&'static ScoreEntry),
    /// Ranks them by scores that were made elsewhere and come with the layers.
    GivenScores,
    /// Keeps a set that was made elsewhere and comes with the layers, at any budget.
    GivenSet,
    /// Keeps everything at any budget.
    Everything,
    /// Descends a shrunk quadratic form, and ranks by what is left.
    Shrunk,
    /// Searches for the best set.
    Oracle(Oracle),
}

impl Rule {
    /// Whether the policy keeps candidates by their scores.
    #[must_use]
    pub fn ranks(&self) -> bool {
        matches!(self, Self::Score(_) | Self::GivenScores)
    }
}

/// Where scores come from. Equal sources give every candidate the same number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// A path computes them.
    Computed(Score),
    /// They were made elsewhere. The policy has the name under which they come with the layers, and their pooling.
    Given(Policy),
}

impl Source {
    /// Whether a second score fills the rest of a share.
    #[must_use]
    pub fn ranks_twice(&self) -> bool {
        matches!(self, Self::Computed(score) if score.ranks_twice())
    }
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
    /// How a dump limits it, one sentence for the foot of a table; empty if it does not.
    pub caveat: &'static str,
    /// How it decides.
    pub rule: Rule,
    /// The options that it has.
    pub options: OptionList,
    /// The defaults of the options.
    pub defaults: PolicyOptions,
}

impl PolicyEntry {
    /// The tensors that it reads by default and that a capture may leave out.
    #[must_use]
    pub fn needs(&'static self) -> &'static [Supplement] {
        Policy::by_default(self).needs()
    }
}

/// A policy with all its options resolved.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    entry: &'static PolicyEntry,
    options: PolicyOptions,
}

impl Policy {
    /// A row's policy with the row's defaults.
    pub(crate) const fn by_default(entry: &'static PolicyEntry) -> Self {
        Self { entry, options: entry.defaults }
    }

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

    /// How the policy decides.
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
        self.entry.options.keys().iter().any(|option| option.name() == key)
    }

    /// The same policy with one option changed.
    ///
    /// # Errors
    /// [`Error::Policy`] when the policy does not have the option, or the option does not have the value.
    pub fn with(self, key: &str, value: &str) -> Result<Self> {
        let option = self.entry.options.keys().into_iter().find(|option| option.name() == key);
        let option = option.ok_or_else(|| self.refused(no_such_option(self.entry, key)))?;
        let mut options = self.options;
        option.set(&mut options, value).map_err(|reason| self.refused(format!("{key}: {reason}")))?;
        Ok(Self { options, ..self })
    }

    /// The same score under the allocation that the policy has by default.
    #[must_use]
    pub fn with_default_allocation(mut self) -> Self {
        self.options.allocation = self.entry.defaults.allocation;
        self
    }

    /// The same policy, with draws that depend on `seed` as well as on its own `seed` option.
    #[must_use]
    pub fn reseeded(mut self, seed: u64) -> Self {
        self.options.seed ^= seed;
        self
    }

    /// Whether a set that the policy keeps is [reweighted](crate::Reweighting).
    #[must_use]
    pub fn reweighs(&self) -> bool {
        matches!(self.rule(), Rule::Draw(_)) || self.options.refit != Refit::No
    }

    /// The score that a path computes for the policy, if it ranks or draws by one.
    #[must_use]
    pub fn score(&self) -> Option<Score> {
        match self.rule() {
            Rule::Score(entry) | Rule::Draw(entry) => Some(Score::new(entry, &self.options)),
            _ => None,
        }
    }

    /// The tensors that it reads and that a capture may leave out.
    #[must_use]
    pub fn needs(&self) -> &'static [Supplement] {
        self.score().map_or(&[], |score| score.needs())
    }

    /// Where the policy's scores come from, if it ranks or draws.
    #[must_use]
    pub fn source(&self) -> Option<Source> {
        match self.rule() {
            Rule::GivenScores => Some(Source::Given(Self { options: self.options.of_score(), ..*self })),
            _ => self.score().map(Source::Computed),
        }
    }

    /// The statistics of each layer that its allocation reads.
    #[must_use]
    pub fn wants(&self) -> Vec<Statistic> {
        let PolicyOptions { allocation, norm, .. } = self.options;
        let divisor = norm.wants().filter(|_| allocation.normalises());
        allocation.entry().wants.iter().copied().chain(divisor).collect()
    }

    /// Refuses options that exclude each other.
    ///
    /// # Errors
    /// [`Error::Policy`] says which.
    pub fn check(&self) -> Result<()> {
        let pools_attention = self.options.pool.stage == PoolStage::Attention;
        if pools_attention && self.options.group_rule == GroupRule::Exact {
            let reason =
                "gqa=exact has no attention apart from its values, expected pool= without @attention";
            return Err(self.refused(reason));
        }
        if self.options.lookahead.only && self.options.lookahead.tokens == 0 {
            return Err(self.refused("lookahead_only=yes: expected lookahead= above 0"));
        }
        Ok(())
    }

    /// How many of a window's `window_len` queries the score reads: all, or the last ones.
    ///
    /// A default beyond the window reads all of it.
    ///
    /// # Errors
    /// [`Error::Policy`] when an option asks for more.
    pub fn queries_read(&self, window_len: usize) -> Result<usize> {
        let asked = self.options.window.unwrap_or(window_len);
        if asked > window_len && self.options.window != self.entry.defaults.window {
            let reason = format!("window: expected at most the window's {window_len} queries, found {asked}");
            return Err(self.refused(reason));
        }
        Ok(asked.min(window_len))
    }

    /// [`Error::Policy`] about this policy.
    pub(crate) fn refused(&self, reason: impl Into<String>) -> Error {
        Error::Policy { policy: self.to_string(), reason: reason.into() }
    }

    /// Why an option has no effect under the policy's allocation, if so.
    pub(crate) fn idle(&self, option: &OptionKey) -> Option<String> {
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
        for option in self.entry.options.keys() {
            let value = option.get(&self.options);
            if value != option.get(&self.entry.defaults) {
                write!(f, "{separator}{}={value}", option.name())?;
                separator = ',';
            }
        }
        Ok(())
    }
}

fn no_such_option(entry: &PolicyEntry, key: &str) -> String {
    let has: Vec<_> = entry.options.keys().iter().map(OptionKey::name).collect();
    let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
    format!("no option '{key}', {} has: {has}", entry.name)
}
