//! The exact error of evicting one slot and renormalising.

use nalgebra::{DMatrix, DVector, RowDVector};

use crate::columns::weights_without;
use crate::layer::Layer;
use crate::project::{head_output, projected_values};
use crate::{
    Allocation, Family, OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, QueryHead, Rule,
    ScoreEntry, ScoreRule,
};

pub(super) static SCORE: ScoreEntry = ScoreEntry { family: Family::Centred, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "centred",
    formula: "root of sum over rows t of norm2(sum over the group of A[t,i] / (1 - A[t,i]) * (b_{h,i} - o_{h,t}))^2",
    source: "this project",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Window, OptionKey::Pool(&[PoolStage::Score])]),
    defaults: PolicyOptions { allocation: Allocation::MODEL, ..PolicyOptions::PLAIN },
};

fn score(layer: &Layer, _: &PolicyOptions) -> Vec<Vec<f64>> {
    layer.query_groups().map(|(_, group)| score_group(layer, &group)).collect()
}

fn score_group(layer: &Layer, group: &[QueryHead]) -> Vec<f64> {
    let heads: Vec<_> = group.iter().map(|&head| Head::new(layer, head)).collect();
    let change = |position| {
        let mut change = DMatrix::zeros(layer.attention.rows(), layer.shape.hidden_dim);
        heads.iter().for_each(|head| head.add_change(position, &mut change));
        change.norm()
    };
    (0..layer.shape.candidate_len()).map(change).collect()
}

/// One query head's part in the change of the output.
struct Head<'a> {
    layer: &'a Layer,
    index: QueryHead,
    /// `B_h` of the candidates, `[n - w, D]`.
    projected: DMatrix<f64>,
    /// `A_h B_h`, `[w, D]`.
    output: DMatrix<f64>,
}

impl<'a> Head<'a> {
    fn new(layer: &'a Layer, index: QueryHead) -> Self {
        let output = head_output(layer, index, &layer.attention.weights[index.0]);
        Self { layer, index, projected: projected_values(layer, index), output }
    }

    /// Adds the change of each row by evicting `position`, up to its sign.
    fn add_change(&self, position: usize, change: &mut DMatrix<f64>) {
        let weights: DVector<f64> = self.layer.attention.weights[self.index.0].column(position).into();
        let projected = self.projected.row(position);
        for (row, &weight) in weights.iter().enumerate() {
            let moved = if weight <= 0.5 {
                (projected - self.output.row(row)) * (weight / (1.0 - weight))
            } else {
                self.output.row(row) - self.output_without(position, row)
            };
            let sum = change.row(row) + moved;
            change.set_row(row, &sum);
        }
    }

    /// `o_{h,t}` after evicting `position`, computed anew: for a weight near 1, `1 - A` loses its digits. A row has at
    /// most one such position.
    fn output_without(&self, position: usize, row: usize) -> RowDVector<f64> {
        let weights = weights_without(self.layer, self.index, position, row);
        head_output(self.layer, self.index, &weights).row(0).into_owned()
    }
}
