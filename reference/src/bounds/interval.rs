//! An interval for the output, from what a draw has kept: beside B4 and B5, whose right sides need all pairs.
//!
//! For a fixed direction `U`, `[w, D]`, let `theta = <O, U>`, with `g_{h,t,i} = <U_t, b_{h,i}>`. A [draw](mod@crate::draw) with probabilities
//! `pi_i = exp(-beta_i)` sees of a row the weights `a_i = A_i / pi_i`, their sum `M` and Hajek's estimate `r = sum of a_i g_i / M`:
//!
//! ```text
//! theta_hat = sum of r  +  sum of f C(e, a / M),    e_i = a_i (g_i - r) / M
//! V_hat = sum over KV heads of f C(e, e),           e_i summed over the group's rows
//! ```
//!
//! with `C(x, y) = sum of c_i (x_i - mean x) y_i`, `c_i = 1 - pi_i`, means weighed by `c`, and `f = 1 / (1 - sum c^2 / (sum c)^2)`: Deville's
//! estimator of a variance for draws of a fixed number. The second term of `theta_hat` takes away the bias of a ratio to first order. The
//! interval is `theta_hat +- t sqrt(V_hat)`, Student's `t` with Satterthwaite's degrees of freedom, where a head has `1 / sum (c / sum c)^2 - 1`.
//! It is infinite if a KV head has drawn one candidate: that says nothing about its own error.
//!
//! This is not a theorem but an approximation, good where every head draws many candidates of which none dominates; the tests measure
//! its coverage.

use nalgebra::DMatrix;
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::error::{Error, Result};
use crate::layer::Layer;
use crate::retained::LayerRetained;
use crate::shape::{KvHead, QueryHead};

/// A layer's output along one direction.
#[derive(Clone, Debug)]
pub struct Along<'a> {
    layer: &'a Layer,
    /// `g_{h,t,i}`, `[w, n]` per query head.
    projections: Vec<DMatrix<f64>>,
}

/// What a draw says about `theta`.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    /// The sum of Hajek's estimates: what the layer puts out, along the direction.
    pub hajek: f64,
    /// The sum of `a_i g_i`: unbiased, and not what a softmax computes.
    pub horvitz_thompson: f64,
    /// `theta_hat`.
    pub value: f64,
    /// `V_hat`.
    pub variance: f64,
    /// Satterthwaite's degrees of freedom; 0 if a KV head has drawn one candidate.
    pub freedom: f64,
}

impl Estimate {
    /// Half the width of the interval that should cover `theta` with probability `level`.
    #[must_use]
    pub fn half_width(&self, level: f64) -> f64 {
        match StudentsT::new(0.0, 1.0, self.freedom) {
            _ if self.variance == 0.0 => 0.0,
            Ok(student) => student.inverse_cdf(0.5 + level / 2.0) * self.variance.sqrt(),
            Err(_) => f64::INFINITY,
        }
    }
}

impl<'a> Along<'a> {
    /// Projects a layer's values onto a direction, `[w, D]`.
    #[must_use]
    pub fn new(layer: &'a Layer, direction: &DMatrix<f64>) -> Self {
        let project = |head: QueryHead| {
            let pulled = direction * layer.output_projection[head.0].transpose();
            pulled * layer.values_of(head).rows(0, layer.shape.context_len).transpose()
        };
        Self { layer, projections: layer.shape.query_heads().map(project).collect() }
    }

    /// `theta`.
    #[must_use]
    pub fn exact(&self) -> f64 {
        self.projections.iter().zip(&self.layer.attention.weights).map(|(g, weights)| g.dot(weights)).sum()
    }

    /// The estimate of a drawn set, from its own entries and biases.
    ///
    /// # Errors
    /// [`Error::Shape`] when the set was made for other sizes or has no biases.
    pub fn estimate(&self, retained: LayerRetained<'_>) -> Result<Estimate> {
        retained.check(self.layer.index, self.layer.shape)?;
        let zero = Estimate { hajek: 0.0, horvitz_thompson: 0.0, value: 0.0, variance: 0.0, freedom: 0.0 };
        let (mut total, mut per_freedom) = (zero, 0.0);
        for (head, group) in self.layer.query_groups() {
            let drawn = Drawn::new(retained, head)?;
            let of_head = self.estimate_head(&drawn, &group);
            total.hajek += of_head.hajek;
            total.horvitz_thompson += of_head.horvitz_thompson;
            total.value += of_head.value;
            total.variance += of_head.variance;
            if of_head.variance > 0.0 {
                per_freedom += of_head.variance.powi(2) / of_head.freedom;
            }
        }
        let freedom = total.variance.powi(2) / per_freedom;
        Ok(Estimate { freedom: if freedom.is_finite() { freedom } else { 0.0 }, ..total })
    }

    fn estimate_head(&self, drawn: &Drawn, group: &[QueryHead]) -> Estimate {
        let (mut hajek, mut horvitz_thompson, mut bias) = (0.0, 0.0, 0.0);
        let mut summed = vec![0.0; drawn.positions.len()];
        for head in group {
            let (weights, g) = (&self.layer.attention.weights[head.0], &self.projections[head.0]);
            for row in 0..weights.nrows() {
                let entries = drawn.positions.iter().zip(&drawn.factors);
                let a: Vec<f64> = entries.map(|(&i, factor)| weights[(row, i)] * factor).collect();
                let mass: f64 = a.iter().sum();
                let sum: f64 = a.iter().zip(&drawn.positions).map(|(a, &i)| a * g[(row, i)]).sum();
                let r = sum / mass;
                let residual = |(a, &i): (&f64, &usize)| a * (g[(row, i)] - r) / mass;
                let e: Vec<f64> = a.iter().zip(&drawn.positions).map(residual).collect();
                let share: Vec<f64> = a.iter().map(|a| a / mass).collect();
                hajek += r;
                horvitz_thompson += sum;
                bias -= drawn.covariance(&e, &share);
                summed.iter_mut().zip(e).for_each(|(sum, e)| *sum += e);
            }
        }
        Estimate {
            hajek,
            horvitz_thompson,
            value: hajek - bias,
            variance: drawn.covariance(&summed, &summed),
            freedom: drawn.freedom,
        }
    }
}

/// What one KV head keeps.
struct Drawn {
    positions: Vec<usize>,
    /// `1 / pi_i`
    factors: Vec<f64>,
    /// `c_i = 1 - pi_i`
    chances: Vec<f64>,
    /// `1 / sum (c / sum c)^2 - 1`
    freedom: f64,
}

impl Drawn {
    fn new(retained: LayerRetained<'_>, head: KvHead) -> Result<Self> {
        let bias = retained.bias(head);
        let bias = bias.ok_or_else(|| Error::shape("retained set", "one with biases", "a plain one"))?;
        let chances: Vec<f64> = bias.iter().map(|&bias| -f64::from(-bias).exp_m1()).collect();
        let (sum, squares) = (chances.iter().sum::<f64>(), chances.iter().map(|c| c * c).sum::<f64>());
        Ok(Self {
            positions: retained.head(head).iter().map(|&position| position as usize).collect(),
            factors: bias.iter().map(|&bias| f64::from(bias).exp()).collect(),
            freedom: if squares > 0.0 { sum * sum / squares - 1.0 } else { f64::INFINITY },
            chances,
        })
    }

    /// `f C(x, y)`; 0 if nothing was drawn by chance, infinite if one candidate was.
    fn covariance(&self, x: &[f64], y: &[f64]) -> f64 {
        let total: f64 = self.chances.iter().sum();
        if total == 0.0 {
            return 0.0;
        }
        let weighed = |numbers: &[f64]| self.chances.iter().zip(numbers).map(|(c, x)| c * x).sum::<f64>();
        let mean = weighed(x) / total;
        let moved: Vec<f64> = x.iter().zip(y).map(|(x, y)| (x - mean) * y).collect();
        if self.freedom <= 0.0 { f64::INFINITY } else { weighed(&moved) * (1.0 + 1.0 / self.freedom) }
    }
}
