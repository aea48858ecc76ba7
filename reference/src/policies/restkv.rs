//! ReST-KV: how far the output moves without an entry, under one averaged row of attention.
//!
//! ```text
//! a = moving average over the rows t of A_h[t, :];   s_i = a_i / (1 - a_i) * norm2((o - v_i) W_h),   o = sum_i a_i v_i, group mean
//! ```
//!
//! The average starts at the first row and takes a part `smooth` (0.3) of each later one; `o` sums over the candidates, without the window,
//! as in the published code (arXiv 2605.08840). That code averages scores over at least 5 neighbours, and over more, and
//! shifted ones, where the most attended positions have moved by 2000 positions or more between the halves of the
//! window; that depends on the budget and is left out: `pool=avg:5` is the rest. Edges are padded with zeros here. Grouped
//! queries share a set by the group's mean, which is this project's choice.
//!
//! `caote` and `dropkv` are the same without the projection, row by row; [`centred`](super::centred) is the same row by row, with
//! the exact sum over a group, so that it is the error of evicting one slot and renormalising.

use nalgebra::{DVector, RowDVector};

use crate::group::grouped;
use crate::layer::Layer;
use crate::shape::QueryHead;
use crate::{
    Family, GroupRule, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, Pool, PoolStage,
    Pooling, Rule, ScoreEntry, ScoreRule,
};

/// The part of a later row in the average.
static ALPHA: Parameter = Parameter::new("smooth", [0.0, 1.0], 0.3);

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "restkv",
    formula: "s_i = mean over the group of a_i / (1 - a_i) norm2((sum_j a_j v_j - v_i) W_h), a the moving average of A's rows",
    source: "arXiv 2605.08840",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Score]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
        OptionKey::Number(&ALPHA),
    ]),
    defaults: PolicyOptions { pool: Pool::of_score(Pooling::Average(5)), ..PolicyOptions::PLAIN },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let alpha = options.parameters.get(&ALPHA);
    grouped(layer, options.group_rule, |head| {
        let row = averaged(layer, head, alpha);
        let output = attended(layer, head, &row, None);
        let moved = |position: usize| change(layer, head, &row, &output, position);
        DVector::from_fn(layer.shape.candidate_len(), |position, _| moved(position))
    })
}

/// The moving average of the rows of `A_h`, `[1, n]`.
fn averaged(layer: &Layer, head: QueryHead, alpha: f64) -> RowDVector<f64> {
    let mut rows = layer.attention.weights[head.0].row_iter();
    let first = rows.next().expect("a window has a query").into_owned();
    rows.fold(first, |average, row| average * (1.0 - alpha) + row * alpha)
}

/// `sum of a_j v_j` over the candidates without one of them.
fn attended(
    layer: &Layer,
    head: QueryHead,
    row: &RowDVector<f64>,
    without: Option<usize>,
) -> RowDVector<f64> {
    let candidates = layer.shape.candidate_len();
    let mut weights = row.columns(0, candidates).into_owned();
    if let Some(position) = without {
        weights[position] = 0.0;
    }
    weights * layer.values_of(head).rows(0, candidates)
}

/// `a / (1 - a) * norm2((o - v) W_h)`. Where nothing else has weight, the output without the entry counts as 0.
fn change(
    layer: &Layer,
    head: QueryHead,
    row: &RowDVector<f64>,
    output: &RowDVector<f64>,
    position: usize,
) -> f64 {
    let (weight, value) = (row[position], layer.values_of(head).row(position));
    let odds_times_moved = if weight <= 0.5 {
        (output - value) * (weight / (1.0 - weight))
    } else {
        // `1 - a` loses its digits. There is at most one such position.
        let others: f64 =
            row.iter().enumerate().filter(|(other, _)| *other != position).map(|(_, a)| a).sum();
        let rest = attended(layer, head, row, Some(position));
        let moved = if others > 0.0 { rest / others - value } else { -value.into_owned() };
        moved * weight
    };
    (odds_times_moved * &layer.output_projection[head.0]).norm()
}
