//! The oracle's operator `M x` on the device, in f64, with bounds on its rounding.
//!
//! ```text
//! E(x) = sum_h (A_h diag x) V W_h,    (M x)_i = sum over the group of a_{h,i}^T (E(x) W_h^T) v_i
//! ```
//!
//! Everything else that the oracles ask for is the reference's, and so is `A`.

use std::sync::Arc;

use cudarc::driver::CudaSlice;
use laprox_reference::attend::Attention;
use laprox_reference::layer::Layer;
use laprox_reference::oracle::Stop;
use laprox_reference::oracle::gram::{LayerGram, PairGram, Product, Rows};
use laprox_reference::rounding::gamma;
use laprox_reference::{Error, Form, LayerIndex, LayerShape};
use nalgebra::DMatrix;

use crate::device::{Device, Version};
use crate::error::Result;
use crate::launch::Grid;

/// One layer's quadratic form, its products on a device.
pub struct DeviceGram {
    layer: LayerIndex,
    stop: Stop,
    host: LayerGram<'static>,
    operator: Operator,
    form: Form,
    /// `sum over the group of norm2(a_{h,i}) norm2(v_i) norm_F(W_h)` of each candidate: what its rounding is measured by.
    reach: Vec<f64>,
}

impl DeviceGram {
    /// Uploads what products need.
    ///
    /// # Errors
    /// [`Error::Shape`] when the layer holds no such rows; [`Error::Path`] when the device has no room.
    pub fn new(device: &Arc<Device>, layer: &Layer, form: Form, rows: Rows) -> Result<Self, Error> {
        Self::until(device, layer, form, rows, Stop::NEVER)
    }

    /// The same, for a search that may have to end.
    ///
    /// # Errors
    /// As [`DeviceGram::new`]; [`Error::Stopped`] when it has to.
    pub fn until(
        device: &Arc<Device>,
        layer: &Layer,
        form: Form,
        rows: Rows,
        stop: Stop,
    ) -> Result<Self, Error> {
        let host = LayerGram::kept(layer, form, rows, stop)?;
        let attention = rows.attention(layer)?;
        let operator = Operator::new(device, layer, attention)?;
        Ok(Self { layer: layer.index, stop, host, operator, form, reach: reach(layer, attention) })
    }
}

/// `sum over the group of norm2(a_{h,i}) norm2(v_i) norm_F(W_h)`, candidate by candidate.
fn reach(layer: &Layer, attention: &Attention) -> Vec<f64> {
    let candidate_len = layer.shape.candidate_len();
    let mut reach = vec![0.0; layer.shape.kv_heads * candidate_len];
    for head in layer.shape.query_heads() {
        let projection = layer.output_projection[head.0].norm();
        let first = layer.shape.kv_head_of(head).0 * candidate_len;
        for (i, reach) in reach[first..first + candidate_len].iter_mut().enumerate() {
            let value = layer.values_of(head).row(i).norm();
            *reach += attention.weights[head.0].column(i).norm() * value * projection;
        }
    }
    reach
}

impl PairGram for DeviceGram {
    fn candidates(&self) -> usize {
        self.host.candidates()
    }

    /// `M x` from the device.
    ///
    /// Each entry of `E` goes through one multiply-add for each candidate, split and `H * d` entries of `W`, each value
    /// through one for each of `D`, `d`, the rows and the group: rounding takes them no further than `gamma` of that
    /// many times the same expressions in magnitudes, which Cauchy-Schwarz bounds by `reach`.
    fn product(&self, x: &[f64]) -> Result<Product, Error> {
        self.stop.check()?;
        let (values, errors) = self.operator.product(x, self.form)?;
        let value: f64 = errors.iter().map(|entry| entry * entry).sum();
        let squared_norm = value * (1.0 + 2.0 * gamma(errors.len()));
        let LayerShape { hidden_dim, head_dim, query_heads, .. } = self.operator.shape;
        let value_terms = hidden_dim + head_dim + self.operator.rows + query_heads + 16;
        let error_terms = self.operator.shape.candidate_len() + MOST_SPLITS + query_heads * head_dim + 16;
        let value_factor = 2.0 * gamma(value_terms) * squared_norm.sqrt();
        let moved: f64 = self.reach.iter().zip(x).map(|(reach, share)| reach * share.abs()).sum();
        let product = Product {
            values,
            errors: self.reach.iter().map(|reach| value_factor * reach).collect(),
            value,
            squared_norm,
            drift: 2.0 * gamma(error_terms) * moved,
            root_loss: 0.0,
        };
        product.finite(self.layer)
    }

    fn diagonal(&self) -> &[f64] {
        self.host.diagonal()
    }

    fn blocks(&self, candidates: &[usize]) -> Vec<DMatrix<f64>> {
        self.host.blocks(candidates)
    }

    fn magnitudes(&self) -> Vec<f64> {
        self.host.magnitudes()
    }

    fn convexity(&self) -> Vec<f64> {
        self.host.convexity()
    }
}

/// Splits of the positions at most.
const MOST_SPLITS: usize = 64;

/// Positions that the tiled kernels take at a time, and rows and columns of their tiles.
const TILE: usize = 32;

/// What stays on the device between products.
struct Operator {
    device: Arc<Device>,
    shape: LayerShape,
    rows: usize,
    /// `[H, n - w, rows]`
    attention: CudaSlice<f64>,
    /// `[Hkv, n - w, d]`
    value: CudaSlice<f64>,
    /// `o_proj.weight`, `[D, H * d]`
    weight: CudaSlice<f64>,
}

/// A matrix in a buffer: entry `(i, j)` of matrix `batch` is at `i * row + j * column + batch * next`.
#[derive(Clone, Copy)]
struct Strides {
    row: usize,
    column: usize,
    next: usize,
}

/// The sizes of a batch of products.
#[derive(Clone, Copy)]
struct Sizes {
    columns: usize,
    inner: usize,
    batch: usize,
}

impl Operator {
    fn new(device: &Arc<Device>, layer: &Layer, attention: &Attention) -> Result<Self> {
        let shape = layer.shape;
        let candidate_len = shape.candidate_len();
        let rows = attention.weights[0].nrows();
        // Columns lie next to each other, those of the candidates first.
        let columns = attention.weights.iter().flat_map(|head| &head.as_slice()[..candidate_len * rows]);
        let values = layer.values.iter().map(|values| values.rows(0, candidate_len).transpose());
        let weight =
            |c: usize| layer.output_projection.iter().flat_map(move |block| block.column(c).into_iter());
        Ok(Self {
            device: Arc::clone(device),
            shape,
            rows,
            attention: device.copy_in(&columns.copied().collect::<Vec<_>>())?,
            value: device
                .copy_in(&values.flat_map(|values| values.as_slice().to_vec()).collect::<Vec<_>>())?,
            weight: device.copy_in(&(0..shape.hidden_dim).flat_map(weight).copied().collect::<Vec<_>>())?,
        })
    }

    /// `H * d`
    fn width(&self) -> usize {
        self.shape.query_heads * self.shape.head_dim
    }

    /// `M x` and the entries of `E`.
    fn product(&self, x: &[f64], form: Form) -> Result<(Vec<f64>, Vec<f64>)> {
        let LayerShape { head_dim, hidden_dim, query_heads, .. } = self.shape;
        let (rows, width) = (self.rows, self.width());
        let attended = self.attend(&self.device.copy_in(x)?)?;
        // Layer-wise all heads are one inner index, head-wise each is a product of its own.
        let (batch, inner, next, next_error) = match form {
            Form::LayerWise => (1, width, 0, 0),
            Form::HeadWise => (query_heads, head_dim, head_dim, rows * hidden_dim),
        };
        let by_row = Strides { row: width, column: 1, next };
        let by_channel = Strides { row: 1, column: width, next };
        let of_error = Strides { row: hidden_dim, column: 1, next: next_error };
        let mut error = self.device.allocate(&[batch, rows, hidden_dim])?;
        let sizes = Sizes { columns: hidden_dim, inner, batch };
        self.multiply((&attended, by_row), (&self.weight, by_channel), (&mut error, of_error), sizes)?;
        let mut pulled = self.device.allocate(&[rows, width])?;
        let sizes = Sizes { columns: inner, inner: hidden_dim, batch };
        self.multiply((&error, of_error), (&self.weight, by_row), (&mut pulled, by_row), sizes)?;
        let product = self.pull(&pulled)?;
        Ok((self.device.copy_out(&product)?, self.device.copy_out(&error)?))
    }

    /// `U_h = (A_h diag x) V`, `[rows, H * d]`.
    fn attend(&self, x: &CudaSlice<f64>) -> Result<CudaSlice<f64>> {
        let LayerShape { head_dim, query_heads, kv_heads, .. } = self.shape;
        let (rows, width, candidate_len) = (self.rows, self.width(), self.shape.candidate_len());
        let device = &self.device;
        let mut attended = device.allocate(&[rows, width])?;
        let attention_extents = [query_heads, candidate_len, rows];
        let value_extents = [kv_heads, candidate_len, head_dim];
        if device.version() == Version::Naive {
            device
                .launch("gram_attend_naive", Grid::new([head_dim.div_ceil(32), rows, query_heads], 32))?
                .input(&self.attention, &attention_extents)
                .input(x, &[kv_heads, candidate_len])
                .input(&self.value, &value_extents)
                .output(&mut attended, &[rows, width])
                .ints(&[self.shape.group_size(), candidate_len, head_dim])
                .run()?;
            return Ok(attended);
        }
        let tiles = rows.div_ceil(TILE) * head_dim.div_ceil(TILE);
        let wanted = (4 * device.multiprocessors()).div_ceil(tiles * query_heads).clamp(1, MOST_SPLITS);
        let positions_per_split = candidate_len.div_ceil(wanted).next_multiple_of(TILE);
        let splits = candidate_len.div_ceil(positions_per_split);
        let mut parts = device.allocate::<f64>(&[splits, rows, width])?;
        device
            .launch("gram_attend", Grid::new([splits, tiles, query_heads], 256))?
            .input(&self.attention, &attention_extents)
            .input(x, &[kv_heads, candidate_len])
            .input(&self.value, &value_extents)
            .output(&mut parts, &[splits, rows, width])
            .ints(&[self.shape.group_size(), rows, candidate_len, head_dim, positions_per_split])
            .run()?;
        device
            .launch("gram_join", Grid::new([(rows * width).div_ceil(256), 1, 1], 256))?
            .input(&parts, &[splits, rows * width])
            .output(&mut attended, &[rows, width])
            .ints(&[splits, rows * width])
            .run()?;
        Ok(attended)
    }

    /// `c = a b`, `[rows, columns]` each.
    fn multiply(
        &self,
        (a, at_a): (&CudaSlice<f64>, Strides),
        (b, at_b): (&CudaSlice<f64>, Strides),
        (c, at_c): (&mut CudaSlice<f64>, Strides),
        Sizes { columns, inner, batch }: Sizes,
    ) -> Result<()> {
        let (name, grid) = match self.device.version() {
            Version::Naive => {
                ("gram_multiply_naive", Grid::new([columns.div_ceil(32), self.rows, batch], 32))
            }
            Version::Shipped => {
                let blocks = [columns.div_ceil(TILE), self.rows.div_ceil(TILE), batch];
                ("gram_multiply", Grid::new(blocks, 256))
            }
        };
        let (a_len, b_len, c_len) = (a.len(), b.len(), c.len());
        self.device
            .launch(name, grid)?
            .input(a, &[a_len])
            .input(b, &[b_len])
            .output(c, &[c_len])
            .ints(&[self.rows, columns, inner])
            .ints(&[at_a.row, at_a.column, at_a.next, at_b.row, at_b.column, at_b.next, at_c.row, at_c.next])
            .run()
    }

    /// `(M x)_i` from `P_h = E W_h^T`, `[Hkv, n - w]`.
    fn pull(&self, pulled: &CudaSlice<f64>) -> Result<CudaSlice<f64>> {
        let LayerShape { head_dim, query_heads, kv_heads, .. } = self.shape;
        let candidate_len = self.shape.candidate_len();
        let mut product = self.device.allocate(&[kv_heads, candidate_len])?;
        let blocks = [candidate_len.div_ceil(TILE), kv_heads, 1];
        let (name, grid) = match self.device.version() {
            Version::Naive => ("gram_pull_naive", Grid::new(blocks, 32)),
            Version::Shipped => {
                let shared = TILE * (head_dim + 1) * size_of::<f64>();
                ("gram_pull", Grid::new(blocks, 256).with_shared(shared))
            }
        };
        self.device
            .launch(name, grid)?
            .input(&self.attention, &[query_heads, candidate_len, self.rows])
            .input(pulled, &[self.rows, self.width()])
            .input(&self.value, &[kv_heads, candidate_len, head_dim])
            .output(&mut product, &[kv_heads, candidate_len])
            .ints(&[self.shape.group_size(), self.rows, candidate_len, head_dim])
            .run()?;
        Ok(product)
    }
}
