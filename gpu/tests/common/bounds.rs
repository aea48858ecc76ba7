//! Numbers with a bound on how far a device's f32 arithmetic may be from them, carried through the same formulas.
//!
//! f32 operations round to nearest, by `U`. The tensor cores' sums may truncate, by `2 U` per product. `ex2.approx` is off by
//! up to two units in the last place. Numbers below the normal f32 range become zero. Everything else is the reference's
//! f64, whose own rounding does not show.

use laprox_gpu::Format;
use laprox_reference::layer::Layer;
use laprox_reference::rounding::gamma;
use laprox_reference::{LayerShape, QueryHead};

/// Half a unit in the last place of f32, relative.
pub const U: f64 = 1.0 / (1 << 24) as f64;

/// The largest relative error of `ex2.approx`.
pub const EX2: f64 = 1.0 / (1 << 22) as f64;

/// Below this number, f32's rounding errors are not relative.
const UNDERFLOW: f64 = f32::MIN_POSITIVE as f64;

/// How far roundings of `u` each carry a number, relative to the magnitudes: [`gamma`], which counts those of f64.
#[must_use]
pub fn drift(roundings: usize, u: f64) -> f64 {
    let drift = gamma(roundings * (2.0 * u / f64::EPSILON) as usize);
    assert!((0.0..1.0).contains(&drift), "{roundings} roundings leave no digits");
    drift
}

/// A number, and how far from it a computed one may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounded {
    pub value: f64,
    pub error: f64,
}

impl Bounded {
    #[must_use]
    pub fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    /// Through `count` roundings of `u` each, and perhaps an underflow.
    #[must_use]
    pub fn rounded(self, count: usize, u: f64) -> Self {
        Self { error: self.error + drift(count, u) * (self.value.abs() + self.error) + UNDERFLOW, ..self }
    }

    #[must_use]
    pub fn times(self, other: Self) -> Self {
        let error =
            self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error;
        Self { value: self.value * other.value, error }.rounded(1, U)
    }

    #[must_use]
    pub fn over(self, divisor: f64) -> Self {
        Self { value: self.value / divisor, error: self.error / divisor }.rounded(1, U)
    }

    /// The root of a number that is not negative.
    #[must_use]
    pub fn root(self) -> Self {
        let root = self.value.sqrt();
        Self { value: root, error: root - (self.value - self.error).max(0.0).sqrt() }.rounded(1, U)
    }

    /// A sum in any order.
    #[must_use]
    pub fn sum(terms: &[Self]) -> Self {
        let size: f64 = terms.iter().map(|term| term.value.abs() + term.error).sum();
        let sum = |part: fn(&Self) -> f64| terms.iter().map(part).sum::<f64>();
        Self { value: sum(|term| term.value), error: sum(|term| term.error) + drift(terms.len(), U) * size }
    }

    #[must_use]
    pub fn mean(terms: &[Self]) -> Self {
        Self::sum(terms).over(terms.len() as f64)
    }

    /// The root of the sum of squares.
    #[must_use]
    pub fn norm(terms: &[Self]) -> Self {
        Self::sum(&terms.iter().map(|term| term.times(*term)).collect::<Vec<_>>()).root()
    }

    /// The largest of numbers that are not negative.
    #[must_use]
    pub fn largest(terms: &[Self]) -> Self {
        let most = |part: fn(&Self) -> f64| terms.iter().map(part).fold(0.0, f64::max);
        Self { value: most(|term| term.value), error: most(|term| term.error) }
    }
}

/// Asserts that each number is within its bound, and returns how much of one was used at most. NaN is within none.
#[track_caller]
pub fn assert_within(what: &str, found: &[f64], bounds: &[Bounded]) -> f64 {
    assert_eq!(found.len(), bounds.len(), "{what}: lengths differ");
    let mut most = 0.0_f64;
    for (index, (&found, bound)) in found.iter().zip(bounds).enumerate() {
        let allowed = bound.error + UNDERFLOW;
        assert!(allowed.is_finite(), "{what}[{index}]: a bound of {allowed} proves nothing");
        let used = (found - bound.value).abs() / allowed;
        assert!(used <= 1.0, "{what}[{index}]: found {found}, expected {bound:?}, {used:.3} of the bound");
        most = most.max(used);
    }
    most
}

/// f32 numbers as f64.
#[must_use]
pub fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

/// `A_h[t, i]` of the window, `[H][w][n]`.
///
/// A logit is a sum of `d` products; scaled to an exponent of two it is off by `eta`, which counts the roundings of the
/// scale, of the row's largest exponent and of their difference. The largest logit itself cancels: numerator and sum
/// are relative to the same one. The sum gathers the errors of its terms by their weight, and on top those of adding
/// them up and of rescaling when a larger logit comes: at most once for every 8 keys and for each part that is joined.
#[must_use]
pub fn weights(layer: &Layer, scale: f64, queries: &[Vec<f64>], keys: &[Vec<f64>]) -> Vec<Vec<Vec<Bounded>>> {
    let shape = layer.shape;
    let head = |head: QueryHead| {
        let key = &keys[shape.kv_head_of(head).0];
        (0..shape.window_len).map(|t| row(layer, scale, head, t, &queries[head.0], key)).collect()
    };
    shape.query_heads().map(head).collect()
}

fn row(layer: &Layer, scale: f64, head: QueryHead, t: usize, query: &[f64], key: &[f64]) -> Vec<Bounded> {
    let LayerShape { head_dim: d, context_len: n, .. } = layer.shape;
    let exponent = scale * std::f64::consts::LOG2_E;
    let weight = |i: usize| layer.attention.weights[head.0][(t, i)];
    let visible = layer.shape.candidate_len() + t + 1;
    let size = |i: usize| -> f64 {
        let pairs = query[t * d..][..d].iter().zip(&key[i * d..][..d]);
        exponent * pairs.map(|(q, k)| (q * k).abs()).sum::<f64>()
    };
    let sizes: Vec<f64> = (0..visible).map(size).collect();
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    // The exponent is the product (d terms), times the scale, less the largest, which is below `largest`.
    let eta = |i: usize| drift(d, 2.0 * U) * sizes[i] + drift(4, U) * (sizes[i] + largest);
    let term = |i: usize| (std::f64::consts::LN_2 * eta(i) + EX2).exp_m1();
    let rescalings = n / 8 + 160;
    let rescaled = drift(rescalings, EX2 + 2.0 * U) + (std::f64::consts::LN_2 * 4.0 * U * largest).exp_m1();
    let of_sum = (0..visible).map(|i| weight(i) * term(i)).sum::<f64>() + rescaled + drift(n, U);
    let bound = |i: usize| {
        let relative = (1.0 + term(i)) / (1.0 - of_sum) - 1.0;
        Bounded { value: weight(i), error: weight(i) * relative }.rounded(3, U)
    };
    (0..n).map(|i| if i < visible { bound(i) } else { Bounded::exact(0.0) }).collect()
}

/// `norm2(v_i W_h)` as `norm2(v_i T_h)` for one query head, from the exact one.
///
/// With `|y - v T| <= (theta + drift) |v| |T|` entry by entry, the norm is off by that times `norm2(v) norm_F(W)`.
#[must_use]
pub fn value_norm(
    format: Format,
    head_dim: usize,
    norm: f64,
    value_norm: f64,
    projection_norm: f64,
) -> Bounded {
    let theta = factor_rounding(format) + drift(2 * head_dim, 2.0 * U);
    Bounded { value: norm, error: theta * value_norm * projection_norm }.rounded(head_dim + 4, U)
}

/// The relative error of a rounded `T`. Two bf16 parts have 16 bits and two f16 parts 22. Subnormal f16 parts are 2^-39 below
/// the largest entry.
#[must_use]
pub fn factor_rounding(format: Format) -> f64 {
    match format {
        Format::Bf16 => 2.0_f64.powi(-16),
        Format::F16 => 2.0_f64.powi(-22) + 2.0_f64.powi(-39),
        Format::F32 => U,
    }
}
