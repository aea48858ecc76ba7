//! The policy `shrunk`: a set by a quadratic form whose off-diagonal part is shrunk.
//!
//! The window's rows are a sample of the queries to come, and `M`, the [centred form](crate::oracle::centred), is a second moment
//! estimated from them. Its off-diagonal part, who cancels whom, is the noisy one:
//!
//! ```text
//! M_rho = (1 - rho) M + rho Diag(M)        rho = 1 ranks by the diagonal, rho = 0 trusts the window
//! minimise x^T M_rho x  over 0 <= x <= 1, sum x = m evicted candidates
//! ```
//!
//! From the set with the least diagonal, [`STEPS`] steps of Frank and Wolfe with exact line search over all candidates that share the
//! budget, one product `M x` each. Then the candidates with the least `2 (M_rho x)_i + M_ii (1 - 2 x_i)` go: the rise of the form when
//! one is evicted, or the fall that retaining it would undo.
//!
//! Ledoit and Wolf's `rho` is the ratio of the summed sampling variances of the off-diagonal entries to the sum of their squares, from the
//! rows as independent draws:
//!
//! ```text
//! rho = w / (w - 1) * (sum over t of norm_F(off M_t)^2 - norm_F(off M)^2 / w) / norm_F(off M)^2,   per layer, at most 1
//! ```
//!
//! Neither `M_t` nor `M` is formed: `norm_F(X)^2 = E norm2(X z)^2` for random signs `z`, the mean over [`PROBES`] of them. Rows next to each
//! other are not independent, and the largest entries weigh most, so it comes out low: .02 to .75 on layers of SmolLM2-135M, where .8 to
//! .9 cost least. So .8 is the default.
//!
//! Source: this project.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::allocations::Allocation;
use crate::budget::CandidatesPerHead;
use crate::cut::quotas;
use crate::error::{Result, all_finite};
use crate::layers::Layers;
use crate::options::{RHO, Shrinkage};
use crate::oracle::centred::CentredForm;
use crate::parameter::Parameter;
use crate::policy::Policy;
use crate::protected::Protected;
use crate::retained::RetainedSet;
use crate::scores::{HeadScores, ModelScores};
use crate::select::select;
use crate::tasks;

/// `steps=`
pub static STEPS: Parameter = Parameter::whole("steps", [0, 1000], 4);

/// How many vectors of random signs measure norms.
pub const PROBES: u64 = 16;

/// The set that the policy keeps, over the model or layer by layer as its allocation says.
///
/// # Errors
/// When a layer is refused; [`crate::Error::Range`] when f64 does not hold a product.
pub fn shrunk<L: Layers>(
    layers: &L,
    policy: &Policy,
    per_head: CandidatesPerHead,
) -> Result<RetainedSet, L::Error> {
    let shape = layers.shapes()[0];
    let options = policy.options();
    let blocks = layers.at_once(|_, layer| {
        let form = CentredForm::new(layer.reference()?)?;
        let rho = match options.shrinkage {
            Shrinkage::Given => options.parameters.get(&RHO),
            Shrinkage::LedoitWolf => ledoit_wolf(&form),
        };
        Ok(Block { diagonal: form.diagonal(), form, rho })
    })?;
    let steps = options.parameters.get(&STEPS) as usize;
    let retained = shape.kv_heads * per_head.0;
    let together = if options.allocation == Allocation::LAYER { 1 } else { blocks.len() };
    let mut scores = Vec::new();
    for blocks in blocks.chunks(together) {
        scores.extend(descend(layers, blocks, retained * blocks.len(), steps)?);
    }
    let scores = ModelScores::new(scores)?;
    let quotas = quotas(&scores, options, per_head)?;
    Ok(select(&scores, &quotas, Protected::NONE, shape.window_len)?)
}

/// One layer's block of `M_rho`.
struct Block {
    form: CentredForm,
    diagonal: Vec<f64>,
    rho: f64,
}

impl Block {
    /// `M_rho x`
    fn product(&self, x: &[f64]) -> Result<Vec<f64>> {
        let diagonal = self.diagonal.iter().zip(x).map(|(own, share)| self.rho * own * share);
        // `rho = 1` ranks by the diagonal: nothing else is read.
        if self.rho == 1.0 {
            return Ok(diagonal.collect());
        }
        let product = self.form.product(x).into_iter();
        let product: Vec<f64> =
            product.zip(diagonal).map(|(plain, own)| (1.0 - self.rho) * plain + own).collect();
        all_finite(self.form.index(), "the gradient of the squared error", &product)?;
        Ok(product)
    }
}

/// The marginal errors of all candidates after some steps, layer by layer.
fn descend<L: Layers>(
    layers: &L,
    blocks: &[Block],
    retained: usize,
    steps: usize,
) -> Result<Vec<HeadScores>> {
    let size = blocks[0].diagonal.len();
    let product = |x: &[f64]| -> Result<Vec<f64>> {
        let of_block = |index: usize| blocks[index].product(&x[index * size..][..size]);
        Ok(tasks::all(layers, blocks.len(), of_block)?.concat())
    };
    let diagonal: Vec<f64> = blocks.iter().flat_map(|block| &block.diagonal).copied().collect();
    let evicted = diagonal.len() - retained;
    let mut x = least(&diagonal, evicted);
    let mut gradient = product(&x)?;
    for _ in 0..steps {
        let corner = least(&gradient, evicted);
        let direction: Vec<f64> = corner.iter().zip(&x).map(|(corner, x)| corner - x).collect();
        let fall = -dot(&direction, &gradient);
        if fall <= 0.0 {
            break;
        }
        let change = product(&direction)?;
        let curvature = dot(&direction, &change);
        let step = if curvature > fall { fall / curvature } else { 1.0 };
        x.iter_mut().zip(&direction).for_each(|(x, direction)| *x += step * direction);
        gradient.iter_mut().zip(&change).for_each(|(gradient, change)| *gradient += step * change);
    }
    let marginal = |i: usize| 2.0 * gradient[i] + diagonal[i] * (1.0 - 2.0 * x[i]);
    let scores = |(place, block): (usize, &Block)| {
        let shape = block.form.shape();
        let of_head = |head: usize| {
            let first = place * size + head * shape.candidate_len();
            (first..first + shape.candidate_len()).map(marginal).collect()
        };
        HeadScores::new(block.form.index(), (0..shape.kv_heads).map(of_head).collect())
    };
    blocks.iter().enumerate().map(scores).collect()
}

/// 1 for the `count` least numbers, 0 for the others; ties go to the higher index, as in a cut the lower one stays.
fn least(numbers: &[f64], count: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_unstable_by(|&i, &j| numbers[i].total_cmp(&numbers[j]).then(j.cmp(&i)));
    let mut chosen = vec![0.0; numbers.len()];
    order[..count].iter().for_each(|&i| chosen[i] = 1.0);
    chosen
}

fn dot(one: &[f64], two: &[f64]) -> f64 {
    one.iter().zip(two).map(|(one, two)| one * two).sum()
}

/// Ledoit and Wolf's `rho` of a layer, from seeded signs; 1 with a single row, or where nothing is off the diagonal.
#[must_use]
pub fn ledoit_wolf(form: &CentredForm) -> f64 {
    let rows = form.diagonals().nrows() as f64;
    let (mut of_rows, mut of_sum) = (0.0, 0.0);
    for probe in 0..PROBES {
        let mut generator = ChaCha8Rng::seed_from_u64(probe);
        let signs: Vec<f64> =
            form.diagonal().iter().map(|_| if generator.random() { 1.0 } else { -1.0 }).collect();
        let mut off = form.row_products(&signs);
        for (candidate, mut column) in off.column_iter_mut().enumerate() {
            column.axpy(-signs[candidate], &form.diagonals().column(candidate), 1.0);
        }
        of_rows += off.norm_squared();
        of_sum += off.row_sum().norm_squared();
    }
    let variance = rows / (rows - 1.0) * (of_rows - of_sum / rows);
    let rho = variance / of_sum;
    if rho.is_finite() { rho.clamp(0.0, 1.0) } else { 1.0 }
}
