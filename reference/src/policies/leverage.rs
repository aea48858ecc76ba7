//! Leverage scores of the keys: keys that few others can be combined to.
//!
//! ```text
//! s_i = x_i^T (X^T X + ridge I)^-1 x_i,   x_i = k_i - mean_j k_j over the context
//! ```
//!
//! Compactor (arXiv 2507.08143; `LeverageScorePress` of NVIDIA's kvpress) takes keys before RoPE, projects them to 48 random
//! channels, and blends the result with attention that is not causal. A dump holds keys after RoPE, and this score is the
//! exact one, without a projection and without the blend.

use nalgebra::DMatrix;

use crate::layer::Layer;
use crate::{
    Family, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry,
    ScoreRule,
};

/// The addition to the diagonal, relative to its mean.
static RIDGE: Parameter = Parameter::new("ridge", [1e-9, 1.0], 1e-6);

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "leverage",
    formula: "s_i = x_i^T (X^T X + ridge tr(X^T X) / d I)^-1 x_i, x_i = k_i - mean_j k_j",
    source: "arXiv 2507.08143",
    caveat: "leverage reads keys after RoPE, all that a dump holds; Compactor reads them before it.",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score]), OptionKey::Number(&RIDGE)]),
    defaults: PolicyOptions::PLAIN,
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let ridge = options.parameters.get(&RIDGE);
    let of_head = |keys: &DMatrix<f64>| {
        let keys = keys.rows(0, layer.shape.context_len);
        let centre = keys.row_mean();
        let mut centred = keys.into_owned();
        centred.row_iter_mut().for_each(|mut row| row -= &centre);
        // A factor of all keys does not change the score, and keeps their squares within f64.
        let largest = centred.amax();
        if largest == 0.0 {
            return vec![0.0; layer.shape.candidate_len()];
        }
        centred /= largest;
        let mut squares = centred.tr_mul(&centred);
        let addition = ridge * squares.trace() / squares.nrows() as f64;
        squares.set_diagonal(&squares.diagonal().add_scalar(addition));
        let factor = squares.cholesky().expect("squares and a positive diagonal are positive definite");
        let candidates = centred.rows(0, layer.shape.candidate_len()).transpose();
        let solved = factor.solve(&candidates);
        candidates.column_iter().zip(solved.column_iter()).map(|(row, solved)| row.dot(&solved)).collect()
    };
    layer.keys.iter().map(of_head).collect()
}
