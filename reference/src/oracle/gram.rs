//! `M`, the Gram matrix of a layer's column-row pairs, as an operator that is never formed.
//!
//! With `x` the indicator of the evicted candidates, the `drop` error of a layer is a quadratic form (B2):
//!
//! ```text
//! E(x)  = sum_h (A_h diag x) B_h                 [w, D]
//! f(x)  = norm_F(E(x))^2 = x^T M x,              M_ij = <E(e_i), E(e_j)>
//! (M x)_i = <E(x), E(e_i)> = sum over the group of a_{h,i}^T (E(x) W_h^T) v_i
//! ```
//!
//! One product `M x` costs two attention-sized products, `4 H w n d` multiply-adds. The head-wise form drops the terms
//! between different query heads: `E` is then one matrix per head, and norms and inner products add over heads.

use std::borrow::Cow;
use std::ops::Range;

use nalgebra::{DMatrix, DMatrixView};

use crate::attend::Attention;
use crate::error::{Error, all_finite, finite};
use crate::layer::Layer;
use crate::output_error::Form;
use crate::rounding::gamma;
use crate::shape::{KvHead, LayerIndex, QueryHead};

use super::convexify;
use super::stop::Stop;

/// The query rows whose attention weighs the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// The window's queries.
    Window,
    /// The later queries.
    Future,
}

impl Rows {
    /// The attention of these rows.
    ///
    /// # Errors
    /// [`Error::Shape`] when the layer holds no such rows.
    pub fn attention(self, layer: &Layer) -> Result<&Attention, Error> {
        let missing = || Error::Shape {
            what: "later queries",
            expected: "at least one, from a dump captured with a future".into(),
            found: "none".into(),
        };
        match self {
            Self::Window => Ok(&layer.attention),
            Self::Future => layer.future_attention.as_ref().ok_or_else(missing),
        }
    }
}

/// `M x`, with bounds on its rounding for proofs.
#[derive(Clone, Debug)]
pub struct Product {
    /// Half the gradient of the form at `x`, as computed: `(M x)_i = <E, E(e_i)>` for the plain one.
    pub values: Vec<f64>,
    /// A bound on the error of each value, given the matrix `E` in memory that approximates `E(x)`.
    pub errors: Vec<f64>,
    /// The form's value at `x`, as computed.
    pub value: f64,
    /// An upper bound on the constant that the form's tangent at `E` subtracts: `norm_F(E)^2` for the plain one.
    pub squared_norm: f64,
    /// An upper bound on `norm_F(E - E(x))`.
    pub drift: f64,
    /// How far the root of the tangent's value may lie above the norm of a set's error; 0 for the plain form, whose
    /// bound holds for any `E`.
    pub root_loss: f64,
}

impl Product {
    /// The same product, if f64 holds its values.
    ///
    /// # Errors
    /// [`Error::Range`]
    pub fn finite(self, layer: LayerIndex) -> Result<Self, Error> {
        finite(layer, "the squared drop error", self.value)?;
        all_finite(layer, "the gradient of the squared drop error", &self.values)?;
        Ok(self)
    }
}

/// The quadratic form of evicting candidates. They are indexed in the order (layer, KV head, position).
pub trait PairGram: Send + Sync {
    /// How many candidates there are.
    fn candidates(&self) -> usize;

    /// `M x`.
    ///
    /// # Errors
    /// [`Error::Path`] when a device that computes it fails; [`Error::Range`] when f64 does not hold it; [`Error::Stopped`]
    /// when the search has to end.
    fn product(&self, x: &[f64]) -> Result<Product, Error>;

    /// `M_ii` for every candidate.
    fn diagonal(&self) -> &[f64];

    /// The rows and columns of `M` that belong to `candidates` (ascending), as blocks along its diagonal.
    fn blocks(&self, candidates: &[usize]) -> Vec<DMatrix<f64>>;

    /// A bound on the error of the entries of [`PairGram::blocks`]: `|M_ij - exact| <= r_i r_j` for the returned `r`,
    /// one per candidate.
    fn magnitudes(&self) -> Vec<f64>;

    /// Some `lambda >= 0` for which `M - Diag(lambda)` is proven positive semidefinite, one per candidate; zeros if
    /// none is known. See [`convexify`].
    fn convexity(&self) -> Vec<f64> {
        vec![0.0; self.candidates()]
    }
}

/// One layer's `M`, in f64.
#[derive(Clone, Debug)]
pub struct LayerGram<'a> {
    layer: Cow<'a, Layer>,
    form: Form,
    rows: Rows,
    stop: Stop,
    diagonal: Vec<f64>,
    /// `norm2(a_{h,i})` of the candidates, per query head.
    attention_norms: Vec<Vec<f64>>,
    /// `norm2(v_i)` of the candidates, per KV head.
    value_norms: Vec<Vec<f64>>,
}

impl<'a> LayerGram<'a> {
    /// The quadratic form of one layer's `drop` error.
    ///
    /// # Errors
    /// [`Error::Shape`] when the layer holds no such rows.
    pub fn of(layer: &'a Layer, form: Form, rows: Rows) -> Result<Self, Error> {
        Self::new(Cow::Borrowed(layer), form, rows, Stop::NEVER)
    }

    fn new(layer: Cow<'a, Layer>, form: Form, rows: Rows, stop: Stop) -> Result<Self, Error> {
        let attention = rows.attention(&layer)?;
        let candidate_len = layer.shape.candidate_len();
        let columns = |weights: &DMatrix<f64>| (0..candidate_len).map(|i| weights.column(i).norm()).collect();
        let value_norms = |values: &DMatrix<f64>| (0..candidate_len).map(|i| values.row(i).norm()).collect();
        let mut gram = Self {
            attention_norms: attention.weights.iter().map(columns).collect(),
            value_norms: layer.values.iter().map(value_norms).collect(),
            layer,
            form,
            rows,
            stop,
            diagonal: Vec::new(),
        };
        let mut diagonal = Vec::new();
        for (_, group) in gram.layer.query_groups() {
            stop.check()?;
            diagonal.extend(gram.group_diagonal(&group));
        }
        all_finite(gram.layer.index, "the squared drop error of a slot", &diagonal)?;
        gram.diagonal = diagonal;
        Ok(gram)
    }

    /// `M x`.
    #[must_use]
    pub fn product(&self, x: &[f64]) -> Product {
        let errors = self.errors(x);
        let entries = errors.len() * errors[0].len();
        let value = errors.iter().map(DMatrix::norm_squared).sum::<f64>();
        let mut product = Product {
            values: vec![0.0; PairGram::candidates(self)],
            errors: vec![0.0; PairGram::candidates(self)],
            value,
            squared_norm: value * (1.0 + 2.0 * gamma(entries)),
            drift: self.drift(x),
            root_loss: 0.0,
        };
        for head in self.layer.shape.query_heads() {
            let error = &errors[if self.form == Form::HeadWise { head.0 } else { 0 }];
            self.add_share(head, error, &mut product);
        }
        product
    }

    fn candidate_len(&self) -> usize {
        self.layer.shape.candidate_len()
    }

    /// `A_h` of the rows.
    fn weights(&self) -> &[DMatrix<f64>] {
        &self.rows.attention(&self.layer).expect("looked at when the form was made").weights
    }

    fn attention(&self, head: QueryHead) -> DMatrixView<'_, f64> {
        self.weights()[head.0].columns(0, self.candidate_len())
    }

    fn values(&self, head: QueryHead) -> DMatrixView<'_, f64> {
        self.layer.values_of(head).rows(0, self.candidate_len())
    }

    /// Whether the products of two query heads count.
    fn interact(&self, one: QueryHead, two: QueryHead) -> bool {
        self.form == Form::LayerWise || one == two
    }

    /// `M_ii = sum over pairs (h, h') of the group of <a_{h,i}, a_{h',i}> <b_{h,i}, b_{h',i}>`.
    fn group_diagonal(&self, group: &[QueryHead]) -> Vec<f64> {
        let projected: Vec<_> =
            group.iter().map(|&head| self.values(head) * &self.layer.output_projection[head.0]).collect();
        let mut diagonal = vec![0.0; self.candidate_len()];
        for (&one, projected_one) in group.iter().zip(&projected) {
            for (&two, projected_two) in group.iter().zip(&projected) {
                if self.interact(one, two) {
                    let (attention_one, attention_two) = (self.attention(one), self.attention(two));
                    for (i, entry) in diagonal.iter_mut().enumerate() {
                        *entry += attention_one.column(i).dot(&attention_two.column(i))
                            * projected_one.row(i).dot(&projected_two.row(i));
                    }
                }
            }
        }
        // A sum of squares in exact arithmetic.
        diagonal.iter().map(|entry| entry.max(0.0)).collect()
    }

    /// `(A_h diag x) V W_h`, `[w, D]`.
    fn head_error(&self, head: QueryHead, x: &[f64]) -> DMatrix<f64> {
        let first = self.layer.shape.kv_head_of(head).0 * self.candidate_len();
        let mut scaled = self.attention(head).into_owned();
        for (mut column, &share) in scaled.column_iter_mut().zip(&x[first..]) {
            column *= share;
        }
        (scaled * self.values(head)) * &self.layer.output_projection[head.0]
    }

    /// `E(x)`: one matrix for the layer, or one for each query head.
    fn errors(&self, x: &[f64]) -> Vec<DMatrix<f64>> {
        let heads = self.layer.shape.query_heads().map(|head| self.head_error(head, x));
        match self.form {
            Form::HeadWise => heads.collect(),
            Form::LayerWise => heads.reduce(|sum, next| sum + next).into_iter().collect(),
        }
    }

    /// A bound on `norm_F(E - E(x))` from rounding. Each entry goes through at most `n + d + H` multiply-adds, so it is
    /// off by `gamma` times the same expression in magnitudes.
    fn drift(&self, x: &[f64]) -> f64 {
        let shape = self.layer.shape;
        let head = |head: QueryHead| {
            let first = shape.kv_head_of(head).0 * self.candidate_len();
            let norms = self.attention_norms[head.0].iter().zip(&self.value_norms[shape.kv_head_of(head).0]);
            let pairs: f64 = norms.zip(&x[first..]).map(|((one, two), share)| one * two * share.abs()).sum();
            pairs * self.layer.output_projection[head.0].norm()
        };
        let terms = self.candidate_len() + shape.head_dim + shape.query_heads + 8;
        2.0 * gamma(terms) * shape.query_heads().map(head).sum::<f64>()
    }

    /// Adds query head `h`'s share of `<E, E(e_i)>`, and of the bound on its rounding, for its KV head's candidates.
    ///
    /// The bound: each number goes through at most `D + d + w` multiply-adds, so it is off by `gamma` times the same
    /// expression in magnitudes, which Cauchy-Schwarz bounds by `norm2(a) norm_F(|E| |W_h|^T) norm2(v)`.
    fn add_share(&self, head: QueryHead, error: &DMatrix<f64>, product: &mut Product) {
        let shape = self.layer.shape;
        let projection = &self.layer.output_projection[head.0];
        let pulled = error * projection.transpose();
        let magnitude = (error.abs() * projection.abs().transpose()).norm();
        let terms = shape.hidden_dim + shape.head_dim + error.nrows() + shape.query_heads + 8;
        let factor = gamma(terms) * magnitude;

        let reach = &pulled * self.values(head).transpose();
        let attention = self.attention(head);
        let kv_head = shape.kv_head_of(head);
        let first = kv_head.0 * self.candidate_len();
        let norms = self.attention_norms[head.0].iter().zip(&self.value_norms[kv_head.0]);
        for (i, (attention_norm, value_norm)) in norms.enumerate() {
            product.values[first + i] += attention.column(i).dot(&reach.column(i));
            product.errors[first + i] += factor * attention_norm * value_norm;
        }
    }
}

impl PairGram for LayerGram<'_> {
    fn candidates(&self) -> usize {
        self.layer.shape.kv_heads * self.candidate_len()
    }

    fn product(&self, x: &[f64]) -> Result<Product, Error> {
        self.stop.check()?;
        Self::product(self, x).finite(self.layer.index)
    }

    fn diagonal(&self) -> &[f64] {
        &self.diagonal
    }

    /// One block: `M_ij = sum over pairs of heads of <a_{h,i}, a_{h',j}> <b_{h,i}, b_{h',j}>`.
    fn blocks(&self, candidates: &[usize]) -> Vec<DMatrix<f64>> {
        let chosen = ChosenPairs::new(self, candidates);
        let mut block = DMatrix::zeros(candidates.len(), candidates.len());
        for one in &chosen.heads {
            for two in &chosen.heads {
                if self.interact(one.head, two.head) {
                    let entries =
                        (one.columns.tr_mul(&two.columns)).component_mul(&(&one.rows * two.rows.transpose()));
                    let mut target = block.view_mut((one.first, two.first), entries.shape());
                    target += entries;
                }
            }
        }
        vec![block]
    }

    /// An entry is a sum of products of inner products of `w`, and of `D` after `d`, terms.
    fn magnitudes(&self) -> Vec<f64> {
        let shape = self.layer.shape;
        let terms = shape.window_len.max(self.weights()[0].nrows())
            + shape.hidden_dim
            + 2 * shape.head_dim
            + shape.query_heads * shape.query_heads
            + 8;
        let factor = gamma(terms).sqrt();
        let mut magnitudes = vec![0.0; self.candidates()];
        for head in shape.query_heads() {
            let reach = self.values(head).abs() * self.layer.output_projection[head.0].abs();
            let first = shape.kv_head_of(head).0 * self.candidate_len();
            for (i, attention_norm) in self.attention_norms[head.0].iter().enumerate() {
                magnitudes[first + i] += factor * attention_norm * reach.row(i).norm();
            }
        }
        magnitudes
    }

    fn convexity(&self) -> Vec<f64> {
        if self.candidates() > convexify::MOST_CANDIDATES {
            return vec![0.0; self.candidates()];
        }
        convexify::diagonal(self, &convexify::Nalgebra, self.stop)
    }
}

impl LayerGram<'static> {
    /// The form of a layer, with its own copy of the numbers that it needs.
    ///
    /// # Errors
    /// As [`LayerGram::of`]; [`Error::Stopped`] when the search has to end.
    pub fn kept(layer: &Layer, form: Form, rows: Rows, stop: Stop) -> Result<Self, Error> {
        let attention = Attention { logits: Vec::new(), weights: rows.attention(layer)?.weights.clone() };
        let (attention, future_attention) = match rows {
            Rows::Window => (attention, None),
            Rows::Future => (Attention::default(), Some(attention)),
        };
        let kept = Layer {
            attention,
            future_attention,
            values: layer.values.clone(),
            output_projection: layer.output_projection.clone(),
            ..Layer::unseen(layer.index, layer.shape)
        };
        Self::new(Cow::Owned(kept), form, rows, stop)
    }
}

/// The pairs of some candidates, head by head.
struct ChosenPairs {
    heads: Vec<ChosenHead>,
}

struct ChosenHead {
    head: QueryHead,
    /// The KV head's first candidate among the chosen ones.
    first: usize,
    /// `a_{h,i}`, `[w, chosen]`.
    columns: DMatrix<f64>,
    /// `b_{h,i}`, `[chosen, D]`.
    rows: DMatrix<f64>,
}

impl ChosenPairs {
    fn new(gram: &LayerGram<'_>, candidates: &[usize]) -> Self {
        let candidate_len = gram.candidate_len();
        let mut heads = Vec::new();
        let mut first = 0;
        for kv_head in 0..gram.layer.shape.kv_heads {
            let positions: Vec<usize> = candidates
                .iter()
                .filter(|&&i| i / candidate_len == kv_head)
                .map(|i| i % candidate_len)
                .collect();
            if !positions.is_empty() {
                heads.extend(gram.layer.shape.query_group(KvHead(kv_head)).map(|head| ChosenHead {
                    head,
                    first,
                    columns: gram.attention(head).select_columns(&positions),
                    rows: gram.values(head).select_rows(&positions) * &gram.layer.output_projection[head.0],
                }));
            }
            first += positions.len();
        }
        Self { heads }
    }
}

/// Several layers' forms side by side: errors of different layers add, so `M` is block-diagonal.
pub struct StackedGram<'a> {
    layers: Vec<Box<dyn PairGram + 'a>>,
    /// The first candidate of each layer, and the end of the last one's.
    offsets: Vec<usize>,
    diagonal: Vec<f64>,
}

impl<'a> StackedGram<'a> {
    /// Stacks layers in order.
    #[must_use]
    pub fn new(layers: Vec<Box<dyn PairGram + 'a>>) -> Self {
        let ends = layers.iter().scan(0, |end, layer| {
            *end += layer.candidates();
            Some(*end)
        });
        let offsets = std::iter::once(0).chain(ends).collect();
        let diagonal = layers.iter().flat_map(|layer| layer.diagonal()).copied().collect();
        Self { layers, offsets, diagonal }
    }

    /// The layers with their candidates, in order.
    pub fn parts(&self) -> impl Iterator<Item = (&dyn PairGram, Range<usize>)> {
        let ranges = self.offsets.windows(2).map(|pair| pair[0]..pair[1]);
        self.layers.iter().map(AsRef::as_ref).zip(ranges)
    }

    /// The layers' products as one.
    #[must_use]
    pub fn join(&self, products: Vec<Product>) -> Product {
        let mut joined = Product {
            values: Vec::new(),
            errors: Vec::new(),
            value: 0.0,
            squared_norm: 0.0,
            drift: 0.0,
            root_loss: 0.0,
        };
        for product in products {
            joined.values.extend(product.values);
            joined.errors.extend(product.errors);
            joined.value += product.value;
            joined.squared_norm += product.squared_norm;
            joined.drift += product.drift;
        }
        joined.squared_norm *= 1.0 + 2.0 * gamma(self.layers.len());
        joined
    }
}

impl PairGram for StackedGram<'_> {
    fn candidates(&self) -> usize {
        self.diagonal.len()
    }

    fn product(&self, x: &[f64]) -> Result<Product, Error> {
        let products = self.parts().map(|(layer, range)| layer.product(&x[range]));
        Ok(self.join(products.collect::<Result<_, _>>()?))
    }

    fn diagonal(&self) -> &[f64] {
        &self.diagonal
    }

    fn blocks(&self, candidates: &[usize]) -> Vec<DMatrix<f64>> {
        self.parts().flat_map(|(layer, range)| layer.blocks(&inside(candidates, &range))).collect()
    }

    fn magnitudes(&self) -> Vec<f64> {
        self.parts().flat_map(|(layer, _)| layer.magnitudes()).collect()
    }

    fn convexity(&self) -> Vec<f64> {
        self.parts().flat_map(|(layer, _)| layer.convexity()).collect()
    }
}

/// Those of `candidates` that lie in `range`, counted from its start.
#[must_use]
pub fn inside(candidates: &[usize], range: &Range<usize>) -> Vec<usize> {
    candidates.iter().filter(|i| range.contains(i)).map(|i| i - range.start).collect()
}

/// `x` with 1 for each of the evicted candidates.
#[must_use]
pub fn indicator(candidates: usize, evicted: &[usize]) -> Vec<f64> {
    let mut x = vec![0.0; candidates];
    for &candidate in evicted {
        x[candidate] = 1.0;
    }
    x
}
