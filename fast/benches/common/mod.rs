//! Live data in the shapes of real models, and the product that the method's description spells out.

#![allow(dead_code, reason = "each benchmark uses its own part")]

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use laprox_fast::simd::widen::widen_into;
use laprox_fixtures::{Dump, DumpLayer, Precision, SynthConfig, synthesize};
use laprox_reference::{LayerOrdinal, LayerProblem, LayerShape, RetainedSet};
use rayon::prelude::*;
use tempfile::TempDir;

/// A named shape: one layer of a model at one context length, window 32.
#[derive(Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub hidden_size: usize,
    pub context: usize,
}

const SMOLLM2: Shape = Shape { name: "", heads: 9, kv_heads: 3, head_dim: 64, hidden_size: 576, context: 0 };
const LLAMA8B: Shape =
    Shape { name: "", heads: 32, kv_heads: 8, head_dim: 128, hidden_size: 4096, context: 0 };

pub const SHAPES: [Shape; 4] = [
    Shape { name: "smollm2_2k", context: 2048, ..SMOLLM2 },
    Shape { name: "smollm2_8k", context: 8192, ..SMOLLM2 },
    Shape { name: "llama8b_8k", context: 8192, ..LLAMA8B },
    Shape { name: "llama8b_32k", context: 32768, ..LLAMA8B },
];

/// One layer in half precision, with sinks, peaked and flat heads.
pub struct Live {
    layer: DumpLayer,
    _folder: TempDir,
}

impl Live {
    pub fn new(shape: Shape) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = SynthConfig {
            layers: 1,
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            hidden_size: shape.hidden_size,
            context: shape.context,
            window: 32,
            future: 0,
            seed: 1,
            precision: Precision::F16,
        };
        let dump: Dump = synthesize(folder.path().join("dump"), &config, false, |_| {}).expect("a dump");
        Self { layer: dump.layer(0, LayerOrdinal(0)).expect("its layer"), _folder: folder }
    }

    pub fn problem(&self) -> LayerProblem<'_> {
        self.layer.problem().expect("finite values")
    }
}

/// The window and every fifth candidate.
pub fn every_fifth(shape: LayerShape) -> RetainedSet {
    let kept: Vec<u32> = (0..shape.candidate_len() as u32).step_by(5).collect();
    let heads = vec![kept; shape.kv_heads];
    RetainedSet::from_candidates(shape.kv_heads, shape.context_len, shape.window_len, &heads).expect("a set")
}

/// `norm2(row of V W_h)` as the method is described: the product `[n - w, D]` in f32, by faer, then its rows' norms.
pub fn literal_norms(problem: &LayerProblem<'_>) -> Vec<Vec<f32>> {
    let shape = problem.shape();
    let activations = problem.activations();
    let width = shape.query_heads * shape.head_dim;
    let mut weight = vec![0.0; shape.hidden_dim * width];
    widen_into(pulp::Scalar, activations.output_projection.elements(), &mut weight);
    let weight = MatRef::from_row_major_slice(&weight, shape.hidden_dim, width);
    let head = |head: usize| {
        let kv_head = head / shape.group_size();
        let mut values = vec![0.0; shape.cached_len() * shape.head_dim];
        widen_into(pulp::Scalar, activations.value.outer(kv_head), &mut values);
        let values = &values[..shape.candidate_len() * shape.head_dim];
        let values = MatRef::from_row_major_slice(values, shape.candidate_len(), shape.head_dim);
        let mut projected = vec![0.0_f32; shape.candidate_len() * shape.hidden_dim];
        let projection = weight.subcols(head * shape.head_dim, shape.head_dim).transpose();
        let product =
            MatMut::from_row_major_slice_mut(&mut projected, shape.candidate_len(), shape.hidden_dim);
        matmul(product, Accum::Replace, values, projection, 1.0, Par::Seq);
        projected
            .chunks_exact(shape.hidden_dim)
            .map(|row| row.iter().map(|x| x * x).sum::<f32>().sqrt())
            .collect()
    };
    (0..shape.query_heads).into_par_iter().map(head).collect()
}

/// `lists` of uniform scores, as long together as the candidates of a model.
pub fn scores(lists: usize, len: usize) -> Vec<Vec<f64>> {
    let list = |list: usize| {
        let mut state = list as u64 + 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..len).map(|_| next()).collect()
    };
    (0..lists).map(list).collect()
}
