//! LagKV: entries that differ from what comes after them.
//!
//! After the first 4 positions the context is cut into parts of `lag`. Every channel of a key is scaled to the range that it
//! has in the next part; the deviation of the scaled channels, a softmax over the part, and the same of the values make a
//! score, and its rank within the part is what counts. The last whole part and what follows have nothing after them: they are
//! kept first, with the first 4 positions. A context of fewer than two parts keeps the most recent positions. All this is
//! `LagKVPress` of NVIDIA's kvpress (arXiv 2504.04704). A channel that is constant in the next part counts as 0 there; the
//! published code divides by 0.

use nalgebra::DMatrix;

use crate::layer::Layer;
use crate::{
    Family, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry,
    ScoreRule,
};

/// The positions of a part.
static LAG: Parameter = Parameter::whole("lag", [1, 1_000_000_000], 128);

/// The first positions, which are part of none.
const SINKS: usize = 4;

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "lagkv",
    formula: "s_i = rank within i's part of the mean over k and v of softmax(std over channels of (x_i - min) / (max - min)), \
              min and max over the next part",
    source: "arXiv 2504.04704",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score]), OptionKey::Number(&LAG)]),
    defaults: PolicyOptions { sinks: SINKS, ..PolicyOptions::PLAIN },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let lag = options.parameters.get(&LAG) as usize;
    let (context_len, candidate_len) = (layer.shape.context_len, layer.shape.candidate_len());
    let parts = context_len.saturating_sub(SINKS) / lag;
    let of_head = |(keys, values): (&DMatrix<f64>, &DMatrix<f64>)| {
        let mut scores = vec![1.0; SINKS.min(context_len)];
        if parts < 2 {
            let rest = context_len - scores.len();
            scores.extend((0..rest).map(|position| position as f64 / rest as f64));
        } else {
            for part in 0..parts - 1 {
                let start = SINKS + part * lag;
                let of = |rows: &DMatrix<f64>| deviations(rows, start, lag);
                let scores_of_part: Vec<f64> =
                    of(keys).into_iter().zip(of(values)).map(|(key, value)| (key + value) / 2.0).collect();
                scores.extend(ranks(&scores_of_part).into_iter().map(|rank| rank as f64 / lag as f64));
            }
            scores.resize(context_len, 1.0);
        }
        scores.truncate(candidate_len);
        scores
    };
    layer.keys.iter().zip(&layer.values).map(of_head).collect()
}

/// The softmax over a part of the standard deviations over channels, each scaled to its range in the next part.
fn deviations(rows: &DMatrix<f64>, start: usize, lag: usize) -> Vec<f64> {
    let (part, next) = (rows.rows(start, lag), rows.rows(start + lag, lag));
    let ranges: Vec<(f64, f64)> = next.column_iter().map(|channel| (channel.min(), channel.max())).collect();
    let scaled = |(x, (least, most)): (&f64, &(f64, f64))| {
        if most > least { (x - least) / (most - least) } else { 0.0 }
    };
    let deviation = |row: usize| {
        let row = part.row(row);
        let channels: Vec<f64> = row.iter().zip(&ranges).map(scaled).collect();
        let mean = channels.iter().sum::<f64>() / channels.len() as f64;
        let squares: f64 = channels.iter().map(|x| (x - mean).powi(2)).sum();
        // One channel has no deviation.
        (squares / (channels.len() as f64 - 1.0).max(1.0)).sqrt()
    };
    let deviations: Vec<f64> = (0..lag).map(deviation).collect();
    let largest = deviations.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = deviations.iter().map(|deviation| (deviation - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// The place of each number in ascending order; of equal ones the earlier comes later, so that it ranks higher.
fn ranks(numbers: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&one, &two| numbers[one].total_cmp(&numbers[two]).then(two.cmp(&one)));
    let mut ranks = vec![0; numbers.len()];
    for (rank, place) in order.into_iter().enumerate() {
        ranks[place] = rank;
    }
    ranks
}
