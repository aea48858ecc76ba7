//! A query group's projected values in common coordinates, in which the `b_{h,i}` of its heads can be added up.
//!
//! The Gram matrix of the group's stacked `W_h` has one factor `L`, `[G d, G d]`. With `L_h` its rows of head `h`,
//! `sum_h x_h W_h` and `sum_h x_h L_h` have the same norm for any `x_h`. Row block `h` ends at column `(h + 1) d`.

use pulp::Simd;

use crate::factor::Factor;
use crate::project::triangle;
use crate::simd::{Level, Panels, ROWS, Rows};

/// The factor of a group, packed head by head.
pub struct GroupFactor {
    heads: Vec<Panels>,
    head_dim: usize,
    /// The factor that undoes the scaling of the packed numbers.
    pub(crate) scale: f64,
    /// Registers per row.
    pub(crate) width: usize,
}

impl GroupFactor {
    /// Packs a factor of `G d` columns.
    #[must_use]
    pub(crate) fn new(level: Level, factor: &Factor, head_dim: usize) -> Self {
        let pack = |first: usize| {
            Panels::pack(level, head_dim, first + head_dim, |k, column| factor.entry(first + k, column))
        };
        let heads: Vec<Panels> = (0..factor.len()).step_by(head_dim).map(pack).collect();
        let width = heads.last().map_or(0, Panels::width);
        Self { heads, head_dim, scale: factor.scale(), width }
    }

    /// `G`.
    #[must_use]
    pub(crate) fn group_size(&self) -> usize {
        self.heads.len()
    }

    /// Registers of the rows of the head at a place in the group. Behind them are zeros.
    #[must_use]
    pub(crate) fn head_width(&self, place: usize) -> usize {
        self.heads[place].width()
    }

    /// `x L_h` of the head at a place in the group, for a tile of rows: register `v` of row `r` goes to `out[v][r]`.
    #[inline(always)]
    pub(crate) fn project<S: Simd>(
        &self,
        simd: S,
        place: usize,
        rows: Rows<'_>,
        out: &mut [[S::f32s; ROWS]],
    ) {
        for (first, wide, panel) in self.heads[place].iter::<S>() {
            let out = &mut out[first..first + wide];
            match wide {
                1 => self.project_panel::<S, 1>(simd, place, rows, panel, first, out),
                2 => self.project_panel::<S, 2>(simd, place, rows, panel, first, out),
                3 => self.project_panel::<S, 3>(simd, place, rows, panel, first, out),
                _ => self.project_panel::<S, 4>(simd, place, rows, panel, first, out),
            }
        }
    }

    #[inline(always)]
    fn project_panel<S: Simd, const C: usize>(
        &self,
        simd: S,
        place: usize,
        rows: Rows<'_>,
        panel: &[S::f32s],
        first: usize,
        out: &mut [[S::f32s; ROWS]],
    ) {
        let above = place * self.head_dim;
        let sums = triangle::<S, C>(simd, rows, panel, first * S::F32_LANES, above, self.head_dim);
        for (r, sums) in sums.iter().enumerate() {
            for (out, &sum) in out.iter_mut().zip(sums) {
                out[r] = sum;
            }
        }
    }
}
