//! The options of a policy: their values and their syntax.

use std::str::FromStr;

use crate::allocations::Allocation;
use crate::lookahead::Lookahead;
use crate::output_error::Form;
use crate::parameter::{Parameter, Parameters};
use crate::pool::{Pool, PoolStage, Pooling};
use crate::protected::{ENDS, Protected};
use crate::scores::Normaliser;

/// How the scores of a query group become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupRule {
    /// The mean of complete per-head scores.
    Mean,
    /// Their sum.
    Sum,
    /// The largest of them.
    Max,
    /// The norm of the mean attention times the mean value norm.
    Attention,
    /// The norm of the summed pairs themselves.
    Exact,
}

/// The first score of a policy that ranks twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// The window's mean attention.
    SnapKv,
    /// The window's summed attention.
    H2o,
    /// The last query's attention.
    Tova,
}

/// What is fitted after the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refit {
    /// Nothing.
    No,
    /// A logit bias of each retained candidate.
    Bias,
    /// A bias, and then a value.
    Values,
}

/// How the share `rho` is chosen by which a quadratic form's off-diagonal part is shrunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shrinkage {
    /// As [`RHO`] says.
    Given,
    /// By Ledoit and Wolf's formula, layer by layer.
    LedoitWolf,
}

/// `rho=` as a number.
pub static RHO: Parameter = Parameter::new("rho", [0.0, 1.0], 0.8);

/// The options of every policy; an entry says which of them it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyOptions {
    /// Where the budget goes.
    pub allocation: Allocation,
    /// The divisor of each layer's scores under `allocation=model`.
    pub norm: Normaliser,
    /// How many of the window's last queries the score reads; `None` is all of them.
    pub window: Option<usize>,
    /// The rows of generated tokens that the score reads beside the window's.
    pub lookahead: Lookahead,
    /// The smoothing over neighbouring candidates.
    pub pool: Pool,
    /// How the scores of a query group become one.
    pub group_rule: GroupRule,
    /// The first score of a policy that ranks twice.
    pub base: Base,
    /// How many first positions come before all others, whatever the scores.
    pub sinks: usize,
    /// The least number of candidates that every KV head keeps; at most the budget's `b - w`.
    pub min_per_head: usize,
    /// How `rho` is chosen.
    pub shrinkage: Shrinkage,
    /// Whether the retained entries are reweighted after the cut.
    pub refit: Refit,
    /// The seed of a policy that draws.
    pub seed: u64,
    /// The form of the error that an oracle minimises.
    pub form: Form,
    /// The most relaxations that a certified oracle solves, per layer or for the model.
    pub nodes: usize,
    /// Whether a certified oracle first makes part of the diagonal linear. It then forms `M` layer by layer.
    pub convexify: bool,
    /// The parameters that policies and allocations declare.
    pub parameters: Parameters,
}

impl PolicyOptions {
    /// Head by head, unpooled, group mean: an entry's defaults change some of these.
    pub const PLAIN: Self = Self {
        allocation: Allocation::HEAD,
        norm: Normaliser::Sum,
        window: None,
        lookahead: Lookahead { tokens: 0, only: false },
        pool: Pool::NONE,
        group_rule: GroupRule::Mean,
        base: Base::SnapKv,
        sinks: 0,
        min_per_head: 0,
        shrinkage: Shrinkage::Given,
        refit: Refit::No,
        seed: 0,
        form: Form::LayerWise,
        nodes: 64,
        convexify: false,
        parameters: Parameters::DEFAULT,
    };

    /// The candidates that come before all others in a KV head, of which `per_head` stay on average.
    #[must_use]
    pub fn protected(&self, per_head: usize, candidate_len: usize) -> Protected {
        Protected::new(self.sinks, self.parameters.get(&ENDS), per_head, candidate_len)
    }

    /// The options that scores read. Those that act after the score are as in [`PolicyOptions::PLAIN`].
    #[must_use]
    pub fn of_score(mut self) -> Self {
        for parameter in Allocation::ALL.iter().flat_map(|allocation| allocation.entry().parameters) {
            self.parameters = self.parameters.without(parameter);
        }
        self.parameters = self.parameters.without(&ENDS);
        let Self { allocation, norm, sinks, min_per_head, refit, .. } = Self::PLAIN;
        Self { allocation, norm, sinks, min_per_head, refit, ..self }
    }
}

/// An option that a policy may have.
#[derive(Clone, Copy, Debug)]
pub enum OptionKey {
    /// `allocation=` one of these rules.
    Allocation(&'static [Allocation]),
    /// `norm=sum|output|none`
    Norm,
    /// `window=all|N`
    Window,
    /// `lookahead=G`; every policy with a window has it.
    Lookahead,
    /// `lookahead_only=no|yes`
    LookaheadOnly,
    /// `pool=none|avg:K|max:K`, at the first of these stages unless another is named: `avg:K@attention`.
    Pool(&'static [PoolStage]),
    /// `gqa=` one of these rules.
    Gqa(&'static [GroupRule]),
    /// `base=` one of these scores.
    Base(&'static [Base]),
    /// A number under the parameter's own name.
    Number(&'static Parameter),
    /// `sinks=N`
    Sinks,
    /// `min_per_head=N`
    MinPerHead,
    /// `rho=F|ledoit-wolf`
    Rho,
    /// `refit=no|bias|values`
    Refit,
    /// `seed=N`
    Seed,
    /// `form=layer-wise|head-wise`
    Form,
    /// `nodes=N`
    Nodes,
    /// `convexify=no|yes`
    Convexify,
}

/// The options of a policy, in the order in which they are printed.
#[derive(Clone, Copy, Debug)]
pub enum OptionList {
    /// The options of a policy that ranks: `allocation`, `norm` and the numbers of every allocation, then these of its
    /// own, with `lookahead` after `window`, then `sinks`, `ends`, `min_per_head` and `refit`.
    Ranking(&'static [OptionKey]),
    /// The same without `refit`: those of a policy that weighs what it draws.
    Drawing(&'static [OptionKey]),
    /// These only.
    Only(&'static [OptionKey]),
}

impl OptionList {
    /// Every option.
    #[must_use]
    pub fn keys(&self) -> Vec<OptionKey> {
        match *self {
            Self::Only(own) => own.to_vec(),
            Self::Ranking(own) | Self::Drawing(own) => {
                let mut keys = vec![OptionKey::Allocation(&Allocation::ALL), OptionKey::Norm];
                for number in Allocation::ALL.iter().flat_map(|allocation| allocation.entry().parameters) {
                    if !keys.iter().any(|key| key.name() == number.name) {
                        keys.push(OptionKey::Number(number));
                    }
                }
                for &key in own {
                    keys.push(key);
                    if matches!(key, OptionKey::Window) {
                        keys.extend([OptionKey::Lookahead, OptionKey::LookaheadOnly]);
                    }
                }
                keys.extend([OptionKey::Sinks, OptionKey::Number(&ENDS), OptionKey::MinPerHead]);
                keys.extend(matches!(self, Self::Ranking(_)).then_some(OptionKey::Refit));
                keys
            }
        }
    }
}

const NORMALISERS: [(&str, Normaliser); 3] =
    [("sum", Normaliser::Sum), ("output", Normaliser::Output), ("none", Normaliser::None)];

const FORMS: [(&str, Form); 2] = [("layer-wise", Form::LayerWise), ("head-wise", Form::HeadWise)];

const ANSWERS: [(&str, bool); 2] = [("no", false), ("yes", true)];

const REFITS: [(&str, Refit); 3] = [("no", Refit::No), ("bias", Refit::Bias), ("values", Refit::Values)];

const GROUP_RULES: [(&str, GroupRule); 5] = [
    ("mean", GroupRule::Mean),
    ("sum", GroupRule::Sum),
    ("max", GroupRule::Max),
    ("attention", GroupRule::Attention),
    ("exact", GroupRule::Exact),
];

const BASES: [(&str, Base); 3] = [("snapkv", Base::SnapKv), ("h2o", Base::H2o), ("tova", Base::Tova)];

const POOL_STAGES: [(&str, PoolStage); 2] =
    [("score", PoolStage::Score), ("attention", PoolStage::Attention)];

/// The value of `rho=` for Ledoit and Wolf's formula.
const LEDOIT_WOLF: &str = "ledoit-wolf";

/// The value of `window=` for the whole window.
const WHOLE_WINDOW: &str = "all";

impl OptionKey {
    /// The key in the policy syntax.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Allocation(_) => "allocation",
            Self::Norm => "norm",
            Self::Window => "window",
            Self::Lookahead => "lookahead",
            Self::LookaheadOnly => "lookahead_only",
            Self::Pool(_) => "pool",
            Self::Gqa(_) => "gqa",
            Self::Base(_) => "base",
            Self::Number(parameter) => parameter.name,
            Self::Sinks => "sinks",
            Self::MinPerHead => "min_per_head",
            Self::Rho => RHO.name,
            Self::Refit => "refit",
            Self::Seed => "seed",
            Self::Form => "form",
            Self::Nodes => "nodes",
            Self::Convexify => "convexify",
        }
    }

    /// The option's value in the policy syntax.
    #[must_use]
    pub fn get(&self, options: &PolicyOptions) -> String {
        match self {
            Self::Allocation(_) => options.allocation.name().into(),
            Self::Norm => name_in(&NORMALISERS, options.norm).into(),
            Self::Window => options.window.map_or(WHOLE_WINDOW.into(), |window| window.to_string()),
            Self::Lookahead => options.lookahead.tokens.to_string(),
            Self::LookaheadOnly => name_in(&ANSWERS, options.lookahead.only).into(),
            Self::Pool(stages) => pool_text(options.pool, stages),
            Self::Gqa(_) => name_in(&GROUP_RULES, options.group_rule).into(),
            Self::Base(_) => name_in(&BASES, options.base).into(),
            Self::Number(parameter) => options.parameters.get(parameter).to_string(),
            Self::Sinks => options.sinks.to_string(),
            Self::MinPerHead => options.min_per_head.to_string(),
            Self::Rho => rho_text(options),
            Self::Refit => name_in(&REFITS, options.refit).into(),
            Self::Seed => options.seed.to_string(),
            Self::Form => name_in(&FORMS, options.form).into(),
            Self::Nodes => options.nodes.to_string(),
            Self::Convexify => name_in(&ANSWERS, options.convexify).into(),
        }
    }

    pub(crate) fn set(&self, options: &mut PolicyOptions, value: &str) -> Result<(), String> {
        match self {
            Self::Allocation(rules) => options.allocation = allocation(rules, value)?,
            Self::Norm => options.norm = value_in(&NORMALISERS, value)?,
            Self::Window => options.window = window(value)?,
            Self::Lookahead => options.lookahead.tokens = whole_number(value)?,
            Self::LookaheadOnly => options.lookahead.only = value_in(&ANSWERS, value)?,
            Self::Pool(stages) => options.pool = pool(stages, value)?,
            Self::Gqa(rules) => options.group_rule = one_of(&GROUP_RULES, rules, value)?,
            Self::Base(bases) => options.base = one_of(&BASES, bases, value)?,
            Self::Number(parameter) => {
                options.parameters = options.parameters.with(parameter, parameter.parse(value)?);
            }
            Self::Sinks => options.sinks = whole_number(value)?,
            Self::MinPerHead => options.min_per_head = whole_number(value)?,
            Self::Rho => set_rho(options, value)?,
            Self::Refit => options.refit = value_in(&REFITS, value)?,
            Self::Seed => options.seed = whole_number(value)?,
            Self::Form => options.form = value_in(&FORMS, value)?,
            Self::Nodes => options.nodes = whole_number(value)?,
            Self::Convexify => options.convexify = value_in(&ANSWERS, value)?,
        }
        Ok(())
    }

    /// The allocations that read the option; `None` if the option is not for an allocation.
    #[must_use]
    pub fn allocations(&self) -> Option<Vec<Allocation>> {
        let with = |reads: &dyn Fn(Allocation) -> bool| -> Vec<Allocation> {
            Allocation::ALL.into_iter().filter(|&allocation| reads(allocation)).collect()
        };
        let reading = match self {
            Self::Norm => with(&Allocation::normalises),
            Self::Number(parameter) => {
                with(&|allocation| allocation.entry().parameters.iter().any(|own| own.name == parameter.name))
            }
            _ => Vec::new(),
        };
        (!reading.is_empty()).then_some(reading)
    }
}

fn allocation(rules: &[Allocation], text: &str) -> Result<Allocation, String> {
    let names: Vec<_> = rules.iter().map(|&rule| (rule.name(), rule)).collect();
    value_in(&names, text)
}

fn pool_text(pool: Pool, stages: &[PoolStage]) -> String {
    let elsewhere = pool.pooling != Pooling::None && stages.first() != Some(&pool.stage);
    let stage = if elsewhere { format!("@{}", name_in(&POOL_STAGES, pool.stage)) } else { String::new() };
    format!("{}{stage}", pool.pooling)
}

/// `KERNEL[@STAGE]`. The default stage is the policy's own, the first of `stages`.
fn pool(stages: &[PoolStage], text: &str) -> Result<Pool, String> {
    let (kernel, stage) = text.split_once('@').map_or((text, None), |(kernel, stage)| (kernel, Some(stage)));
    let pooling = kernel.parse()?;
    let own = stages.first().copied().unwrap_or(PoolStage::Score);
    let stage = stage.map_or(Ok(own), |stage| one_of(&POOL_STAGES, stages, stage))?;
    Ok(Pool { pooling, stage: if pooling == Pooling::None { own } else { stage } })
}

fn rho_text(options: &PolicyOptions) -> String {
    match options.shrinkage {
        Shrinkage::Given => options.parameters.get(&RHO).to_string(),
        Shrinkage::LedoitWolf => LEDOIT_WOLF.into(),
    }
}

fn set_rho(options: &mut PolicyOptions, text: &str) -> Result<(), String> {
    if text == LEDOIT_WOLF {
        options.shrinkage = Shrinkage::LedoitWolf;
        options.parameters = options.parameters.without(&RHO);
        return Ok(());
    }
    let rho = RHO.parse(text).map_err(|_| {
        format!("expected {LEDOIT_WOLF} or a number from {} to {}, found {text}", RHO.least, RHO.most)
    })?;
    options.shrinkage = Shrinkage::Given;
    options.parameters = options.parameters.with(&RHO, rho);
    Ok(())
}

fn window(text: &str) -> Result<Option<usize>, String> {
    if text == WHOLE_WINDOW {
        return Ok(None);
    }
    let window = text.parse().ok().filter(|&window| window > 0);
    window.map(Some).ok_or_else(|| format!("expected {WHOLE_WINDOW} or a whole number above 0, found {text}"))
}

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

/// The value of this name, if the policy has it.
fn one_of<T: Copy + PartialEq>(names: &[(&'static str, T)], has: &[T], text: &str) -> Result<T, String> {
    let has: Vec<_> = names.iter().filter(|(_, value)| has.contains(value)).copied().collect();
    value_in(&has, text)
}

fn whole_number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("expected a whole number, found {text}"))
}
