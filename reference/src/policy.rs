//! A policy is a score rule and an allocation rule; it parses from and prints to `NAME[:key=value[,key=value]..]`.

use std::fmt;
use std::str::FromStr;

use crate::allocate::Allocation;
use crate::error::Error;
use crate::oracle::{Form, Oracle};
use crate::policies::POLICIES;
use crate::pool::Pooling;
use crate::score::ScoreFn;
use crate::scores::Normaliser;

/// How the query heads of one KV head are made one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupRule {
    /// The mean of complete per-head scores.
    Mean,
    /// The largest per-head score.
    Max,
    /// The norm of the mean attention times the mean value norm.
    Attention,
    /// The norm of the summed pairs themselves.
    Exact,
}

/// What a policy does with a layer.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Ranks the candidates; an allocation cuts the ranking.
    Score(ScoreFn),
    /// Keeps everything, whatever the budget.
    Everything,
    /// Searches for the best set itself.
    Oracle(Oracle),
}

/// The options of every policy; an entry says which of them it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyOptions {
    /// Where the budget goes.
    pub allocation: Allocation,
    /// What layers are divided by under `allocation=model`.
    pub norm: Normaliser,
    /// How finished scores are smoothed.
    pub pool: Pooling,
    /// How a query group is made one score.
    pub group_rule: GroupRule,
    /// The first positions, which come before all others whatever they score.
    pub sinks: usize,
    /// For policies that draw.
    pub seed: u64,
    /// Which errors an oracle minimises.
    pub form: Form,
    /// Relaxations that a certified oracle solves at most, a layer or a model.
    pub nodes: usize,
    /// Whether a certified oracle makes part of the diagonal linear first; forms `M` layer by layer.
    pub convexify: bool,
}

impl PolicyOptions {
    /// Head by head, unpooled, group mean: what an entry departs from.
    pub const PLAIN: Self = Self {
        allocation: Allocation::Head,
        norm: Normaliser::Sum,
        pool: Pooling::None,
        group_rule: GroupRule::Mean,
        sinks: 0,
        seed: 0,
        form: Form::LayerWise,
        nodes: 64,
        convexify: false,
    };
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
        let scoring = |policy: &Self| PolicyOptions {
            allocation: Allocation::Head,
            norm: Normaliser::Sum,
            sinks: 0,
            ..policy.options
        };
        self.name() == other.name() && scoring(self) == scoring(other)
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
        if given.contains(&"norm") && policy.options.allocation != Allocation::Model {
            return Err(refuse("norm= only means something with allocation=model".into()));
        }
        Ok(policy)
    }
}

/// An option that a policy may have.
#[derive(Clone, Copy, Debug)]
pub enum OptionKey {
    /// `allocation=` one of these rules.
    Allocation(&'static [Allocation]),
    /// `norm=sum|output|none`
    Norm,
    /// `pool=none|avg:K|max:K`
    Pool,
    /// `gqa=` one of these rules.
    Gqa(&'static [GroupRule]),
    /// `sinks=N`
    Sinks,
    /// `seed=N`
    Seed,
    /// `form=layer-wise|head-wise`
    Form,
    /// `nodes=N`
    Nodes,
    /// `convexify=no|yes`
    Convexify,
}

const ALLOCATIONS: [(&str, Allocation); 4] = [
    ("head", Allocation::Head),
    ("layer", Allocation::Layer),
    ("model", Allocation::Model),
    ("model-raw", Allocation::ModelRaw),
];

const NORMALISERS: [(&str, Normaliser); 3] =
    [("sum", Normaliser::Sum), ("output", Normaliser::Output), ("none", Normaliser::None)];

const FORMS: [(&str, Form); 2] = [("layer-wise", Form::LayerWise), ("head-wise", Form::HeadWise)];

const ANSWERS: [(&str, bool); 2] = [("no", false), ("yes", true)];

const GROUP_RULES: [(&str, GroupRule); 4] = [
    ("mean", GroupRule::Mean),
    ("max", GroupRule::Max),
    ("attention", GroupRule::Attention),
    ("exact", GroupRule::Exact),
];

impl OptionKey {
    /// The key in the policy syntax.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Allocation(_) => "allocation",
            Self::Norm => "norm",
            Self::Pool => "pool",
            Self::Gqa(_) => "gqa",
            Self::Sinks => "sinks",
            Self::Seed => "seed",
            Self::Form => "form",
            Self::Nodes => "nodes",
            Self::Convexify => "convexify",
        }
    }

    /// The option's value as it is written.
    #[must_use]
    pub fn get(&self, options: &PolicyOptions) -> String {
        match self {
            Self::Allocation(_) => name_in(&ALLOCATIONS, options.allocation).into(),
            Self::Norm => name_in(&NORMALISERS, options.norm).into(),
            Self::Pool => options.pool.to_string(),
            Self::Gqa(_) => name_in(&GROUP_RULES, options.group_rule).into(),
            Self::Sinks => options.sinks.to_string(),
            Self::Seed => options.seed.to_string(),
            Self::Form => name_in(&FORMS, options.form).into(),
            Self::Nodes => options.nodes.to_string(),
            Self::Convexify => name_in(&ANSWERS, options.convexify).into(),
        }
    }

    fn set(&self, options: &mut PolicyOptions, value: &str) -> Result<(), String> {
        match self {
            Self::Allocation(rules) => {
                let has: Vec<_> = ALLOCATIONS.into_iter().filter(|(_, rule)| rules.contains(rule)).collect();
                options.allocation = value_in(&has, value)?;
            }
            Self::Norm => options.norm = value_in(&NORMALISERS, value)?,
            Self::Pool => options.pool = value.parse()?,
            Self::Gqa(rules) => {
                let has: Vec<_> = GROUP_RULES.into_iter().filter(|(_, rule)| rules.contains(rule)).collect();
                options.group_rule = value_in(&has, value)?;
            }
            Self::Sinks => options.sinks = whole_number(value)?,
            Self::Seed => options.seed = whole_number(value)?,
            Self::Form => options.form = value_in(&FORMS, value)?,
            Self::Nodes => options.nodes = whole_number(value)?,
            Self::Convexify => options.convexify = value_in(&ANSWERS, value)?,
        }
        Ok(())
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

fn name_in<T: Copy + PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, candidate)| *candidate == value).map_or("", |(name, _)| name)
}

fn value_in<T: Copy>(names: &[(&'static str, T)], text: &str) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let expected: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        format!("expected {}, found {text}", expected.join("|"))
    })
}

fn whole_number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("expected a whole number, found {text}"))
}

fn no_such_option(entry: &PolicyEntry, key: &str) -> String {
    let has: Vec<_> = entry.options.iter().map(OptionKey::name).collect();
    let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
    format!("no option '{key}', {} has: {has}", entry.name)
}
