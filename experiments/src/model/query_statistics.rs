//! Mean and covariance of a context's queries before rotation.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use laprox_reference::{LayerIndex, Supplement};
use rayon::prelude::*;

use super::config::Config;
use super::error::Result;
use super::observe::{Observer, Pass};

/// `sum_t q_t` and `sum_t q_t q_t^T` of every query head in every layer, in f64, over some positions.
#[derive(Clone)]
pub struct QueryStatistics {
    positions: Range<usize>,
    head_dim: usize,
    /// Per layer and query head, `[d]` and `[d, d]`.
    layers: Vec<Vec<Sums>>,
}

#[derive(Clone)]
struct Sums {
    queries: Vec<f64>,
    products: Vec<f64>,
}

impl QueryStatistics {
    /// No query yet of a context of `n` tokens. The first positions do not count.
    #[must_use]
    pub fn new(config: &Config, context_len: usize) -> Self {
        let &Config { layers, query_heads, head_dim, .. } = config;
        let zero = || Sums { queries: vec![0.0; head_dim], products: vec![0.0; head_dim * head_dim] };
        let layer = |_| (0..query_heads).map(|_| zero()).collect();
        Self {
            positions: Supplement::first_query(context_len)..context_len,
            head_dim,
            layers: (0..layers).map(layer).collect(),
        }
    }

    /// Mean `[H, d]` and covariance `[H, d, d]` of a layer, divided by the number of positions.
    ///
    /// # Panics
    /// When the model has no such layer.
    #[must_use]
    pub fn layer(&self, layer: LayerIndex) -> [Vec<f32>; 2] {
        let (count, dim) = (self.positions.len() as f64, self.head_dim);
        let heads = &self.layers[layer.0];
        let mean = heads.iter().flat_map(|head| head.queries.iter().map(|sum| (sum / count) as f32));
        let covariance = heads.iter().flat_map(|Sums { queries, products }| {
            let entry = move |(place, product): (usize, &f64)| {
                let [one, two] = [place / dim, place % dim].map(|channel| queries[channel] / count);
                (product / count - one * two) as f32
            };
            products.iter().enumerate().map(entry)
        });
        [mean.collect(), covariance.collect()]
    }
}

impl Observer for QueryStatistics {
    fn attention(&mut self, pass: &Pass<'_>) -> Result<()> {
        let (rows, width) = pass.unrotated.dims2()?;
        let first = self.positions.start.max(pass.first_position);
        let end = self.positions.end.min(pass.first_position + rows);
        if first >= end {
            return Ok(());
        }
        let (dim, count) = (self.head_dim, end - first);
        let rows = pass.unrotated.narrow(0, first - pass.first_position, count)?;
        let rows: Vec<f32> = rows.flatten_all()?.to_vec1()?;
        self.layers[pass.layer.0].par_iter_mut().enumerate().for_each(
            |(head, Sums { queries, products })| {
                let own = rows.chunks_exact(width).flat_map(|row| &row[head * dim..(head + 1) * dim]);
                let own: Vec<f64> = own.map(|&number| f64::from(number)).collect();
                for query in own.chunks_exact(dim) {
                    queries.iter_mut().zip(query).for_each(|(sum, number)| *sum += number);
                }
                let own = MatRef::from_row_major_slice(&own, count, dim);
                let products = MatMut::from_row_major_slice_mut(products, dim, dim);
                matmul(products, Accum::Add, own.transpose(), own, 1.0, Par::Seq);
            },
        );
        Ok(())
    }
}
