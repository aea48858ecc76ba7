//! Candidate scores, finite by construction.

use std::ops::Range;

use crate::error::{Error, Result, finite};
use crate::pool::{Pool, PoolStage};
use crate::shape::{KvHead, LayerIndex, Position};
use crate::statistic::Statistic;

/// The divisor of a layer's scores before a cut over the whole model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Normaliser {
    /// The sum of the magnitudes of the layer's candidate scores.
    Sum,
    /// `norm_F(O)` of the layer.
    Output,
    /// 1.
    None,
}

/// The candidates that share one cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of one KV head.
    Head,
    /// Those of one layer.
    Layer,
    /// Those of all layers.
    Model,
}

/// The scores of one KV head's candidates: every one finite.
#[derive(Clone, Debug, PartialEq)]
pub struct FiniteScores(Vec<f64>);

impl Normaliser {
    /// The statistic that it reads.
    #[must_use]
    pub fn wants(self) -> Option<Statistic> {
        (self == Self::Output).then_some(Statistic::OutputNorm)
    }
}

impl FiniteScores {
    /// Takes one score per candidate, in the order of positions.
    ///
    /// # Errors
    /// [`Error::Score`] names the first candidate whose score is NaN or infinite.
    pub fn new(layer: LayerIndex, kv_head: KvHead, scores: Vec<f64>) -> Result<Self> {
        if all_finite(&scores) {
            return Ok(Self(scores));
        }
        let position = scores.iter().position(|score| !score.is_finite()).expect("not all are finite");
        Err(Error::Score { layer, kv_head, position: Position(position), value: scores[position] })
    }
}

/// Whether all numbers are finite. The loop takes many at once and never ends early, which is several times faster than
/// a search for the first bad one.
fn all_finite(numbers: &[f64]) -> bool {
    let (many, rest) = numbers.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for numbers in many {
        for (sum, number) in sums.iter_mut().zip(numbers) {
            // Adds 0, or makes the sum NaN for good.
            *sum += number * 0.0;
        }
    }
    sums.iter().chain(rest).all(|number| number.is_finite())
}

/// One layer's scores, `[Hkv, n - w]`: every one finite.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadScores {
    layer: LayerIndex,
    heads: Vec<FiniteScores>,
    candidate_len: usize,
    second: Option<SecondStage>,
}

/// The scores that fill the rest of a KV head's share after its first part.
#[derive(Clone, Debug, PartialEq)]
pub struct SecondStage {
    /// One list per KV head.
    heads: Vec<FiniteScores>,
    /// The first part as a fraction of the share.
    ratio: f64,
}

impl SecondStage {
    /// The scores of one KV head.
    #[must_use]
    pub fn head(&self, head: usize) -> &[f64] {
        &self.heads[head].0
    }

    /// `floor(ratio * share)`: how many candidates the first score chooses.
    #[must_use]
    pub fn first_part(&self, share: usize) -> usize {
        (self.ratio * share as f64).floor() as usize
    }
}

impl HeadScores {
    /// Takes the scores of each KV head, one per candidate, in the order of positions.
    ///
    /// # Errors
    /// [`Error::Score`] names the first candidate whose score is NaN or infinite; [`Error::Shape`] when the heads
    /// differ in length or there is none.
    pub fn new(layer: LayerIndex, heads: Vec<Vec<f64>>) -> Result<Self> {
        let finite = |(head, scores)| FiniteScores::new(layer, KvHead(head), scores);
        Self::of(layer, heads.into_iter().enumerate().map(finite).collect::<Result<_, _>>()?)
    }

    /// Takes finite scores of each KV head.
    ///
    /// # Errors
    /// [`Error::Shape`] when the heads differ in length or there is none.
    pub fn of(layer: LayerIndex, heads: Vec<FiniteScores>) -> Result<Self> {
        let candidate_len = heads.first().map(|head| head.0.len());
        match candidate_len.filter(|&len| heads.iter().all(|head| head.0.len() == len)) {
            Some(candidate_len) => Ok(Self { layer, heads, candidate_len, second: None }),
            None => {
                let found: Vec<_> = heads.iter().map(|head| head.0.len()).collect();
                let expected = "at least one KV head, all with the same candidates";
                Err(Error::shape("scores", expected, format_args!("{found:?}")))
            }
        }
    }

    /// The same scores for `ratio` of each KV head's share, and others for the rest of it.
    ///
    /// # Errors
    /// As [`HeadScores::new`], and [`Error::Shape`] when the second scores are of another shape.
    pub fn then(self, second: Vec<Vec<f64>>, ratio: f64) -> Result<Self> {
        let second = Self::new(self.layer, second)?;
        if second.sizes() != self.sizes() {
            let [(heads, candidates), (other_heads, other_candidates)] = [self.sizes(), second.sizes()];
            let expected = format_args!("{heads} KV heads of {candidates} candidates");
            let found = format_args!("{other_heads} of {other_candidates}");
            return Err(Error::shape("second scores", expected, found));
        }
        Ok(Self { second: Some(SecondStage { heads: second.heads, ratio }), ..self })
    }

    /// The second scores, if others fill the rest of a share.
    #[must_use]
    pub fn second(&self) -> Option<&SecondStage> {
        self.second.as_ref()
    }

    /// The layer's number in the model.
    #[must_use]
    pub fn layer(&self) -> LayerIndex {
        self.layer
    }

    /// `n - w`.
    #[must_use]
    pub fn candidate_len(&self) -> usize {
        self.candidate_len
    }

    /// The number of KV heads, and of the candidates of each.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.heads.len(), self.candidate_len)
    }

    /// The scores of each KV head, in order.
    pub fn heads(&self) -> impl Iterator<Item = &[f64]> {
        self.heads.iter().map(|head| head.0.as_slice())
    }

    /// All scores, KV head by KV head.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        self.heads().flatten().copied()
    }

    /// The scores pooled over neighbouring candidates.
    pub(crate) fn pooled(&self, pool: Pool) -> Result<Self> {
        Self::new(self.layer, self.heads().map(|head| pool.at(PoolStage::Score, head.to_vec())).collect())
    }

    /// The scores over `normaliser`; a zero score stays zero for any normaliser.
    fn divided_by(&self, normaliser: f64) -> Result<Self> {
        let divide = |&score: &f64| if score == 0.0 { 0.0 } else { score / normaliser };
        let heads: Vec<Vec<f64>> = self.heads().map(|head| head.iter().map(divide).collect()).collect();
        Ok(Self { second: self.second.clone(), ..Self::new(self.layer, heads)? })
    }
}

/// One sample's scores over all its layers, with the statistics that its allocations want.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelScores {
    layers: Vec<HeadScores>,
    statistics: Vec<(Statistic, Vec<f64>)>,
}

impl ModelScores {
    /// Joins the layers' scores.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no layer, or a layer's sizes differ from the first's.
    pub fn new(layers: Vec<HeadScores>) -> Result<Self> {
        let sizes: Vec<_> = layers.iter().map(HeadScores::sizes).collect();
        if sizes.first().is_some_and(|first| sizes.iter().all(|size| size == first)) {
            return Ok(Self { layers, statistics: Vec::new() });
        }
        let expected = "at least one layer, all with the same KV heads and candidates";
        Err(Error::shape("model scores", expected, format_args!("{sizes:?}")))
    }

    /// The same with a statistic of each layer.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not one number per layer.
    pub fn with(mut self, statistic: Statistic, of_layers: Vec<f64>) -> Result<Self> {
        if of_layers.len() != self.layers.len() {
            let expected = format_args!("{}, one {statistic:?} per layer", self.layers.len());
            return Err(Error::shape("statistics", expected, of_layers.len()));
        }
        self.statistics.push((statistic, of_layers));
        Ok(self)
    }

    /// A statistic of each layer.
    ///
    /// # Errors
    /// [`Error::Shape`] when it was not given.
    pub fn statistic(&self, statistic: Statistic) -> Result<&[f64]> {
        let found = self.statistics.iter().find(|(given, _)| *given == statistic);
        let missing = || Error::shape("statistics", format_args!("one {statistic:?} per layer"), "none");
        found.map(|(_, of_layers)| of_layers.as_slice()).ok_or_else(missing)
    }

    /// The layers' scores, in order.
    #[must_use]
    pub fn layers(&self) -> &[HeadScores] {
        &self.layers
    }

    /// `Hkv` of every layer.
    #[must_use]
    pub fn kv_heads(&self) -> usize {
        self.layers[0].heads.len()
    }

    /// `n - w` of every layer.
    #[must_use]
    pub fn candidate_len(&self) -> usize {
        self.layers[0].candidate_len
    }

    /// The number of KV heads over all layers.
    #[must_use]
    pub fn head_count(&self) -> usize {
        self.layers.iter().map(|layer| layer.heads.len()).sum()
    }

    /// The KV heads of each layer, as ranges of those of all layers.
    pub fn layer_heads(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let lens = self.layers.iter().map(|layer| layer.heads.len());
        lens.scan(0, |end, len| {
            *end += len;
            Some(*end - len..*end)
        })
    }

    /// The KV heads that share each cut.
    #[must_use]
    pub fn heads_of(&self, over: Reach) -> Vec<Range<usize>> {
        match over {
            Reach::Head => (0..self.head_count()).map(|head| head..head + 1).collect(),
            Reach::Layer => self.layer_heads().collect(),
            Reach::Model => std::iter::once(0..self.head_count()).collect(),
        }
    }

    /// The scores with each layer divided by its normaliser `Z`.
    ///
    /// `sum` adds magnitudes: the plain sum for non-negative scores, and a positive divisor for negative ones.
    ///
    /// # Errors
    /// [`Error::Score`] when a layer's output norm is zero but its scores are not; [`Error::Range`] when f64 does not hold
    /// the sum of a layer's scores; [`Error::Shape`] when a norm is missing.
    pub fn normalised(&self, normaliser: Normaliser) -> Result<Self> {
        let divisors: Vec<f64> = match normaliser {
            Normaliser::None => return Ok(self.clone()),
            Normaliser::Output => self.statistic(Statistic::OutputNorm)?.to_vec(),
            Normaliser::Sum => self.layers.iter().map(|layer| layer.values().map(f64::abs).sum()).collect(),
        };
        let divide = |(layer, divisor): (&HeadScores, f64)| {
            layer.divided_by(finite(layer.layer, "the sum of the scores", divisor)?)
        };
        let layers = self.layers.iter().zip(divisors).map(divide);
        Ok(Self { layers: layers.collect::<Result<_, _>>()?, ..self.clone() })
    }
}
