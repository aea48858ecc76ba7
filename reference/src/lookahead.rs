//! Stage *look ahead*: the queries of tokens that the model itself generates join the window's as rows.
//!
//! The window's queries stand in for later ones. The model can say better ones: `g` tokens, generated greedily from the full
//! cache before anything is evicted, have queries, keys and values of their own. Their rows of attention are those of a
//! model that runs them: causal over the context and over the generated tokens up to their own. Only context slots can be evicted.
//!
//! A row is as long as `n + g` then, and so are keys and values. Relatives with trained or drafted queries: LookaheadKV
//! (arXiv 2603.10899), SpecKV.

use nalgebra::DMatrix;

use crate::attend::{Attention, attend};
use crate::error::{Error, Result, all_finite};
use crate::layer::Layer;
use crate::quantity::Supplement;

/// The rows of generated tokens that a score reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lookahead {
    /// `g`; 0 reads the window alone.
    pub tokens: usize,
    /// Whether the rows replace the window's.
    pub only: bool,
}

impl Layer {
    /// The layer with the rows of the first generated tokens after the window's, or in their place.
    ///
    /// # Errors
    /// [`Error::Supplement`] when the capture holds fewer tokens; [`Error::Range`] when f64 does not hold a logit.
    pub fn looking_ahead(&self, lookahead: Lookahead) -> Result<Self> {
        self.require(&Supplement::LOOKAHEAD)?;
        let [queries, keys, values] =
            Supplement::LOOKAHEAD.map(|which| self.generated(which, lookahead.tokens));
        let (queries, context_len) = (queries?, self.shape.context_len);
        let behind = |context: &[DMatrix<f64>], further: Vec<DMatrix<f64>>| -> Vec<DMatrix<f64>> {
            let pairs = context.iter().zip(further);
            pairs
                .map(|(context, further)| stacked(&context.rows(0, context_len).into_owned(), &further))
                .collect()
        };
        let keys = behind(&self.keys, keys?);
        let ahead = attend(&queries, &keys, context_len, self.attention_scale);
        all_finite(self.index, "an attention weight", ahead.weights.iter().flatten())?;
        let (queries, attention) = if lookahead.only {
            (queries, ahead)
        } else {
            let joined = self.queries.iter().zip(&queries);
            (joined.map(|(window, ahead)| stacked(window, ahead)).collect(), self.joined(&ahead))
        };
        Ok(Self {
            queries,
            values: behind(&self.values, values?),
            keys,
            attention,
            future_attention: None,
            ..self.clone()
        })
    }

    /// `[g, d]` per head.
    fn generated(&self, which: Supplement, tokens: usize) -> Result<Vec<DMatrix<f64>>> {
        let (numbers, dim) = (self.supplement(which), self.shape.head_dim);
        let heads = which.extents(&self.shape, 1)[0];
        let held = numbers.len() / heads / dim;
        if tokens > held {
            let (expected, found) = (format!("at least {tokens} tokens"), held.to_string());
            return Err(Error::Supplement { supplement: which, expected, found });
        }
        let of_head = |head: &[f64]| DMatrix::from_row_slice(tokens, dim, &head[..tokens * dim]);
        Ok(numbers.chunks(held * dim).map(of_head).collect())
    }

    /// The window's rows, which see no generated token, and further ones below.
    fn joined(&self, ahead: &Attention) -> Attention {
        let join = |window: &[DMatrix<f64>], ahead: &[DMatrix<f64>], unseen: f64| {
            let pair = |(window, ahead): (&DMatrix<f64>, &DMatrix<f64>)| {
                stacked(&window.clone().resize_horizontally(ahead.ncols(), unseen), ahead)
            };
            window.iter().zip(ahead).map(pair).collect()
        };
        Attention {
            logits: join(&self.attention.logits, &ahead.logits, f64::NEG_INFINITY),
            weights: join(&self.attention.weights, &ahead.weights, 0.0),
        }
    }
}

/// One matrix above another.
fn stacked(above: &DMatrix<f64>, below: &DMatrix<f64>) -> DMatrix<f64> {
    let mut both = above.clone().resize_vertically(above.nrows() + below.nrows(), 0.0);
    both.rows_mut(above.nrows(), below.nrows()).copy_from(below);
    both
}
