//! CriticalKV: attention fills the first part of a share, attention times the size of the projected values the rest.
//!
//! Of a KV head's share of `q` candidates, `floor(ratio q)` go by the base score. The rest go by
//! `(base + eps) * mean over the group of norm1(v_i W_h)`. The budget is allocated by the base score, as in the
//! published combination with Ada-KV, which is `criticalkv:allocation=ada`.
//!
//! The base score is pooled before it is multiplied by the values, so `pool=` takes no stage but the attention. The
//! published code (NVIDIA's kvpress) takes half of the whole budget in its first stage and counts the window into that
//! half. Here the window is outside all shares, and the half is a half of the candidates.

use crate::columns::projected_value_sizes;
use crate::group::grouped;
use crate::layer::Layer;
use crate::policies::{h2o, snapkv, tova};
use crate::{
    Base, Family, GroupRule, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, Pool, PoolStage,
    Pooling, Rule, ScoreEntry, ScoreRule,
};

/// The part of a head's share that the base score fills.
static RATIO: Parameter = Parameter::new("ratio", [0.0, 1.0], 0.5);

/// The addition by which candidates without attention still count.
static EPS: Parameter = Parameter::new("eps", [0.0, 1.0], 1e-4);

static SCORE: ScoreEntry = ScoreEntry {
    family: Family::Other,
    rule: ScoreRule::Twice { first: base, second: weighted, ratio: &RATIO },
};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "criticalkv",
    formula: "the first `ratio` of a head's share: base score; the rest: (base + eps) * mean over the group of \
              norm1(v_i W_h)",
    source: "arXiv 2502.03805",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Attention]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
        OptionKey::Base(&[Base::SnapKv, Base::H2o, Base::Tova]),
        OptionKey::Number(&RATIO),
        OptionKey::Number(&EPS),
    ]),
    defaults: PolicyOptions { pool: Pool::of_attention(Pooling::Average(7)), ..PolicyOptions::PLAIN },
};

fn base(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let score = match options.base {
        Base::SnapKv => snapkv::score,
        Base::H2o => h2o::score,
        Base::Tova => tova::score,
    };
    let unpooled = PolicyOptions { pool: Pool::NONE, ..*options };
    let pool = |scores| options.pool.at(PoolStage::Attention, scores);
    score(layer, &unpooled).into_iter().map(pool).collect()
}

fn weighted(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let sizes = grouped(layer, GroupRule::Mean, |head| projected_value_sizes(layer, head));
    let eps = options.parameters.get(&EPS);
    let weigh = |(base, sizes): (Vec<f64>, Vec<f64>)| {
        base.iter().zip(sizes).map(|(score, size)| (score + eps) * size).collect()
    };
    base(layer, options).into_iter().zip(sizes).map(weigh).collect()
}
