//! The relaxation over the candidates of one working set, solved to rounding.
//!
//! ```text
//! minimise x^T M x + linear   subject to 0 <= x <= 1, sum x fixed
//! ```
//!
//! At the optimum the half gradient `g = M x + linear / 2` has one level `nu` on all free candidates, `0 < x < 1`, is
//! at least `nu` where `x = 0` and at most `nu` where `x = 1`. The attention sinks' entries of `M` are thousands of
//! times the others', so steps between pairs of candidates get near fast and then crawl. So they only begin the search,
//! and an active-set method ends it. It takes a Newton step on the free candidates,
//!
//! ```text
//! d = -(u - nu v),    M_FF u = g_F,    M_FF v = 1,    nu = sum u / sum v,
//! ```
//!
//! as far as the bounds allow. Candidates that meet a bound are no longer free, and those whose gradients contradict
//! the level most become free.

use nalgebra::{Cholesky, DMatrix, DVector};

use super::block::Block;
use super::relax::keep_first;
use super::stop::Stop;

/// How many candidates become free at once, on either side.
const ENTERING: usize = 4;

/// The additions that keep a singular `M_FF` factorable, relative to a candidate's own diagonal entry and to the
/// largest one. A step is then a proximal one, and steps are repeated until nothing moves.
const REGULARISATION: (f64, f64) = (1e-11, 1e-14);

/// Shares of one working set on their way to the optimum.
pub struct ActiveSet<'a> {
    block: &'a Block,
    /// The shares.
    pub x: Vec<f64>,
    /// Half the gradient on these candidates, with the share of the candidates outside in it.
    pub gradient: Vec<f64>,
    free: Vec<usize>,
}

impl<'a> ActiveSet<'a> {
    /// Starts from shares and the half gradient there.
    #[must_use]
    pub fn new(block: &'a Block, x: Vec<f64>, gradient: Vec<f64>) -> Self {
        Self { block, x, gradient, free: Vec::new() }
    }

    /// Improves the shares until no gradient of a candidate that can fall exceeds that of one that can rise by more
    /// than the threshold, or the search has to end; false if nothing moved.
    pub fn solve(&mut self, threshold: f64, stop: Stop) -> bool {
        let approached = self.pairwise_steps(threshold, stop);
        self.newton_steps(threshold, stop) || approached
    }

    /// The least gradient of a candidate that can rise, and the largest of one that can fall; at the optimum they do not
    /// cross.
    fn extremes(&self) -> Option<(f64, f64)> {
        let gradient = |candidate: usize| self.gradient[candidate];
        Some((self.rising().map(gradient).reduce(f64::min)?, self.falling().map(gradient).reduce(f64::max)?))
    }

    fn rising(&self) -> impl Iterator<Item = usize> {
        (0..self.x.len()).filter(|&candidate| self.x[candidate] < 1.0)
    }

    fn falling(&self) -> impl Iterator<Item = usize> {
        (0..self.x.len()).filter(|&candidate| self.x[candidate] > 0.0)
    }

    /// Exact steps between two candidates: the one with the least gradient rises, the one that then gains most falls.
    fn pairwise_steps(&mut self, threshold: f64, stop: Stop) -> bool {
        let mut moved = false;
        for _ in 0..2 * self.x.len() {
            let Some((rising, falling)) = self.steepest_pair(threshold) else { break };
            let slope = self.gradient[falling] - self.gradient[rising];
            let curvature = self.block.curvature(rising, falling).max(f64::MIN_POSITIVE);
            let step = (slope / curvature).min(1.0 - self.x[rising]).min(self.x[falling]);
            if step <= 0.0 || stop.is_due() {
                break;
            }
            self.x[rising] = if step == 1.0 - self.x[rising] { 1.0 } else { self.x[rising] + step };
            self.x[falling] -= step;
            self.block.shift(&mut self.gradient, rising, step);
            self.block.shift(&mut self.gradient, falling, -step);
            moved = true;
        }
        moved
    }

    fn steepest_pair(&self, threshold: f64) -> Option<(usize, usize)> {
        let rising = self.rising().min_by(|&one, &two| self.gradient[one].total_cmp(&self.gradient[two]))?;
        let gain = |candidate: usize| {
            let slope = self.gradient[candidate] - self.gradient[rising];
            if slope <= threshold {
                0.0
            } else {
                slope * slope / self.block.curvature(rising, candidate).max(f64::MIN_POSITIVE)
            }
        };
        let falling = self.falling().map(|candidate| (candidate, gain(candidate)));
        let best = falling.max_by(|one, two| one.1.total_cmp(&two.1))?;
        (best.1 > 0.0).then_some((rising, best.0))
    }

    fn newton_steps(&mut self, threshold: f64, stop: Stop) -> bool {
        self.free = (0..self.x.len()).filter(|&i| self.x[i] > 0.0 && self.x[i] < 1.0).collect();
        let (mut moved, mut before) = (false, f64::INFINITY);
        // Every step lowers the value or shortens the list of free candidates; the limit guards against rounding.
        for _ in 0..8 * self.x.len() + 16 {
            if stop.is_due() {
                break;
            }
            if let Some(step) = self.newton_step() {
                moved |= step.length > 0.0;
                if step.blocked {
                    continue;
                }
            }
            let Some((least, most)) = self.extremes().filter(|(least, most)| most - least > threshold) else {
                break;
            };
            // With nothing to free, only the error of a regularised step is left.
            if !self.enter(least, most, threshold) && most - least > 0.5 * before {
                break;
            }
            before = most - least;
        }
        moved
    }

    /// One Newton step on the free candidates, up to the first bound; `None` if it has no direction.
    fn newton_step(&mut self) -> Option<Step> {
        let direction = self.direction()?;
        let limit = |candidate: usize, change: f64| match change.partial_cmp(&0.0) {
            Some(std::cmp::Ordering::Greater) => (1.0 - self.x[candidate]) / change,
            Some(std::cmp::Ordering::Less) => -self.x[candidate] / change,
            _ => f64::INFINITY,
        };
        let limits: Vec<f64> =
            self.free.iter().zip(&direction).map(|(&candidate, &change)| limit(candidate, change)).collect();
        let length = limits.iter().copied().fold(1.0, f64::min);
        for (index, &candidate) in self.free.iter().enumerate() {
            let target = match (limits[index] <= length, direction[index] > 0.0) {
                (false, _) => (self.x[candidate] + length * direction[index]).clamp(0.0, 1.0),
                (true, true) => 1.0,
                (true, false) => 0.0,
            };
            self.block.shift(&mut self.gradient, candidate, target - self.x[candidate]);
            self.x[candidate] = target;
        }
        let before = self.free.len();
        let x = &self.x;
        self.free.retain(|&candidate| x[candidate] > 0.0 && x[candidate] < 1.0);
        Some(Step { length, blocked: self.free.len() < before })
    }

    /// `d` on the free candidates, with `sum d = 0`.
    fn direction(&self) -> Option<Vec<f64>> {
        if self.free.len() < 2 {
            return None;
        }
        let mut solved = Vec::new();
        let mut rest = self.free.as_slice();
        while let Some(&first) = rest.first() {
            let (block, _) = self.block.place(first);
            let len = rest.iter().take_while(|&&candidate| self.block.place(candidate).0 == block).count();
            solved.extend(self.solve_block(block, &rest[..len])?);
            rest = &rest[len..];
        }
        let (sum_u, sum_v) = solved.iter().fold((0.0, 0.0), |sums, (u, v)| (sums.0 + u, sums.1 + v));
        let level = sum_u / sum_v;
        let direction: Vec<f64> = solved.iter().map(|(u, v)| level * v - u).collect();
        direction.iter().all(|change| change.is_finite()).then_some(direction)
    }

    /// `(u, v)` with `M_FF u = g_F` and `M_FF v = 1` on the free candidates of one block.
    fn solve_block(&self, block: usize, candidates: &[usize]) -> Option<Vec<(f64, f64)>> {
        let matrix = &self.block.blocks()[block];
        let rows: Vec<usize> = candidates.iter().map(|&candidate| self.block.place(candidate).1).collect();
        let mut free = DMatrix::from_fn(rows.len(), rows.len(), |i, j| matrix[(rows[i], rows[j])]);
        let largest = free.diagonal().max();
        for i in 0..rows.len() {
            free[(i, i)] += REGULARISATION.0 * free[(i, i)] + REGULARISATION.1 * largest;
        }
        let factor = Cholesky::new(free)?;
        let gradients = candidates.iter().map(|&i| self.gradient[i]);
        let u = factor.solve(&DVector::from_iterator(candidates.len(), gradients));
        let v = factor.solve(&DVector::from_element(candidates.len(), 1.0));
        Some(u.iter().copied().zip(v.iter().copied()).collect())
    }

    /// Frees the candidates that contradict the others most; false if all of them are free already.
    fn enter(&mut self, least: f64, most: f64, threshold: f64) -> bool {
        let gradient = &self.gradient;
        let mut rising: Vec<usize> = self.rising().filter(|&i| most - gradient[i] > threshold).collect();
        let mut falling: Vec<usize> = self.falling().filter(|&i| gradient[i] - least > threshold).collect();
        keep_first(&mut rising, ENTERING, |&one, &two| gradient[one].total_cmp(&gradient[two]));
        keep_first(&mut falling, ENTERING, |&one, &two| gradient[two].total_cmp(&gradient[one]));
        let before = self.free.len();
        self.free.extend(rising.into_iter().chain(falling));
        self.free.sort_unstable();
        self.free.dedup();
        self.free.len() > before
    }
}

/// The result of a Newton step.
struct Step {
    /// The share of the step that was taken.
    length: f64,
    /// Whether a candidate met its bound.
    blocked: bool,
}
