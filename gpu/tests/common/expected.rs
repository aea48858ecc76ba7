//! The results of a layer's stages, stated from the reference's attention and projections. Each number has a bound.

use laprox_gpu::Format;
use laprox_reference::layer::Layer;
use laprox_reference::project::projected_value_norms;
use laprox_reference::{KvHead, QueryHead};

use super::bounds::{Bounded, U, drift, factor_rounding, value_norm, weights};
use super::problem::Problem;

/// A layer in f64, with bounds for a device's results.
pub struct Expected {
    pub layer: Layer,
    pub format: Format,
    /// `A_h[t, i]`, `[H][w][n]`.
    pub weights: Vec<Vec<Vec<Bounded>>>,
    /// `norm2(b_{h,i})`, `[H][n - w]`.
    pub norms: Vec<Vec<Bounded>>,
}

impl Expected {
    /// `format` is how the device holds the activations.
    #[must_use]
    pub fn new(problem: &Problem, format: Format) -> Self {
        let layer = Layer::new(&problem.layer_problem()).unwrap();
        let shape = layer.shape;
        let per_head = |numbers: &[f32], len: usize| -> Vec<Vec<f64>> {
            numbers.chunks_exact(len).map(|head| head.iter().copied().map(f64::from).collect()).collect()
        };
        let queries = per_head(&problem.query, shape.window_len * shape.head_dim);
        let keys = per_head(&problem.key, shape.cached_len() * shape.head_dim);
        let weights = weights(&layer, problem.scale, &queries, &keys);
        let norms = shape.query_heads().map(|head| norms(&layer, format, head)).collect();
        Self { layer, format, weights, norms }
    }

    /// The column of one candidate, `[w]`.
    #[must_use]
    pub fn column(&self, head: QueryHead, i: usize) -> Vec<Bounded> {
        self.weights[head.0].iter().map(|row| row[i]).collect()
    }

    /// One number per query head and candidate.
    #[must_use]
    pub fn per_column(&self, statistic: impl Fn(&[Bounded]) -> Bounded) -> Vec<Bounded> {
        let candidates = self.layer.shape.candidate_len();
        let heads = self.layer.shape.query_heads();
        let columns = heads.flat_map(|head| (0..candidates).map(move |i| (head, i)));
        columns.map(|(head, i)| statistic(&self.column(head, i))).collect()
    }

    /// One score per KV head and candidate, `[Hkv][n - w]`.
    fn per_slot(&self, score: impl Fn(&[QueryHead], usize) -> Bounded) -> Vec<Vec<Bounded>> {
        let shape = self.layer.shape;
        let head = |kv_head: KvHead| {
            let group: Vec<QueryHead> = shape.query_group(kv_head).collect();
            (0..shape.candidate_len()).map(|i| score(&group, i)).collect()
        };
        shape.kv_heads().map(head).collect()
    }

    /// `mean over the group of norm2(a) * norm2(b)`
    #[must_use]
    pub fn laprox_mean(&self) -> Vec<Vec<Bounded>> {
        self.per_slot(|group, i| {
            let pair = |&head: &QueryHead| Bounded::norm(&self.column(head, i)).times(self.norms[head.0][i]);
            Bounded::mean(&group.iter().map(pair).collect::<Vec<_>>())
        })
    }

    /// `norm2(mean over the group of a) * mean over the group of norm2(b)`
    #[must_use]
    pub fn laprox_attention(&self) -> Vec<Vec<Bounded>> {
        self.per_slot(|group, i| {
            let row = |t: usize| {
                Bounded::mean(&group.iter().map(|&head| self.weights[head.0][t][i]).collect::<Vec<_>>())
            };
            let mean: Vec<Bounded> = (0..self.layer.shape.window_len).map(row).collect();
            let norms: Vec<Bounded> = group.iter().map(|&head| self.norms[head.0][i]).collect();
            Bounded::norm(&mean).times(Bounded::mean(&norms))
        })
    }

    /// `norm_F(sum over the group of a b^T)`. Its error is at most the sum of the pairs' errors.
    #[must_use]
    pub fn laprox_exact(&self, scores: &[Vec<f64>]) -> Vec<Vec<Bounded>> {
        let shape = self.layer.shape;
        // The group's factor is f32, its products go through d, the group and w * rank roundings.
        let roundings = shape.head_dim + shape.group_size() + shape.window_len * shape.hidden_dim + 8;
        let theta = factor_rounding(Format::F32) + drift(roundings, U);
        self.per_slot(|group, i| {
            let pair = |&head: &QueryHead| {
                let attention = Bounded::norm(&self.column(head, i));
                let reach = value_reach(&self.layer, head, i);
                attention.error * reach + theta * attention.value * reach
            };
            let score = scores[shape.kv_head_of(group[0]).0][i];
            Bounded { value: score, error: group.iter().map(pair).sum() }.rounded(4, U)
        })
    }

    /// `mean over the group of sum_t a[t] / w`
    #[must_use]
    pub fn snapkv_mean(&self) -> Vec<Vec<Bounded>> {
        self.per_slot(|group, i| {
            Bounded::mean(&group.iter().map(|&head| Bounded::mean(&self.column(head, i))).collect::<Vec<_>>())
        })
    }

    /// `max over the group of sum_t a[t] / w`
    #[must_use]
    pub fn snapkv_max(&self) -> Vec<Vec<Bounded>> {
        self.per_slot(|group, i| {
            Bounded::largest(
                &group.iter().map(|&head| Bounded::mean(&self.column(head, i))).collect::<Vec<_>>(),
            )
        })
    }
}

/// `norm2(v_i) norm_F(W_h)`, a bound on `norm2(v_i W_h)`.
fn value_reach(layer: &Layer, head: QueryHead, i: usize) -> f64 {
    layer.values_of(head).row(i).norm() * layer.output_projection[head.0].norm()
}

fn norms(layer: &Layer, format: Format, head: QueryHead) -> Vec<Bounded> {
    let projection = layer.output_projection[head.0].norm();
    let bound = |(i, &norm): (usize, &f64)| {
        value_norm(format, layer.shape.head_dim, norm, layer.values_of(head).row(i).norm(), projection)
    };
    projected_value_norms(layer, head).iter().enumerate().map(bound).collect()
}
