//! CurDKV: keys and values that stand out among their neighbours.
//!
//! The paper (arXiv 2509.15038) ranks by products of leverage scores of keys and of values. NVIDIA's kvpress, whose
//! `CURPress` this is, takes squared norms over their sum in blocks of 16 positions for leverage scores, and keeps the first 4
//! positions. Blocks are counted from the context's start, over the window, too. A block whose keys or values are zero
//! has score 0. The paper's random projection is left out, as it is by default in kvpress.

use nalgebra::DMatrix;

use crate::layer::Layer;
use crate::{
    Family, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry,
    ScoreRule,
};

/// The positions among which norms are compared.
static BLOCK: Parameter = Parameter::whole("block", [1, 1_000_000_000], 16);

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "curdkv",
    formula: "s_i = l(k_i) l(v_i), l(x_i) = norm2(x_i)^2 / sum over i's block of norm2(x_j)^2, over its sum in the head",
    source: "arXiv 2509.15038",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score]), OptionKey::Number(&BLOCK)]),
    defaults: PolicyOptions { sinks: 4, ..PolicyOptions::PLAIN },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let block = options.parameters.get(&BLOCK) as usize;
    let shares = |rows: &DMatrix<f64>| block_shares(rows, layer.shape.context_len, block);
    let of_head = |(keys, values): (&DMatrix<f64>, &DMatrix<f64>)| {
        let products = shares(keys).into_iter().zip(shares(values)).map(|(key, value)| key * value);
        let mut scores: Vec<f64> = products.collect();
        let sum: f64 = scores.iter().sum();
        scores.truncate(layer.shape.candidate_len());
        if sum > 0.0 {
            scores.iter_mut().for_each(|score| *score /= sum);
        }
        scores
    };
    layer.keys.iter().zip(&layer.values).map(of_head).collect()
}

/// `norm2(x_i)^2` over its sum in `i`'s block, of the first `len` rows.
fn block_shares(rows: &DMatrix<f64>, len: usize, block: usize) -> Vec<f64> {
    let norms: Vec<f64> = rows.rows(0, len).row_iter().map(|row| row.norm()).collect();
    let of_block = |norms: &[f64]| {
        // Over the largest first: the squares of small norms may vanish.
        let largest = norms.iter().copied().fold(0.0, f64::max);
        let squares = norms.iter().map(|norm| if largest > 0.0 { (norm / largest).powi(2) } else { 0.0 });
        let squares: Vec<f64> = squares.collect();
        let sum: f64 = squares.iter().sum();
        squares.into_iter().map(|square| if sum > 0.0 { square / sum } else { 0.0 }).collect::<Vec<_>>()
    };
    norms.chunks(block).flat_map(of_block).collect()
}
