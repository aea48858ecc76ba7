//! The tensors of a layer that a capture may leave out.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::quantity::Supplement;
use crate::shape::LayerShape;
use crate::tensor::Elements;

impl Supplement {
    /// Every one, in the order of a dump's files.
    pub const ALL: [Self; 8] = [
        Self::QueryMean,
        Self::QueryCovariance,
        Self::QueryRotation,
        Self::RepeatMax,
        Self::RepeatRelativeMax,
        Self::LookaheadQuery,
        Self::LookaheadKey,
        Self::LookaheadValue,
    ];

    /// The tensors of the tokens that a model generates after the context.
    pub const LOOKAHEAD: [Self; 3] = [Self::LookaheadQuery, Self::LookaheadKey, Self::LookaheadValue];

    /// The first position whose query counts in mean and covariance of `n` queries: the first positions' are outliers.
    #[must_use]
    pub fn first_query(context_len: usize) -> usize {
        if context_len > 4 { 4 } else { 0 }
    }

    /// The later positions over which rotations are averaged.
    #[must_use]
    pub fn later_positions(context_len: usize) -> Range<usize> {
        context_len..context_len + 512
    }

    /// The extents in a layer of these sizes; `lookahead_len` is `g`, which the sizes do not hold.
    #[must_use]
    pub fn extents(self, shape: &LayerShape, lookahead_len: usize) -> Vec<usize> {
        let LayerShape { query_heads, kv_heads, head_dim, context_len, .. } = *shape;
        match self {
            Self::QueryMean => vec![query_heads, head_dim],
            Self::QueryCovariance => vec![query_heads, head_dim, head_dim],
            Self::QueryRotation => vec![head_dim, head_dim],
            Self::RepeatMax => vec![kv_heads, context_len],
            Self::RepeatRelativeMax => vec![query_heads, context_len],
            Self::LookaheadQuery => vec![query_heads, lookahead_len, head_dim],
            Self::LookaheadKey | Self::LookaheadValue => vec![kv_heads, lookahead_len, head_dim],
        }
    }

    /// The extents in a layer of these sizes if it has `count` numbers; `None` if none has.
    #[must_use]
    pub fn extents_of(self, shape: &LayerShape, count: usize) -> Option<Vec<usize>> {
        let lookahead_len = if self.looks_ahead() { count / self.count(shape, 1) } else { 1 };
        let fits = lookahead_len > 0 && self.count(shape, lookahead_len) == count;
        fits.then(|| self.extents(shape, lookahead_len))
    }

    fn count(self, shape: &LayerShape, lookahead_len: usize) -> usize {
        self.extents(shape, lookahead_len).iter().product()
    }

    /// The commands that write it, for refusals.
    #[must_use]
    pub fn written_by(self) -> &'static str {
        match self {
            Self::QueryMean | Self::QueryCovariance | Self::QueryRotation => {
                "`laprox capture` and capture_hf.py write it"
            }
            Self::RepeatMax | Self::RepeatRelativeMax => "`laprox capture --repeat` writes it",
            Self::LookaheadQuery | Self::LookaheadKey | Self::LookaheadValue => {
                "`laprox capture --lookahead G` writes it"
            }
        }
    }

    /// Whether the tensor has an axis of `g` tokens.
    fn looks_ahead(self) -> bool {
        Self::LOOKAHEAD.contains(&self)
    }

    fn refused(self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::Supplement { supplement: self, expected: expected.into(), found: found.into() }
    }

    /// The refusal of a layer without it.
    pub(crate) fn missing(self) -> Error {
        self.refused(format!("this tensor of the layer ({})", self.written_by()), "none")
    }
}

/// The supplements of one layer, each with as many numbers as its extents.
#[derive(Clone, Copy, Debug, Default)]
pub struct Supplements<'a> {
    given: [Option<Elements<'a>>; Supplement::ALL.len()],
}

impl<'a> Supplements<'a> {
    /// The numbers of a supplement in C order, if it is there.
    #[must_use]
    pub fn get(&self, supplement: Supplement) -> Option<Elements<'a>> {
        self.given[supplement as usize]
    }

    /// Those that are there.
    pub fn iter(&self) -> impl Iterator<Item = (Supplement, Elements<'a>)> {
        let given = *self;
        Supplement::ALL.into_iter().filter_map(move |which| Some((which, given.get(which)?)))
    }

    /// The same with one more.
    ///
    /// # Errors
    /// [`Error::Supplement`] when its numbers are not finite, not as many as its extents, or of another `g` than those that are
    /// there.
    pub(crate) fn with(
        mut self,
        shape: &LayerShape,
        supplement: Supplement,
        elements: Elements<'a>,
    ) -> Result<Self> {
        if let Some(index) = elements.first_non_finite() {
            let found = format!("element {index} to be NaN or infinite");
            return Err(supplement.refused("finite elements", found));
        }
        let given = self.lookahead_len(shape).filter(|_| supplement.looks_ahead());
        let fits = supplement.extents_of(shape, elements.len()).is_some();
        if !fits || given.is_some_and(|given| supplement.count(shape, given) != elements.len()) {
            let expected = format!("shape {:?}", supplement.extents(shape, given.unwrap_or(1)));
            return Err(supplement.refused(expected, format!("{} elements", elements.len())));
        }
        self.given[supplement as usize] = Some(elements);
        Ok(self)
    }

    /// `g`, if there is anything of generated tokens.
    fn lookahead_len(&self, shape: &LayerShape) -> Option<usize> {
        let len = |which: Supplement| Some(self.get(which)?.len() / which.count(shape, 1));
        Supplement::LOOKAHEAD.into_iter().find_map(len)
    }
}
