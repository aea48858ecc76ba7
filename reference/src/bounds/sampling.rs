//! B4 and B5: the product from randomly drawn pairs, the algorithm whose probabilities the scores are.
//!
//! Drineas, Kannan and Mahoney (2006), Fast Monte Carlo algorithms for matrices I, SIAM J. Comput. 36(1), draw `c` of the
//! column-row pairs of a product independently, with replacement, with probabilities `P_k`, and rescale each by
//! `1 / (c P_k)`. Here the product is `O`, and its `N = H n` pairs are those of all heads and positions of the layer, the
//! window's among them. `c` is the number of pairs that the evaluated eviction retains. All of this is about random,
//! rescaled draws: it says nothing about keeping the top of a ranking.

use nalgebra::DVector;
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand_chacha::ChaCha8Rng;

use super::bound::{Bound, Evidence, FALSE_ALARM_RATE};
use super::case::{Case, Draws, HeadPairs, LayerPairs};
use super::chance::{
    Exponential, bounded_p_bound, distance, frequency_p_value, least_visible, mean, student_p_value,
};
use crate::rounding::gamma;

/// B4 and B5. Statements about the same probabilities share their draws.
#[must_use]
pub fn checks(case: &Case<'_>) -> Vec<Bound> {
    let draw = |probabilities, stream| {
        Trials::new(case.pairs, probabilities, case.retained_pairs(), case.draws, stream)
    };
    let proportional = draw(proportional(case.pairs), 0);
    let uniform = draw(uniform(case.pairs), 1);
    vec![
        unbiased(case.pairs, &proportional),
        expected_error("B4b", EXPECTED_PROPORTIONAL, case.pairs, &proportional),
        expected_error("B4c", EXPECTED_UNIFORM, case.pairs, &uniform),
        least_expected_error(case.pairs, &proportional, &uniform),
        mean_error("B4e", "mean over trials of norm(C - O)^2 = B4b", case.pairs, &proportional),
        mean_error("B4f", "mean over trials of norm(C - O)^2 = B4c", case.pairs, &uniform),
        tail(case.pairs, &proportional),
    ]
}

const EXPECTED_PROPORTIONAL: &str = "sum P norm(pair/P - O)^2/c = ((sum p)^2 - norm(O)^2)/c, P = p/sum p";
const EXPECTED_UNIFORM: &str = "sum P norm(pair/P - O)^2/c = sum p^2/(c P) - norm(O)^2/c, P uniform";

/// `P_k = p_k / sum p`, the probabilities with the least expected error; uniform if every `p` is 0.
#[must_use]
pub fn proportional(pairs: &LayerPairs<'_>) -> Vec<f64> {
    let sum = pairs.score_sum();
    if sum > 0.0 { flat(pairs, |head, i| head.scores[i] / sum) } else { uniform(pairs) }
}

/// `P_k = 1 / N`.
#[must_use]
pub fn uniform(pairs: &LayerPairs<'_>) -> Vec<f64> {
    let shape = pairs.layer.shape;
    let count = shape.query_heads * shape.context_len;
    vec![1.0 / count as f64; count]
}

/// One number per pair, head by head.
fn flat(pairs: &LayerPairs<'_>, number: impl Fn(&HeadPairs, usize) -> f64) -> Vec<f64> {
    let of = |head| (0..pairs.layer.shape.context_len).map(|i| number(head, i)).collect::<Vec<_>>();
    pairs.heads.iter().flat_map(of).collect()
}

/// Independent estimates `C = sum over c draws of a_k b_k^T / (c P_k)` of `O`.
#[derive(Clone, Debug)]
pub struct Trials {
    /// `P_k`, by query head and position.
    pub probabilities: Vec<f64>,
    /// `c`.
    pub drawn: usize,
    /// `norm_F(C - O)^2` of each estimate.
    pub squared_errors: Vec<f64>,
    /// `<C, O>` of each estimate.
    pub projections: Vec<f64>,
}

impl Trials {
    /// Draws the estimates; layers and values of `stream` below 8 draw from different streams of the seed.
    ///
    /// # Panics
    /// When the probabilities are negative or all 0.
    #[must_use]
    pub fn new(
        pairs: &LayerPairs<'_>,
        probabilities: Vec<f64>,
        drawn: usize,
        draws: Draws,
        stream: u64,
    ) -> Self {
        let distribution = WeightedIndex::new(&probabilities).expect("probabilities of at least one pair");
        let mut generator = ChaCha8Rng::seed_from_u64(draws.seed);
        generator.set_stream(pairs.layer.index.0 as u64 * 8 + stream);
        let mut trials = Self { probabilities, drawn, squared_errors: Vec::new(), projections: Vec::new() };
        for _ in 0..draws.trials {
            let estimate = pairs.weighted_sum(&trials.weights(pairs, &distribution, &mut generator));
            trials.squared_errors.push((&estimate - &pairs.output).norm_squared());
            trials.projections.push(estimate.dot(&pairs.output));
        }
        trials
    }

    /// `(times that pair k was drawn) / (c P_k)`, by query head.
    fn weights(
        &self,
        pairs: &LayerPairs<'_>,
        distribution: &WeightedIndex<f64>,
        generator: &mut ChaCha8Rng,
    ) -> Vec<DVector<f64>> {
        let context = pairs.layer.shape.context_len;
        let mut weights = vec![DVector::zeros(context); pairs.heads.len()];
        for pair in distribution.sample_iter(generator).take(self.drawn) {
            weights[pair / context][pair % context] += 1.0 / (self.drawn as f64 * self.probabilities[pair]);
        }
        weights
    }

    /// `sum_k p_k^2 / (c P_k) - norm_F(O)^2 / c`, pairs of norm 0 left out.
    #[must_use]
    pub fn expected_squared_error(&self, pairs: &LayerPairs<'_>) -> f64 {
        let squares = self.sum_over_probability(&flat(pairs, |head, i| head.scores[i]));
        (squares - pairs.output.norm_squared()) / self.drawn as f64
    }

    /// Every pair that can be drawn, measured without its `p`.
    fn outcomes(&self, pairs: &LayerPairs<'_>) -> Vec<Outcome> {
        let along = pairs.inner_products(&pairs.output);
        let norms = pairs.norms();
        let output = pairs.output.norm_squared();
        let outcome = |((&probability, norm), along): ((&f64, &f64), &f64)| {
            let (norm, along) = (norm / probability, along / probability);
            Outcome { probability, along, squared_error: norm * norm - 2.0 * along + output }
        };
        let norms = norms.iter().flat_map(|head| head.iter());
        let along = along.iter().flat_map(|head| head.iter());
        let pairs = self.probabilities.iter().zip(norms).zip(along);
        pairs.filter(|((probability, _), _)| **probability > 0.0).map(outcome).collect()
    }

    /// Bounds on the distribution of one trial's squared error.
    fn spread(&self, pairs: &LayerPairs<'_>) -> Exponential {
        let outcomes = self.outcomes(pairs);
        let fourth: f64 = outcomes.iter().map(|one| one.probability * one.squared_error.powi(2)).sum();
        let largest = outcomes.iter().map(|one| one.squared_error).fold(0.0, f64::max);
        let (mean, drawn) = (self.expected_squared_error(pairs).max(0.0), self.drawn as f64);
        Exponential {
            mean,
            second_moment: 3.0 * mean * mean + fourth / drawn.powi(3),
            scale: 2.0 * mean + 2.0 * largest / (3.0 * drawn),
        }
    }

    /// `sum_k number_k^2 / P_k`.
    fn sum_over_probability(&self, numbers: &[f64]) -> f64 {
        let terms = numbers.iter().zip(&self.probabilities).filter(|(_, probability)| **probability > 0.0);
        terms.map(|(number, probability)| number * number / probability).sum()
    }

    /// How far rounding may have moved one estimate: `gamma_k` times its magnitude, which is at most
    /// `max over k of norm2(a_k) norm2(|v_k| |W_h|) / P_k`, and as much for `O` itself.
    fn estimate_rounding(&self, pairs: &LayerPairs<'_>) -> f64 {
        let magnitudes = flat(pairs, |head, i| head.magnitudes[i]);
        let largest = magnitudes
            .iter()
            .zip(&self.probabilities)
            .map(|(magnitude, probability)| if *probability > 0.0 { magnitude / probability } else { 0.0 });
        let whole: f64 = magnitudes.iter().sum();
        self.rounding(pairs) * (largest.fold(0.0, f64::max) + whole)
    }

    /// How far rounding may have moved [`Trials::expected_squared_error`].
    fn expectation_rounding(&self, pairs: &LayerPairs<'_>) -> f64 {
        let magnitudes = flat(pairs, |head, i| head.magnitudes[i]);
        let output: f64 = magnitudes.iter().sum();
        let squares = self.sum_over_probability(&magnitudes);
        4.0 * self.rounding(pairs) * (squares + output * output) / self.drawn as f64
    }

    fn rounding(&self, pairs: &LayerPairs<'_>) -> f64 {
        gamma(pairs.terms() + pairs.output.len() + self.probabilities.len() + self.squared_errors.len())
    }
}

/// A pair that can be drawn.
struct Outcome {
    /// `P_k`.
    probability: f64,
    /// `<a_k b_k^T, O> / P_k`.
    along: f64,
    /// `norm_F(a_k b_k^T / P_k - O)^2`.
    squared_error: f64,
}

/// `E <C, O> = norm_F(O)^2`: the estimate is unbiased, seen along `O`
///
/// Each draw's expectation is `sum_k P_k a_k b_k^T / (c P_k) = O / c` (Drineas, Kannan, Mahoney 2006, lemma 3). The
/// left side is the mean over the trials, that is, over all their draws. Bernstein's inequality bounds its distance
/// from the expectation, with the exact variance and range of `<a_k b_k^T, O> / P_k`.
#[must_use]
pub fn unbiased(pairs: &LayerPairs<'_>, trials: &Trials) -> Bound {
    let right = pairs.output.norm_squared();
    let error = trials.estimate_rounding(pairs);
    let distance = distance(&trials.projections, right, 4.0 * error * (right.sqrt() + error));
    let outcomes = trials.outcomes(pairs);
    let range = outcomes.iter().map(|one| (one.along - right).abs()).fold(0.0, f64::max);
    let variance: f64 = outcomes.iter().map(|one| one.probability * (one.along - right).powi(2)).sum();
    let count = (trials.projections.len() * trials.drawn) as f64;
    let p_bound = |distance| bounded_p_bound(distance, count, variance, range);
    Bound {
        id: "B4a",
        statement: "E <C, O> = norm(O)^2, P = p/sum p",
        left: mean(&trials.projections),
        right,
        evidence: Evidence::Chance {
            p_value: student_p_value(&trials.projections, distance),
            p_bound: p_bound(distance),
            resolution: resolution(right, [&p_bound]),
        },
    }
}

/// `sum_k P_k norm_F(a_k b_k^T / P_k - O)^2 / c = sum_k p_k^2 / (c P_k) - norm_F(O)^2 / c`
///
/// Both are `E norm_F(C - O)^2`. The `c` draws are independent, so it is `1/c` times the expected squared error of one draw, the
/// left side, whose second moment is `sum_k P_k (p_k / P_k)^2` and whose mean is `O` (Drineas, Kannan, Mahoney 2006, lemma
/// 4). With `P_k = p_k / sum p` it is `((sum p)^2 - norm_F(O)^2) / c`. The left side sums over all pairs that can be drawn,
/// each measured by [`LayerPairs::norms`] and [`LayerPairs::inner_products`], which use no `p` and no `b`.
#[must_use]
pub fn expected_error(
    id: &'static str,
    statement: &'static str,
    pairs: &LayerPairs<'_>,
    trials: &Trials,
) -> Bound {
    let outcomes = trials.outcomes(pairs);
    let expectation: f64 = outcomes.iter().map(|one| one.probability * one.squared_error).sum();
    let (left, right) = (expectation / trials.drawn as f64, trials.expected_squared_error(pairs));
    let (distance, rounding) = ((left - right).abs(), 2.0 * trials.expectation_rounding(pairs));
    Bound { id, statement, left, right, evidence: Evidence::Equal { distance, rounding } }
}

/// `mean over trials of norm_F(C - O)^2 = sum_k p_k^2 / (c P_k) - norm_F(O)^2 / c`, but for chance
///
/// The distance from the right side `mu`, with `Z_k = a_k b_k^T / P_k - O`: the squared error `X` of one trial is the
/// squared norm of a mean of `c` independent `Z`, so `E X^2 <= 3 mu^2 + E norm_F(Z)^4 / c^3` (the cross terms by
/// Cauchy-Schwarz), and `P(X >= x) <= 2 exp(-x / (2 mu + 2 max_k norm_F(Z_k)^2 / (3 c)))`, Bernstein's inequality in a
/// Hilbert space (Pinelis 1994, Ann. Probab. 22(4), theorem 3.4) with `X <= max_k norm_F(Z_k)^2` put in.
///
/// These draws see little: the resolution says how little. [`expected_error`] decides whether the formula is right.
#[must_use]
pub fn mean_error(
    id: &'static str,
    statement: &'static str,
    pairs: &LayerPairs<'_>,
    trials: &Trials,
) -> Bound {
    let right = trials.expected_squared_error(pairs);
    let error = trials.estimate_rounding(pairs);
    let largest = trials.squared_errors.iter().copied().fold(0.0, f64::max).sqrt();
    let rounding = trials.expectation_rounding(pairs) + (2.0 * largest + error) * error;
    let (left, count) = (mean(&trials.squared_errors), trials.squared_errors.len() as f64);
    let distance = distance(&trials.squared_errors, right, rounding);
    let spread = trials.spread(pairs);
    let p_bound = |above| move |distance| spread.p_bound(above, distance, count);
    Bound {
        id,
        statement,
        left,
        right,
        evidence: Evidence::Chance {
            p_value: student_p_value(&trials.squared_errors, distance),
            p_bound: p_bound(left > right)(distance),
            resolution: resolution(right, [&p_bound(false), &p_bound(true)]),
        },
    }
}

/// The largest least visible distance of some bounds on a chance, relative to the right side; `None` if it is infinite.
fn resolution<const N: usize>(right: f64, p_bounds: [&dyn Fn(f64) -> f64; N]) -> Option<f64> {
    let visible = p_bounds.map(|p_bound| least_visible(FALSE_ALARM_RATE, p_bound) / right);
    Some(visible.into_iter().fold(0.0, f64::max)).filter(|resolution| resolution.is_finite())
}

/// `((sum p)^2 - norm_F(O)^2) / c <= sum_k p_k^2 / (c P_k) - norm_F(O)^2 / c`, for the uniform `P`
///
/// By Cauchy-Schwarz, `(sum p)^2 = (sum (p / sqrt P) sqrt P)^2 <= sum p^2 / P` for any probabilities, with equality for
/// those proportional to `p`. The excess of the right side is the gain of the scores over uniform draws.
#[must_use]
pub fn least_expected_error(pairs: &LayerPairs<'_>, proportional: &Trials, other: &Trials) -> Bound {
    Bound {
        id: "B4d",
        statement: "expected squared error of P = p/sum p <= that of P uniform",
        left: proportional.expected_squared_error(pairs),
        right: other.expected_squared_error(pairs),
        evidence: Evidence::AtMost {
            rounding: proportional.expectation_rounding(pairs) + other.expectation_rounding(pairs),
        },
    }
}

/// The `delta` of [`tail`].
pub const TAIL: f64 = 0.05;

/// `norm_F(C - O) <= eta norm_F(A) norm_F(B) / sqrt c` with probability at least `1 - delta`, `eta = 1 + sqrt(8 ln(1 / delta))`
///
/// For `P_k = p_k / sum p` (Drineas, Kannan, Mahoney 2006, theorem 1, with `beta = 1`). The left side is the trials'
/// `1 - delta` quantile. The exact binomial test of how many trials are above the right side decides.
#[must_use]
pub fn tail(pairs: &LayerPairs<'_>, trials: &Trials) -> Bound {
    let square = |norms: &DVector<f64>| norms.norm_squared();
    let attention: f64 = pairs.heads.iter().map(|head| square(&head.attention_norms)).sum();
    let values: f64 = pairs.heads.iter().map(|head| square(&head.value_norms)).sum();
    let eta = 1.0 + (8.0 * (1.0 / TAIL).ln()).sqrt();
    let right = eta * (attention * values / trials.drawn as f64).sqrt();

    let mut errors: Vec<f64> = trials.squared_errors.iter().map(|square| square.sqrt()).collect();
    errors.sort_unstable_by(f64::total_cmp);
    let above = errors.iter().filter(|&&error| error > right).count() as u64;
    let quantile = ((1.0 - TAIL) * errors.len() as f64).ceil() as usize;
    let p_value = frequency_p_value(above, errors.len() as u64, TAIL);
    Bound {
        id: "B5",
        statement: "95 % of norm(C - O) <= eta norm(A) norm(B)/sqrt c, P = p/sum p",
        left: errors[quantile.clamp(1, errors.len()) - 1],
        right,
        // The test is exact, so its p-value is its own bound.
        evidence: Evidence::Chance { p_value, p_bound: p_value, resolution: None },
    }
}
