//! Slot scores, finite by construction.

use crate::error::Error;
use crate::shape::{KvHead, LayerIndex, Position};
use crate::spread::AttentionSpread;

/// What a layer's scores are divided by before a cut over the whole model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Normaliser {
    /// The sum of the magnitudes of the layer's candidate scores.
    Sum,
    /// `norm_F(O)` of the layer.
    Output,
    /// 1.
    None,
}

/// One layer's scores, `[Hkv, n - w]`: every one finite.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadScores {
    layer: LayerIndex,
    kv_heads: usize,
    candidate_len: usize,
    values: Vec<f64>,
    second: Option<SecondStage>,
}

/// How the rest of a KV head's share is filled once its first part is.
#[derive(Clone, Debug, PartialEq)]
pub struct SecondStage {
    /// One score a candidate, KV head by KV head.
    values: Vec<f64>,
    /// How much of the share the first part is.
    ratio: f64,
}

impl SecondStage {
    /// The scores of one KV head.
    #[must_use]
    pub fn head(&self, head: usize, candidate_len: usize) -> &[f64] {
        &self.values[head * candidate_len..(head + 1) * candidate_len]
    }

    /// `floor(ratio * share)`: how many candidates the first score chooses.
    #[must_use]
    pub fn first_part(&self, share: usize) -> usize {
        (self.ratio * share as f64).floor() as usize
    }
}

impl HeadScores {
    /// Takes one score a candidate for each KV head, in the order of positions.
    ///
    /// # Errors
    /// [`Error::Score`] names the first slot whose score is NaN or infinite; [`Error::Shape`] when the heads
    /// differ in length or there is none.
    pub fn new(layer: LayerIndex, heads: &[Vec<f64>]) -> Result<Self, Error> {
        let candidate_len = heads.first().map(Vec::len);
        let Some(candidate_len) = candidate_len.filter(|&len| heads.iter().all(|head| head.len() == len))
        else {
            return Err(Error::Shape {
                what: "scores",
                expected: "at least one KV head, all with the same candidates".into(),
                found: format!("{:?}", heads.iter().map(Vec::len).collect::<Vec<_>>()),
            });
        };
        Self::checked(layer, heads.len(), candidate_len, heads.concat())
    }

    /// Takes the scores `[kv_heads, n - w]` of all KV heads in one list.
    ///
    /// # Errors
    /// As [`HeadScores::new`].
    pub fn flat(layer: LayerIndex, kv_heads: usize, values: Vec<f64>) -> Result<Self, Error> {
        if kv_heads == 0 || values.len() % kv_heads != 0 {
            return Err(Error::Shape {
                what: "scores",
                expected: "at least one KV head, all with the same candidates".into(),
                found: format!("{} of {kv_heads} KV heads", values.len()),
            });
        }
        let candidate_len = values.len() / kv_heads;
        Self::checked(layer, kv_heads, candidate_len, values)
    }

    fn checked(
        layer: LayerIndex,
        kv_heads: usize,
        candidate_len: usize,
        values: Vec<f64>,
    ) -> Result<Self, Error> {
        if all_finite(&values) {
            return Ok(Self { layer, kv_heads, candidate_len, values, second: None });
        }
        let index = values.iter().position(|score| !score.is_finite()).expect("not all are finite");
        Err(Error::Score {
            layer,
            kv_head: KvHead(index / candidate_len),
            position: Position(index % candidate_len),
            value: values[index],
        })
    }

    /// The same scores for `ratio` of each KV head's share, and others for the rest of it.
    ///
    /// # Errors
    /// As [`HeadScores::new`], and [`Error::Shape`] when the second scores are of another shape.
    pub fn then(self, second: &[Vec<f64>], ratio: f64) -> Result<Self, Error> {
        let second = Self::new(self.layer, second)?;
        if (second.kv_heads, second.candidate_len) != (self.kv_heads, self.candidate_len) {
            return Err(Error::Shape {
                what: "second scores",
                expected: format!("{} KV heads of {} candidates", self.kv_heads, self.candidate_len),
                found: format!("{} of {}", second.kv_heads, second.candidate_len),
            });
        }
        Ok(Self { second: Some(SecondStage { values: second.values, ratio }), ..self })
    }

    /// How the rest of a share is filled, where that is by other scores.
    #[must_use]
    pub fn second(&self) -> Option<&SecondStage> {
        self.second.as_ref()
    }

    /// The layer's own number.
    #[must_use]
    pub fn layer(&self) -> LayerIndex {
        self.layer
    }

    /// `n - w`.
    #[must_use]
    pub fn candidate_len(&self) -> usize {
        self.candidate_len
    }

    /// The scores of each KV head, in order.
    pub fn heads(&self) -> impl Iterator<Item = &[f64]> {
        let len = self.candidate_len;
        (0..self.kv_heads).map(move |head| &self.values[head * len..(head + 1) * len])
    }

    /// All scores, KV head by KV head.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The scores over `normaliser`; a zero score stays zero whatever it is divided by.
    fn divided_by(&self, normaliser: f64) -> Result<Self, Error> {
        let divide = |&score: &f64| if score == 0.0 { 0.0 } else { score / normaliser };
        let heads: Vec<Vec<f64>> = self.heads().map(|head| head.iter().map(divide).collect()).collect();
        Ok(Self { second: self.second.clone(), ..Self::new(self.layer, &heads)? })
    }
}

/// Many numbers at once, none of which ends the loop: that is several times faster than to look for the first that is not finite.
fn all_finite(numbers: &[f64]) -> bool {
    let (many, rest) = numbers.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for numbers in many {
        for (sum, number) in sums.iter_mut().zip(numbers) {
            // 0, or not a number for ever.
            *sum += number - number;
        }
    }
    sums.iter().chain(rest).all(|number| number.is_finite())
}

/// One sample's scores over all its layers, with what normalising them needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelScores {
    layers: Vec<HeadScores>,
    output_norms: Vec<f64>,
    kv_heads: usize,
    spreads: Option<Vec<AttentionSpread>>,
}

impl ModelScores {
    /// Joins the layers' scores with `norm_F(O)` of each layer.
    ///
    /// # Errors
    /// [`Error::Shape`] when a layer's sizes differ from the first's, or the counts differ.
    pub fn new(layers: Vec<HeadScores>, output_norms: Vec<f64>, kv_heads: usize) -> Result<Self, Error> {
        let candidate_len = layers.first().map_or(0, HeadScores::candidate_len);
        let agrees = |layer: &HeadScores| layer.candidate_len == candidate_len && layer.kv_heads == kv_heads;
        if layers.is_empty() || layers.len() != output_norms.len() || !layers.iter().all(agrees) {
            return Err(Error::Shape {
                what: "model scores",
                expected: format!(
                    "layers of {kv_heads} KV heads and {candidate_len} candidates, a norm each"
                ),
                found: format!("{} layers, {} norms", layers.len(), output_norms.len()),
            });
        }
        Ok(Self { layers, output_norms, kv_heads, spreads: None })
    }

    /// The same with the spread of each layer's attention, which `allocation=cake` asks for.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not one a layer.
    pub fn with_spreads(self, spreads: Vec<AttentionSpread>) -> Result<Self, Error> {
        if spreads.len() != self.layers.len() {
            return Err(Error::Shape {
                what: "attention spreads",
                expected: format!("{}, one a layer", self.layers.len()),
                found: spreads.len().to_string(),
            });
        }
        Ok(Self { spreads: Some(spreads), ..self })
    }

    /// The spread of each layer's attention.
    ///
    /// # Errors
    /// [`Error::Shape`] when they were not given.
    pub fn spreads(&self) -> Result<&[AttentionSpread], Error> {
        self.spreads.as_deref().ok_or_else(|| Error::Shape {
            what: "attention spreads",
            expected: "one a layer for allocation=cake".into(),
            found: "none".into(),
        })
    }

    /// The layers' scores, in order.
    #[must_use]
    pub fn layers(&self) -> &[HeadScores] {
        &self.layers
    }

    /// `Hkv` of every layer.
    #[must_use]
    pub fn kv_heads(&self) -> usize {
        self.kv_heads
    }

    /// `n - w` of every layer.
    #[must_use]
    pub fn candidate_len(&self) -> usize {
        self.layers[0].candidate_len
    }

    /// The scores with each layer divided by its normaliser `Z`.
    ///
    /// `sum` takes magnitudes: for non-negative scores that is the plain sum, and a score that counts downwards
    /// from zero keeps its order.
    ///
    /// # Errors
    /// [`Error::Score`] when a layer's output norm is zero though its scores are not.
    pub fn normalised(&self, normaliser: Normaliser) -> Result<Self, Error> {
        let divide = |(layer, &output_norm): (&HeadScores, &f64)| match normaliser {
            Normaliser::None => Ok(layer.clone()),
            Normaliser::Output => layer.divided_by(output_norm),
            Normaliser::Sum => layer.divided_by(layer.values.iter().map(|score| score.abs()).sum()),
        };
        let layers = self.layers.iter().zip(&self.output_norms).map(divide).collect::<Result<_, _>>()?;
        Ok(Self { layers, ..self.clone() })
    }
}
