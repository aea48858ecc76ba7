//! DefensiveKV: the worth of a candidate to the query that needs it most.
//!
//! Attention to the candidates is pooled row by row and scaled back to its mass. A candidate's risk is its largest attention
//! over the rows of its group, and at least the mean risk of its head. The score is the risk times the head's share in the
//! projected values of the position. The entries that hold the first `mass` of the group's mean attention come before all
//! others and rank among themselves by attention. The window's own attention counts towards that mass first.
//!
//! The published code (arXiv 2510.13334) differs in three ways. It takes the attention to the last `w` candidates for
//! that to the window. It takes the layer's mean for the head's. It marks at most `b - w` entries per head, and they
//! tie. Under `allocation=head`, a head with more marked entries than its share keeps the same ones in both. Under
//! other allocations, its further marked entries come before other heads' unmarked ones here.

use nalgebra::DVector;

use crate::columns::{mean_attention, pooled, projected_value_sizes};
use crate::group::grouped;
use crate::layer::Layer;
use crate::{
    Allocation, Family, GroupRule, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, Pool,
    PoolStage, Pooling, QueryHead, Rule, ScoreEntry, ScoreRule,
};

/// The part of the attention whose entries come first.
static MASS: Parameter = Parameter::new("mass", [0.0, 1.0], 0.9);

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "defensivekv",
    formula: "s_i = max(r_i, mean_j r_j) * u_i / sum over KV heads of u_i, r_i the largest pooled A_h[t,i] of group and \
              window, u_i = mean over the group of norm1(v_i W_h); entries of the first `mass` of attention before all others",
    source: "arXiv 2510.13334; allocation=model-raw is its Layer-DefensiveKV",
    caveat: "defensivekv puts all entries of the first `mass` of attention before others; its published code marks b - w per head at \
             most, by the attention to the last w candidates, and takes the layer's mean risk for the head's: it keeps other sets.",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Attention]),
        OptionKey::Number(&MASS),
    ]),
    defaults: PolicyOptions {
        allocation: Allocation::ADA,
        pool: Pool::of_attention(Pooling::Average(5)),
        ..PolicyOptions::PLAIN
    },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let risks = grouped(layer, GroupRule::Max, |head| largest_of_rows(layer, options, head));
    let attention = grouped(layer, GroupRule::Mean, |head| mean_attention(layer, head));
    let sizes = grouped(layer, GroupRule::Mean, |head| projected_value_sizes(layer, head));
    let mut scores: Vec<Vec<f64>> = risks.into_iter().map(floored_at_mean).collect();
    for (scores, own) in scores.iter_mut().zip(&sizes) {
        for (position, score) in scores.iter_mut().enumerate() {
            let of_all: f64 = sizes.iter().map(|head| head[position]).sum();
            *score *= if of_all > 0.0 { own[position] / of_all } else { 0.0 };
        }
    }
    let largest = scores.iter().flatten().copied().fold(0.0, f64::max);
    let mass = options.parameters.get(&MASS);
    for (scores, attention) in scores.iter_mut().zip(&attention) {
        for position in first_mass(attention, mass) {
            scores[position] = largest + attention[position];
        }
    }
    scores
}

/// The largest of a query head's rows, each pooled and scaled back to its mass.
fn largest_of_rows(layer: &Layer, options: &PolicyOptions, head: QueryHead) -> DVector<f64> {
    let candidate_len = layer.shape.candidate_len();
    let weights = layer.attention.weights[head.0].columns(0, candidate_len);
    let rows = weights.row_iter().map(|row| pooled_row(options, row.transpose()));
    rows.fold(DVector::zeros(candidate_len), |most, row| most.sup(&row))
}

fn pooled_row(options: &PolicyOptions, row: DVector<f64>) -> DVector<f64> {
    let mass = row.sum();
    let pooled = pooled(options, row);
    let left = pooled.sum();
    if left > 0.0 { pooled * (mass / left) } else { pooled }
}

fn floored_at_mean(risks: Vec<f64>) -> Vec<f64> {
    let mean = risks.iter().sum::<f64>() / risks.len() as f64;
    risks.into_iter().map(|risk| risk.max(mean)).collect()
}

/// The candidates by falling attention, as long as their sum with the window's stays below `mass`.
fn first_mass(attention: &[f64], mass: f64) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..attention.len()).collect();
    positions.sort_by(|&i, &j| attention[j].total_cmp(&attention[i]));
    let mut reached = 1.0 - attention.iter().sum::<f64>();
    let inside = |position: &usize| {
        reached += attention[*position];
        reached < mass
    };
    positions.into_iter().take_while(inside).collect()
}
