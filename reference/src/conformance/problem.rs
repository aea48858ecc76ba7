//! Alive problems: sinks, an outlier channel, peaked and flat rows, hostile shapes.

use std::fmt;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::compare::gamma;
use crate::{
    Activations, Elements, LayerIndex, LayerProblem, LayerShape, RetainedSet, Supplement, TensorView,
};

/// The free sizes; `H = Hkv * G` and `n = w + candidates`.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// `Hkv`
    pub kv_heads: usize,
    /// `G`
    pub group_size: usize,
    /// `d`
    pub head_dim: usize,
    /// `D`
    pub hidden_dim: usize,
    /// `n - w`
    pub candidate_len: usize,
    /// `w`
    pub window_len: usize,
    /// `t`
    pub future_len: usize,
}

/// `g`, the generated tokens of every problem.
pub const LOOKAHEAD_LEN: usize = 2;

/// Sizes with nothing special about them, for counts of how often a claim's conditions are met.
pub const TYPICAL: Sizes = Sizes {
    kv_heads: 3,
    group_size: 4,
    head_dim: 5,
    hidden_dim: 7,
    candidate_len: 12,
    window_len: 3,
    future_len: 0,
};

impl Sizes {
    /// `H`
    #[must_use]
    pub fn query_heads(&self) -> usize {
        self.kv_heads * self.group_size
    }

    /// `n`
    #[must_use]
    pub fn context_len(&self) -> usize {
        self.candidate_len + self.window_len
    }

    /// `n + t`
    #[must_use]
    pub fn cached_len(&self) -> usize {
        self.context_len() + self.future_len
    }

    /// The sizes in the crate's form.
    #[must_use]
    pub fn shape(&self) -> LayerShape {
        LayerShape {
            query_heads: self.query_heads(),
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            hidden_dim: self.hidden_dim,
            context_len: self.context_len(),
            window_len: self.window_len,
            future_len: self.future_len,
        }
    }
}

/// One layer's tensors in C order, as [`Activations`] describes them.
#[derive(Clone)]
pub struct Problem {
    /// The sizes.
    pub sizes: Sizes,
    /// The seed of an alive problem.
    pub seed: Option<u64>,
    /// The attention scale.
    pub scale: f64,
    /// `[H, w, d]`
    pub query: Vec<f64>,
    /// `[H, t, d]`
    pub future_query: Vec<f64>,
    /// `[Hkv, n + t, d]`
    pub key: Vec<f64>,
    /// `[Hkv, n + t, d]`
    pub value: Vec<f64>,
    /// `[D, H * d]`
    pub projection: Vec<f64>,
    /// Every tensor that a capture may leave out.
    pub supplements: Vec<(Supplement, Vec<f64>)>,
}

/// A failing case prints its sizes and its seed.
impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, seed {:?}, scale {}", self.sizes, self.seed, self.scale)
    }
}

/// Sizes with as many candidates as `candidates` allows; none is `w = n`.
pub fn sizes(candidates: impl Strategy<Value = usize>) -> impl Strategy<Value = Sizes> {
    let group = prop::sample::select(vec![1_usize, 3, 4, 8]);
    (1..=3_usize, group, 1..=8_usize, 1..=12_usize, candidates, 1..=5_usize, 0..=3_usize).prop_map(
        |(kv_heads, group_size, head_dim, hidden_dim, candidate_len, window_len, future_len)| Sizes {
            kv_heads,
            group_size,
            head_dim,
            hidden_dim,
            candidate_len,
            window_len,
            future_len,
        },
    )
}

/// Any alive problem, `w = n` included.
pub fn problems() -> impl Strategy<Value = Problem> {
    (sizes(0..=19_usize), any::<u64>()).prop_map(|(sizes, seed)| Problem::alive(sizes, seed))
}

/// The same with nearly every row one-hot.
pub fn sharp_problems() -> impl Strategy<Value = Problem> {
    problems().prop_map(|problem| problem.sharpened(30.0))
}

/// Alive problems with something to evict.
pub fn problems_with_candidates() -> impl Strategy<Value = Problem> {
    (sizes(1..=19_usize), any::<u64>()).prop_map(|(sizes, seed)| Problem::alive(sizes, seed))
}

/// An alive problem and, per KV head, which of its cached positions stay; some candidate always goes.
pub fn evictions() -> impl Strategy<Value = (Problem, Vec<Vec<bool>>)> {
    (problems_with_candidates(), any::<u64>()).prop_map(|(problem, seed)| {
        let keeps = problem.some_kept(seed);
        (problem, keeps)
    })
}

impl Problem {
    /// Every value zero: for tests that write their own numbers.
    #[must_use]
    pub fn zero(sizes: Sizes) -> Self {
        let (cached, width) = (sizes.kv_heads * sizes.cached_len(), sizes.query_heads() * sizes.head_dim);
        Self {
            sizes,
            seed: None,
            scale: 1.0,
            query: vec![0.0; width * sizes.window_len],
            future_query: vec![0.0; width * sizes.future_len],
            key: vec![0.0; cached * sizes.head_dim],
            value: vec![0.0; cached * sizes.head_dim],
            projection: vec![0.0; sizes.hidden_dim * width],
            supplements: Supplement::ALL.map(|which| (which, zeros(which, &sizes))).into(),
        }
    }

    /// Position 0 is a sink, the last value channel an outlier, each query row sinks, peaks, is flat or ordinary.
    #[must_use]
    pub fn alive(sizes: Sizes, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut problem = Self::zero(sizes);
        problem.seed = Some(seed);
        problem.scale = 1.0 / (sizes.head_dim as f64).sqrt();
        for numbers in [&mut problem.key, &mut problem.value, &mut problem.projection] {
            numbers.iter_mut().for_each(|number| *number = rng.random_range(-1.0..1.0));
        }
        for head in 0..sizes.kv_heads {
            problem.key[head * sizes.cached_len() * sizes.head_dim] = 6.0;
        }
        if sizes.head_dim > 1 {
            problem
                .value
                .chunks_exact_mut(sizes.head_dim)
                .for_each(|value| value[sizes.head_dim - 1] *= 40.0);
        }
        problem.query = problem.rows(sizes.candidate_len, sizes.window_len, &mut rng);
        problem.future_query = problem.rows(sizes.context_len(), sizes.future_len, &mut rng);
        let supplements = Supplement::ALL.map(|which| (which, problem.supplement(which, &mut rng)));
        Self { supplements: supplements.into(), ..problem }
    }

    /// Maxima between 0 and 1, queries of generated tokens like the window's, and other numbers around 0.
    fn supplement(&self, which: Supplement, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let least = match which {
            Supplement::LookaheadQuery => {
                let last = self.sizes.context_len() - 1;
                let heads = 0..self.sizes.query_heads();
                return heads
                    .flat_map(|h| [(); LOOKAHEAD_LEN].map(|()| self.row(h, last, rng)))
                    .flatten()
                    .collect();
            }
            Supplement::RepeatMax | Supplement::RepeatRelativeMax => 0.0,
            _ => -1.0,
        };
        zeros(which, &self.sizes).into_iter().map(|_| rng.random_range(least..1.0)).collect()
    }

    /// The numbers of a supplement in C order.
    ///
    /// # Panics
    /// When it was taken away.
    #[must_use]
    pub fn supplied(&self, which: Supplement) -> &[f64] {
        &self.supplements.iter().find(|(given, _)| *given == which).expect("a supplement").1
    }

    /// `[H, rows, d]` queries at positions from `first`.
    fn rows(&self, first: usize, rows: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let mut queries = Vec::new();
        for head in 0..self.sizes.query_heads() {
            for row in 0..rows {
                queries.extend(self.row(head, first + row, rng));
            }
        }
        queries
    }

    fn row(&self, head: usize, position: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let d = self.sizes.head_dim;
        match rng.random_range(0..4) {
            0 => vec![0.0; d],
            1 => {
                // Along one visible key, with a logit of 60 for it: the softmax is nearly one-hot.
                let peak = self.key_at(head / self.sizes.group_size, rng.random_range(0..=position));
                let square: f64 = peak.iter().map(|x| x * x).sum();
                peak.iter().map(|x| x * 60.0 / (square * self.scale)).collect()
            }
            kind => {
                let mut query: Vec<f64> = (0..d).map(|_| rng.random_range(-3.0..3.0)).collect();
                if kind == 2 {
                    query[0] = 1.2 / self.scale;
                }
                query
            }
        }
    }

    /// The same problem with every number rounded to half precision, one beyond the largest half to that.
    #[must_use]
    pub fn in_halves(mut self) -> Self {
        let Self { query, future_query, key, value, projection, .. } = &mut self;
        for number in [query, future_query, key, value, projection].into_iter().flatten() {
            let most = half::f16::MAX.to_f64();
            *number = half::f16::from_f64(number.clamp(-most, most)).to_f64();
        }
        self
    }

    /// The same problem with every logit `factor` times as large.
    #[must_use]
    pub fn sharpened(mut self, factor: f64) -> Self {
        self.scale *= factor;
        self
    }

    /// `k_i` of one KV head.
    #[must_use]
    pub fn key_at(&self, kv_head: usize, position: usize) -> &[f64] {
        let first = (kv_head * self.sizes.cached_len() + position) * self.sizes.head_dim;
        &self.key[first..first + self.sizes.head_dim]
    }

    /// `v_i` of one KV head.
    #[must_use]
    pub fn value_at(&self, kv_head: usize, position: usize) -> &[f64] {
        let first = (kv_head * self.sizes.cached_len() + position) * self.sizes.head_dim;
        &self.value[first..first + self.sizes.head_dim]
    }

    /// Window row `row` for `row < w`, and then the future ones.
    #[must_use]
    pub fn query_at(&self, head: usize, row: usize) -> &[f64] {
        let Sizes { window_len, future_len, head_dim, .. } = self.sizes;
        let (queries, rows, row) = if row < window_len {
            (&self.query, window_len, row)
        } else {
            (&self.future_query, future_len, row - window_len)
        };
        &queries[(head * rows + row) * head_dim..][..head_dim]
    }

    /// `W_h[k, c] = o_proj.weight[c, h * d + k]`.
    #[must_use]
    pub fn projection_at(&self, head: usize, k: usize, c: usize) -> f64 {
        let Sizes { head_dim, .. } = self.sizes;
        self.projection[c * self.sizes.query_heads() * head_dim + head * head_dim + k]
    }

    /// The relative rounding of both sides of a comparison, on top of which come only the magnitudes.
    ///
    /// A logit of `d` products and a scale is off by `gamma_{d+1}` of `m = scale * sum |q| |k|`, the difference to
    /// the largest by twice that and one rounding of `2 m`, its exponential relatively by as much and two roundings;
    /// a softmax meets that in its numerator and its sum, and adds `n + t` roundings. What follows is at most one
    /// sum each over `d`, the keys and the heads, a few products, and a norm over `w * D` (or `t * D`) squares.
    #[must_use]
    pub fn rounding(&self) -> f64 {
        let Sizes { head_dim, window_len, future_len, hidden_dim, .. } = self.sizes;
        let keys = (self.sizes.cached_len() + LOOKAHEAD_LEN) as f64;
        let logit_roundings = self.largest_logit() * (2.0 * (head_dim as f64 + 1.0) + 2.0) + 2.0;
        let weight = 2.0 * logit_roundings + keys + 1.0;
        let rows = (window_len + LOOKAHEAD_LEN).max(future_len);
        let entries = (rows * hidden_dim + head_dim + self.sizes.query_heads()) as f64;
        gamma(2.0 * (2.0 * weight + keys + entries + 16.0))
    }

    /// The largest `scale * sum |q| |k|`.
    fn largest_logit(&self) -> f64 {
        let largest = |numbers: &[f64], channel: usize| {
            let channel = numbers.iter().skip(channel).step_by(self.sizes.head_dim);
            channel.fold(0.0_f64, |most, x| most.max(x.abs()))
        };
        let supplied = |which| self.supplements.iter().filter(move |(given, _)| *given == which);
        let most = |numbers: &[f64], which, channel| {
            let supplied = supplied(which).map(|(_, supplied)| largest(supplied, channel));
            supplied.fold(largest(numbers, channel), f64::max)
        };
        let query = |channel| {
            most(&self.query, Supplement::LookaheadQuery, channel).max(largest(&self.future_query, channel))
        };
        let key = |channel| most(&self.key, Supplement::LookaheadKey, channel);
        (0..self.sizes.head_dim).map(|channel| query(channel) * key(channel)).sum::<f64>() * self.scale
    }

    /// All positions kept, `[Hkv][n + t]`.
    #[must_use]
    pub fn all_kept(&self) -> Vec<Vec<bool>> {
        vec![vec![true; self.sizes.cached_len()]; self.sizes.kv_heads]
    }

    /// All positions kept but one slot.
    #[must_use]
    pub fn all_but(&self, kv_head: usize, position: usize) -> Vec<Vec<bool>> {
        let mut keeps = self.all_kept();
        keeps[kv_head][position] = false;
        keeps
    }

    /// No candidate kept.
    #[must_use]
    pub fn all_evicted(&self) -> Vec<Vec<bool>> {
        let Sizes { candidate_len, .. } = self.sizes;
        let head = (0..self.sizes.cached_len()).map(|position| position >= candidate_len);
        vec![head.collect(); self.sizes.kv_heads]
    }

    /// About half of the candidates kept, at least one evicted if there is one.
    #[must_use]
    pub fn some_kept(&self, seed: u64) -> Vec<Vec<bool>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let Sizes { kv_heads, candidate_len, .. } = self.sizes;
        let mut keeps = match candidate_len {
            0 => self.all_kept(),
            _ => self.all_but(rng.random_range(0..kv_heads), rng.random_range(0..candidate_len)),
        };
        for keep in keeps.iter_mut().flat_map(|head| &mut head[..candidate_len]) {
            *keep &= rng.random_bool(0.5);
        }
        keeps
    }

    /// The crate's form of a choice of kept positions.
    #[must_use]
    pub fn retained(&self, keeps: &[Vec<bool>]) -> RetainedSet {
        let Sizes { kv_heads, candidate_len, window_len, .. } = self.sizes;
        let kept = |head: &Vec<bool>| (0..candidate_len as u32).filter(|&i| head[i as usize]).collect();
        let heads: Vec<Vec<u32>> = keeps.iter().map(kept).collect();
        RetainedSet::from_candidates(kv_heads, candidate_len + window_len, window_len, &heads).unwrap()
    }

    /// The tensors.
    #[must_use]
    pub fn activations(&self) -> Activations<'_> {
        let Sizes { kv_heads, head_dim, hidden_dim, window_len, future_len, .. } = self.sizes;
        let heads = self.sizes.query_heads();
        let cached = [kv_heads, self.sizes.cached_len(), head_dim];
        let future = || TensorView::new([heads, future_len, head_dim], Elements::F64(&self.future_query));
        Activations {
            query: TensorView::new([heads, window_len, head_dim], Elements::F64(&self.query)).unwrap(),
            key: TensorView::new(cached, Elements::F64(&self.key)).unwrap(),
            value: TensorView::new(cached, Elements::F64(&self.value)).unwrap(),
            output_projection: TensorView::new(
                [hidden_dim, heads * head_dim],
                Elements::F64(&self.projection),
            )
            .unwrap(),
            future_query: (future_len > 0).then(|| future().unwrap()),
        }
    }

    /// The problem of a layer.
    #[must_use]
    pub fn layer_problem(&self, layer: LayerIndex) -> LayerProblem<'_> {
        self.supply(LayerProblem::new(layer, self.scale, self.activations()).unwrap())
    }

    /// A layer's problem with this one's supplements.
    #[must_use]
    pub fn supply<'a>(&'a self, problem: LayerProblem<'a>) -> LayerProblem<'a> {
        self.supplements
            .iter()
            .fold(problem, |problem, (which, numbers)| problem.with(*which, Elements::F64(numbers)).unwrap())
    }
}

fn zeros(which: Supplement, sizes: &Sizes) -> Vec<f64> {
    vec![0.0; which.extents(&sizes.shape(), LOOKAHEAD_LEN).iter().product()]
}

/// Alive problems with sizes at, one below and one above a tile's.
pub fn around_tiles(tiles: &[usize]) -> impl Strategy<Value = Problem> + use<> {
    let near = |most: usize| -> Vec<usize> {
        let mut sizes: Vec<usize> =
            tiles.iter().flat_map(|&tile| tile.saturating_sub(1)..=tile + 1).collect();
        sizes.push(1);
        sizes.retain(|&size| (1..=most).contains(&size));
        sizes
    };
    let sizes = (
        1..=2_usize,
        prop::sample::select(vec![1_usize, 3, 4, 8]),
        prop::sample::select(near(70)),
        prop::sample::select(near(70)),
        prop::sample::select([near(1000), vec![0]].concat()),
        prop::sample::select(near(50)),
        prop::sample::select([near(20), vec![0]].concat()),
    );
    (sizes, any::<u64>()).prop_map(|(sizes, seed)| {
        let (kv_heads, group_size, head_dim, hidden_dim, candidate_len, window_len, future_len) = sizes;
        let sizes =
            Sizes { kv_heads, group_size, head_dim, hidden_dim, candidate_len, window_len, future_len };
        Problem::alive(sizes, seed)
    })
}
