//! `root of sum_t norm2(sum over the group of A / (1 - A) (b_{h,i} - o_{h,t}))^2`: the exact `renormalised` error of evicting
//! one slot.
//!
//! In the group's coordinates `b_{h,i} - o_{h,t}` is `(v_i - c_{h,t}) L_h`, with `c_{h,t}` the row's average value. If a
//! position weighs more than one half, `1 - A` keeps no digits. Then
//!
//! ```text
//! A / (1 - A) (v_i - c) = A (v_i - c'),    c' the average without position i
//! ```
//!
//! is used. At most one position per row is that heavy, so one more pass over the keys gives `c'` for all rows at once.

use laprox_reference::{KvHead, LayerProblem};
use pulp::{Simd, WithSimd};

use crate::attend::{BLOCK, GroupQueries};
use crate::average::{Keys, average};
use crate::columns::Scored;
use crate::group::GroupFactor;
use crate::held::{Attention, Chunk, Held, WEIGHT_SCALE};
use crate::simd::widen::{Source, power_of_two};
use crate::simd::{Buffer, Level, ROWS, Rows};

/// The centres of every lane's row, in the group's coordinates, `[lanes, width]` each.
pub struct Centres {
    /// `c L_h`.
    averages: Buffer,
    /// `c' L_h`, of lanes with a position that weighs more than one half.
    without: Buffer,
    /// That position.
    heaviest: Vec<Option<u32>>,
}

impl Centres {
    /// The centres of one KV head's group, from its held weights, divided by `unit`, a power of two.
    #[must_use]
    pub fn new(
        level: Level,
        problem: &LayerProblem<'_>,
        kv_head: KvHead,
        held: &Held,
        factor: &GroupFactor,
        unit: f64,
    ) -> Self {
        let queries = held.queries();
        let heaviest = held.heavier_than_half(level);
        let seen: Vec<u32> = (0..problem.shape().candidate_len() as u32).collect();
        let keys = Keys { seen: &seen, own: Some(problem.shape().candidate_len()), left_out: &heaviest };
        let without = average(level, problem, kv_head, queries, keys);
        let values = problem.activations().value.outer(kv_head.0);
        let head_dim = queries.head_dim;
        let mut rows = [
            Buffer::filled(queries.lanes() * head_dim, 0.0),
            Buffer::filled(queries.lanes() * head_dim, 0.0),
        ];
        for (lane, position) in heaviest.iter().enumerate() {
            let others: Vec<f64> = without.average(lane).take(head_dim).collect();
            let (share, own) = match position {
                Some(position) => {
                    let first = *position as usize * head_dim;
                    let own = values.slice(first..first + head_dim).to_f64();
                    (held.share_beside(lane, &without.state), own)
                }
                None => (0.0, vec![0.0; head_dim]),
            };
            let range = lane * head_dim..(lane + 1) * head_dim;
            let [averages, without] = &mut rows;
            for ((average, own), other) in
                averages.as_mut_slice()[range.clone()].iter_mut().zip(&own).zip(&others)
            {
                *average = ((share * own + (1.0 - share) * other) / unit) as f32;
            }
            without.as_mut_slice()[range]
                .iter_mut()
                .zip(&others)
                .for_each(|(row, &other)| *row = (other / unit) as f32);
        }
        let [averages, without] =
            rows.map(|rows| level.run(ProjectLanes { queries, factor, rows: rows.as_slice() }));
        Self { averages, without, heaviest }
    }
}

/// `x L_h` for one row `x` per lane of head `h`.
struct ProjectLanes<'a> {
    queries: &'a GroupQueries,
    factor: &'a GroupFactor,
    rows: &'a [f32],
}

impl WithSimd for ProjectLanes<'_> {
    type Output = Buffer;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Buffer {
        let (lanes, width) = (self.queries.lanes(), self.factor.width);
        let mut projected = Buffer::filled(lanes * width * S::F32_LANES, 0.0);
        let (out, _) = S::as_mut_simd_f32s(projected.as_mut_slice());
        let mut tile = vec![[simd.splat_f32s(0.0); ROWS]; width];
        for lane in (0..lanes).step_by(ROWS) {
            for head in
                lane / self.queries.head_lanes..=(lane + ROWS - 1).min(lanes - 1) / self.queries.head_lanes
            {
                let rows = Rows::new(self.rows, lane, lanes, self.queries.head_dim, 1);
                self.factor.project(simd, head, rows, &mut tile);
                for r in (0..ROWS.min(lanes - lane)).filter(|r| (lane + r) / self.queries.head_lanes == head)
                {
                    for (v, registers) in tile.iter().enumerate().take(self.factor.head_width(head)) {
                        out[(lane + r) * width + v] = registers[r];
                    }
                }
            }
        }
        projected
    }
}

/// Scores a chunk of candidates. The scores are times the weights' scale and over the factor's.
pub struct Centred<'a> {
    /// The candidates' attention.
    pub chunk: Chunk<'a>,
    /// The first candidate's position.
    pub first: usize,
    /// The candidates' values.
    pub values: Source<'a>,
    /// The group's factor.
    pub factor: &'a GroupFactor,
    /// The centres of the group's rows.
    pub centres: &'a Centres,
}

impl WithSimd for Centred<'_> {
    type Output = Scored;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Scored {
        let queries = self.chunk.queries;
        let (lanes, head_dim, width) = (queries.lanes(), queries.head_dim, self.factor.width);
        let mut scores = vec![f64::NAN; self.chunk.len()];
        let mut wide = Buffer::filled(BLOCK * head_dim, f32::NAN);
        let mut projected = vec![[simd.splat_f32s(0.0); ROWS]; queries.group_size * width];
        let mut coefficients = vec![[0.0; ROWS]; lanes];
        let (averages, _) = S::as_simd_f32s(self.centres.averages.as_slice());
        let (without, _) = S::as_simd_f32s(self.centres.without.as_slice());
        let mut attention = Attention::default();
        for index in 0..self.chunk.blocks() {
            let (first, block) = (index * BLOCK, self.chunk.attention(simd, index, &mut attention));
            let count = block.len() / lanes;
            let values = self.values.slice(first..first + count);
            values.widen(simd, 0..count, head_dim, wide.as_mut_slice());
            for begin in (0..count).step_by(ROWS) {
                let rows = Rows::new(wide.as_slice(), begin, count, head_dim, 1);
                for (head, projected) in projected.chunks_exact_mut(width).enumerate() {
                    self.factor.project(simd, head, rows, projected);
                }
                let positions: [u32; ROWS] =
                    std::array::from_fn(|r| (self.first + first + (begin + r).min(count - 1)) as u32);
                let mut heavy = false;
                let mut largest = [0.0_f32; ROWS];
                for (lane, coefficients) in coefficients.iter_mut().enumerate() {
                    for r in 0..ROWS {
                        let weight = block[(begin + r).min(count - 1) * lanes + lane];
                        let alone = self.centres.heaviest[lane] == Some(positions[r]);
                        heavy |= alone;
                        coefficients[r] =
                            if alone { weight } else { weight / (1.0 - weight / WEIGHT_SCALE as f32) };
                        largest[r] = largest[r].max(coefficients[r]);
                    }
                }
                // Scaled to the order of 1, so that no square overflows or vanishes.
                let scales = largest.map(|largest| power_of_two(f64::from(largest.max(f32::MIN_POSITIVE))));
                for coefficients in &mut coefficients {
                    coefficients
                        .iter_mut()
                        .zip(scales)
                        .for_each(|(coefficient, scale)| *coefficient *= (1.0 / scale) as f32);
                }
                let change = Change {
                    queries,
                    factor: self.factor,
                    projected: &projected,
                    coefficients: &coefficients,
                    averages,
                    without,
                    heaviest: &self.centres.heaviest,
                    positions,
                };
                let squares =
                    if heavy { change.squares::<true>(simd) } else { change.squares::<false>(simd) };
                let scored = scores[first + begin..first + count].iter_mut().zip(squares).zip(scales);
                for ((score, square), scale) in scored {
                    *score = f64::from(simd.reduce_sum_f32s(square).sqrt()) * scale;
                }
            }
        }
        scores
    }
}

/// The change of the output when each candidate of a tile is evicted alone.
struct Change<'a, S: Simd> {
    queries: &'a GroupQueries,
    factor: &'a GroupFactor,
    projected: &'a [[S::f32s; ROWS]],
    coefficients: &'a [[f32; ROWS]],
    averages: &'a [S::f32s],
    without: &'a [S::f32s],
    heaviest: &'a [Option<u32>],
    positions: [u32; ROWS],
}

impl<S: Simd> Change<'_, S> {
    /// `sum_t norm2(sum_h c_{h,t} (y_h - p_{h,t}))^2` of each candidate, spread over a register. `HEAVY` says whether one of
    /// the candidates weighs more than one half in some row.
    #[inline(always)]
    fn squares<const HEAVY: bool>(&self, simd: S) -> [S::f32s; ROWS] {
        let mut squares = [simd.splat_f32s(0.0); ROWS];
        let width = self.factor.width;
        for row in 0..self.queries.rows {
            for v in 0..width {
                let mut change = [simd.splat_f32s(0.0); ROWS];
                for head in 0..self.factor.group_size() {
                    if v < self.factor.head_width(head) {
                        let lane = head * self.queries.head_lanes + row;
                        let projected = &self.projected[head * width + v];
                        let coefficients = &self.coefficients[lane];
                        let centre = self.averages[lane * width + v];
                        for r in 0..ROWS {
                            let alone = HEAVY && self.heaviest[lane] == Some(self.positions[r]);
                            let centre = if alone { self.without[lane * width + v] } else { centre };
                            let away = simd.sub_f32s(projected[r], centre);
                            change[r] =
                                simd.mul_add_e_f32s(simd.splat_f32s(coefficients[r]), away, change[r]);
                        }
                    }
                }
                for r in 0..ROWS {
                    squares[r] = simd.mul_add_e_f32s(change[r], change[r], squares[r]);
                }
            }
        }
        squares
    }
}
