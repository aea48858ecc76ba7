//! What a capture holds of a context beside queries, keys and values: the tensors that only some policies read.

use candle_core::Tensor;
use laprox_reference::{LayerIndex, Policy, Supplement};

use super::cache::{HeadCache, KvCache};
use super::error::{Error, Result};
use super::forward::{Model, PREFILL_CHUNK};
use super::generate::most_probable;
use super::observe::{Observer, Pass, QueryTap};
use super::query_statistics::QueryStatistics;
use super::repeat::RepeatMaxima;

/// Which supplements are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Mean, covariance and rotation of the context's queries.
    pub query_statistics: bool,
    /// The maxima of a repetition of the context. It takes about twice as long as the prefill.
    pub repeat: bool,
    /// The tokens that the model generates after the context.
    pub lookahead: usize,
}

impl Wanted {
    /// None.
    pub const NOTHING: Self = Self { query_statistics: false, repeat: false, lookahead: 0 };

    /// What these policies read.
    #[must_use]
    pub fn by<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Self {
        policies.into_iter().fold(Self::NOTHING, |wanted, policy| {
            let needs = |which| policy.needs().contains(&which);
            Self {
                query_statistics: wanted.query_statistics || needs(Supplement::QueryMean),
                repeat: wanted.repeat || needs(Supplement::RepeatMax) || needs(Supplement::RepeatRelativeMax),
                lookahead: wanted.lookahead.max(policy.options().lookahead.tokens),
            }
        })
    }
}

/// The supplements of a context that has run through the model.
#[derive(Default)]
pub struct Supplements {
    statistics: Option<(QueryStatistics, Vec<f32>)>,
    repeat: Option<RepeatMaxima>,
    lookahead: Option<(QueryTap, KvCache)>,
}

/// The statistics of a context's queries, if they are wanted.
struct Observed(Option<QueryStatistics>);

impl Observer for Observed {
    fn attention(&mut self, pass: &Pass<'_>) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), |statistics| statistics.attention(pass))
    }
}

impl Model {
    /// Runs a context into an empty cache and makes its supplements. Returns the logits after it, too.
    ///
    /// # Errors
    /// As [`Model::prefill`]; also [`super::Error::Request`] when the model was not trained for the tokens that a supplement runs
    /// behind the context.
    pub fn prefill_with(
        &self,
        context: &[u32],
        wanted: Wanted,
        cache: &mut KvCache,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<f32>, Supplements)> {
        let statistics = || QueryStatistics::new(self.config(), context.len());
        let mut observed = Observed(wanted.query_statistics.then(statistics));
        let logits = self.prefill(context, PREFILL_CHUNK, cache, &mut (&mut observed, observer))?;
        let later = Supplement::later_positions(context.len());
        let rotated = |statistics| Ok::<_, Error>((statistics, self.mean_rotation(later, cache.room())?));
        let supplements = Supplements {
            statistics: observed.0.map(rotated).transpose()?,
            repeat: wanted.repeat.then(|| self.repeat(context, cache)).transpose()?,
            lookahead: match wanted.lookahead {
                0 => None,
                tokens => Some(self.generate_behind(cache, &logits, tokens)?),
            },
        };
        Ok((logits, supplements))
    }

    /// The queries and the cache entries of the next tokens by greedy decoding. It goes on behind an end token.
    fn generate_behind(
        &self,
        context: &KvCache,
        logits: &[f32],
        tokens: usize,
    ) -> Result<(QueryTap, KvCache)> {
        let context_len = context.next_position();
        self.require_room(context_len + tokens)?;
        let entries = |first: usize, end: usize| (first as u32..end as u32).collect::<Vec<_>>();
        let (before, own) = (entries(0, context_len), entries(context_len, context_len + tokens));
        let mut cache = context.retain(|_, _| &before, tokens)?;
        let mut queries = QueryTap::new(context_len..usize::MAX, self.config().layers);
        let mut next = most_probable(logits);
        for _ in 0..tokens {
            next = most_probable(&self.prefill(&[next], 1, &mut cache, &mut queries)?);
        }
        Ok((queries, cache.retain(|_, _| &own, 0)?))
    }
}

impl Supplements {
    /// The supplements of one layer, each in C order.
    ///
    /// # Errors
    /// [`super::Error::Compute`] when they cannot be copied.
    ///
    /// # Panics
    /// When the model has no such layer.
    pub fn layer(&self, layer: LayerIndex) -> Result<Vec<(Supplement, Vec<f32>)>> {
        let mut all = Vec::new();
        if let Some((statistics, rotation)) = &self.statistics {
            let [mean, covariance] = statistics.layer(layer);
            all.push((Supplement::QueryMean, mean));
            all.push((Supplement::QueryCovariance, covariance));
            all.push((Supplement::QueryRotation, rotation.clone()));
        }
        if let Some(repeat) = &self.repeat {
            let [largest, relative] = repeat.layer(layer);
            all.push((Supplement::RepeatMax, largest));
            all.push((Supplement::RepeatRelativeMax, relative));
        }
        if let Some((queries, cache)) = &self.lookahead {
            let of_heads = |of: fn(&HeadCache) -> Result<Tensor>| -> Result<Vec<f32>> {
                let heads = cache.heads(layer).iter();
                Ok(heads
                    .map(|head| Ok(of(head)?.flatten_all()?.to_vec1()?))
                    .collect::<Result<Vec<_>>>()?
                    .concat())
            };
            all.push((Supplement::LookaheadQuery, queries.layer(layer)?.flatten_all()?.to_vec1()?));
            all.push((Supplement::LookaheadKey, of_heads(HeadCache::keys)?));
            all.push((Supplement::LookaheadValue, of_heads(HeadCache::values)?));
        }
        Ok(all)
    }
}
