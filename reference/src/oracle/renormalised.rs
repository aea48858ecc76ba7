//! A good set for the `renormalised` objective: swaps until none among the most promising slots lowers the error.
//!
//! Dividing by the retained mass makes the objective a ratio, so there is no quadratic form and no bound to prove. The
//! search can only make good moves. In shares `q_{h,i}[t]` of the retained mass (see the module `state`), evicting slot
//! `j` and retaining slot `i` moves row `t` of query head `h` by exactly
//!
//! ```text
//! c_h[t] = (q_i (v_i - mean_h[t]) - q_j (v_j - mean_h[t])) / (1 + q_i - q_j)
//! ```
//!
//! (`q = 0` for a slot of another KV head), and the squared error by
//!
//! ```text
//! 2 <R, sum_h c_h W_h> + norm_F(sum_h c_h W_h)^2,    R = sum_h (mean_h - o_h) W_h
//! ```
//!
//! (module `change`); head-wise, `R` and the norm are taken head by head and added. A round ranks all slots by the
//! change that flipping each alone makes, and tries every pair of the best on either side. It applies the best swaps
//! one by one, each only if the error, computed anew from the logits, falls. Other swaps may still lower it: the result need not
//! be a local optimum.

mod change;
mod state;

use crate::layer::Layer;
use crate::retained::LayerRetained;
use crate::shape::KvHead;

use super::relax::keep_first;
use super::stop::Stop;
use crate::output_error::Form;
use change::{ChosenPairs, GroupGrams, flip_changes};
use state::State;

/// A cache entry of the layer: its KV head and its position.
type Slot = (KvHead, usize);

/// A swap must lower the squared error by more than this share of it; less is rounding.
const LEAST_GAIN: f64 = 1e-12;

/// A swap must leave every row of every head more than this share of the mass it had.
///
/// `1 + q_i - q_j` is off by up to its terms' rounding, so at this share the change still has 32 of its 53 bits. A
/// swap that empties a row further is not considered.
const LEAST_SHARE: f64 = 1.0 / (1 << 20) as f64;

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many slots a round looks at on either side; it tries all their pairs.
    pub slots: usize,
    /// The most rounds.
    pub rounds: usize,
    /// Ends the search early.
    pub stop: Stop,
}

impl Default for Limits {
    fn default() -> Self {
        Self { slots: 32, rounds: 200, stop: Stop::NEVER }
    }
}

/// The candidates that each KV head retains, ascending, after swaps have stopped lowering the `renormalised` error of
/// the layer; swaps may cross its KV heads. The error is never above the start's.
#[must_use]
pub fn improve(layer: &Layer, form: Form, start: LayerRetained<'_>) -> Vec<Vec<u32>> {
    improve_within(layer, form, start, Limits::default()).retained
}

/// The set in which a search ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Improved {
    /// The candidates that each KV head retains, ascending.
    pub retained: Vec<Vec<u32>>,
    /// Whether no promising swap was left. If not, the limit of rounds or a [`Stop`] ended the search.
    pub ended: bool,
}

/// [`improve`] within given limits.
#[must_use]
pub fn improve_within(layer: &Layer, form: Form, start: LayerRetained<'_>, limits: Limits) -> Improved {
    let Some(grams) = GroupGrams::new(layer, form, limits.stop) else {
        let retained = layer.shape.kv_heads().map(|head| candidates(layer, start.head(head))).collect();
        return Improved { retained, ended: false };
    };
    let keeps = layer.shape.kv_heads().map(|head| start.keeps(head)).collect();
    let mut search = Search { state: State::new(layer, form, keeps), grams, limits };
    let exhausted = (0..limits.rounds).any(|_| limits.stop.is_due() || !search.round());
    Improved { retained: search.state.retained(), ended: exhausted && !limits.stop.is_due() }
}

/// Those of some positions that are candidates.
fn candidates(layer: &Layer, positions: &[u32]) -> Vec<u32> {
    let len = layer.shape.candidate_len();
    positions.iter().copied().filter(|&position| (position as usize) < len).collect()
}

struct Search<'a> {
    state: State<'a>,
    grams: GroupGrams<'a>,
    limits: Limits,
}

impl Search<'_> {
    /// Looks for swaps and applies them; false if no swap of shortlisted slots lowers the error.
    fn round(&mut self) -> bool {
        let mut used = Vec::new();
        for (evict, retain) in self.improving_swaps() {
            if self.limits.stop.is_due() {
                break;
            }
            if used.contains(&evict) || used.contains(&retain) {
                continue;
            }
            let swapped = self.state.swapped(evict, retain);
            let lowered = swapped.squared_error < (1.0 - LEAST_GAIN) * self.state.squared_error;
            if lowered {
                self.state.accept(evict, retain, swapped);
            }
            // The changes are those of the state in which the round began; a slot whose swap was overtaken by
            // another waits for the next round.
            if lowered || !used.is_empty() {
                used.extend([evict, retain]);
            }
        }
        !used.is_empty()
    }

    /// The shortlisted slots' swaps `(evict, retain)` that lower the error, the best first.
    fn improving_swaps(&self) -> Vec<(Slot, Slot)> {
        let (leaving, entering) = self.shortlists();
        let slots: Vec<Slot> = leaving.iter().chain(&entering).copied().collect();
        let pairs = ChosenPairs::new(&self.state, &slots);
        let mut swaps = Vec::new();
        for (evict, &leaving_slot) in leaving.iter().enumerate() {
            for (retain, &entering_slot) in entering.iter().enumerate() {
                let change = pairs.swap_change(evict, leaving.len() + retain);
                if change.is_some_and(|change| -change > LEAST_GAIN * self.state.squared_error) {
                    swaps.push((change, leaving_slot, entering_slot));
                }
            }
        }
        swaps.sort_by(|one, two| one.partial_cmp(two).expect("changes that lower the error are numbers"));
        swaps.into_iter().map(|(_, evict, retain)| (evict, retain)).collect()
    }

    /// The retained and the evicted slots that leave the least error when flipped alone, in order.
    fn shortlists(&self) -> (Vec<Slot>, Vec<Slot>) {
        let candidate_len = self.state.layer.shape.candidate_len();
        let changes = flip_changes(&self.state, &self.grams);
        let slot_at = |index: usize| (KvHead(index / candidate_len), index % candidate_len);
        let (retained, evicted): (Vec<usize>, Vec<usize>) =
            (0..changes.len()).partition(|&index| self.state.keeps(slot_at(index)));
        let best = |mut side: Vec<usize>| {
            keep_first(&mut side, self.limits.slots, |&one, &two| changes[one].total_cmp(&changes[two]));
            side.sort_unstable();
            side.into_iter().map(slot_at).collect()
        };
        (best(retained), best(evicted))
    }
}
