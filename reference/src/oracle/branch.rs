//! Best-first branching: candidates are decided one by one until the relaxation's bound is tight.
//!
//! Every open node carries a lower bound for the sets that respect its decisions. The least of them bounds the best set
//! of all, whenever the search stops. A node is settled once rounding lets its bound get no nearer to the best error:
//! its bound still counts, but it is not split any further. A node that leaves few sets is settled by trying them all.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::collections::BinaryHeap;

use super::bound::{Decision, LowerBound};
use super::convexify::Convexified;
use super::exhaustive::{best_set, set_count};
use super::gram::{PairGram, indicator};
use super::relax::{Effort, Relaxed, relax};
use super::stop::Stop;
use super::swap::{Eviction, round, swap};
use crate::error::Error;

/// The limits of a search.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Stop when the error is within this share of the bound: `norm(Delta) <= (1 + gap) * bound`.
    pub gap: f64,
    /// The most nodes.
    pub nodes: usize,
    /// A node with at most this many sets has them all tried instead of being split.
    pub leaf_sets: usize,
    /// The limits of each relaxation.
    pub effort: Effort,
    /// Whether to relax the convexified form; see [`convexify`](super::convexify).
    pub convexify: bool,
    /// Rounds of swaps after each relaxation.
    pub swap_rounds: usize,
}

/// The most candidates of `oracle:branch-and-bound`.
pub const MOST_CANDIDATES: usize = 512;

/// The nodes after which it ends with what it has: about a minute, at the most candidates.
pub const MOST_NODES: usize = 4096;

impl Limits {
    /// To the optimum, up to rounding, with `block` candidates in the small problems.
    #[must_use]
    pub fn exact(block: usize) -> Self {
        Self {
            // Rounding keeps bound and error apart, and sets that tie would all be searched.
            gap: 1e-9,
            nodes: usize::MAX,
            leaf_sets: 4096,
            effort: Effort { tolerance: 1e-10, products: 10_000, block, stop: Stop::NEVER },
            convexify: true,
            swap_rounds: 100,
        }
    }
}

/// A set, with a proven bound on every set of its size.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The best set found.
    pub eviction: Eviction,
    /// No set of its size has a squared error below this.
    pub squared_lower_bound: f64,
    /// The nodes visited: relaxed, or with all their sets tried.
    pub nodes: usize,
    /// Whether the search ended by itself: the gap is closed as far as it should be. If not, a limit or a [`Stop`] ended it.
    pub ended: bool,
}

impl Certified {
    /// A set of which nothing is known yet: not its error, and no bound but zero.
    #[must_use]
    pub fn unmeasured(evicted: &[usize]) -> Self {
        let eviction = Eviction { evicted: evicted.to_vec(), squared_error: f64::INFINITY };
        Self { eviction, squared_lower_bound: 0.0, nodes: 0, ended: false }
    }

    /// `norm(Delta) / bound - 1`, in norms; 0 if both are 0.
    #[must_use]
    pub fn gap(&self) -> f64 {
        if self.eviction.squared_error <= self.squared_lower_bound {
            0.0
        } else {
            (self.eviction.squared_error / self.squared_lower_bound).sqrt() - 1.0
        }
    }
}

/// A part of the search space.
struct Node {
    decided: Vec<(usize, bool)>,
    relaxed: Relaxed,
}

impl Node {
    fn bound(&self) -> f64 {
        self.relaxed.lower_bound.value
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Node {}

impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Node {
    /// The heap's greatest node is the one with the least bound; ties go to the one decided first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.bound().total_cmp(&self.bound()).then(other.decided.cmp(&self.decided))
    }
}

/// Searches for the best `count` candidates to evict, from the set `start`, and proves how good the result is.
///
/// `watch` receives every new bound and ends the search by returning false, as [`Effort::stop`] does; the result is then
/// still valid.
///
/// # Errors
/// As [`PairGram::product`].
///
/// # Panics
/// When `start` does not hold `count` candidates.
pub fn certify(
    gram: &dyn PairGram,
    count: usize,
    start: &[usize],
    limits: Limits,
    watch: &mut dyn FnMut(&Certified) -> bool,
) -> Result<Certified, Error> {
    assert_eq!(start.len(), count, "the start evicts as many candidates as it should");
    let decisions = vec![Decision::Open; gram.candidates()];
    let best = match swap(gram, &decisions, start, limits.effort, limits.swap_rounds) {
        Err(Error::Stopped) => return Ok(Certified::unmeasured(start)),
        best => best?,
    };
    let x = indicator(gram.candidates(), &best.evicted);
    let mut search = Search {
        gram,
        convexified: if limits.convexify { Convexified::new(gram) } else { Convexified::plain(gram) },
        count,
        limits,
        open: BinaryHeap::new(),
        best,
        started: BTreeSet::new(),
        settled: f64::INFINITY,
        pending: 0.0,
        nodes: 0,
        stopped: false,
        watch,
    };
    match search.run(x) {
        // What was being split keeps its bound.
        Ok(()) | Err(Error::Stopped) => Ok(search.state()),
        Err(error) => Err(error),
    }
}

struct Search<'a> {
    gram: &'a dyn PairGram,
    /// The form that is relaxed: the same on sets, with less slack between them.
    convexified: Convexified<'a>,
    count: usize,
    limits: Limits,
    open: BinaryHeap<Node>,
    best: Eviction,
    /// The sets from which swaps have started.
    started: BTreeSet<Vec<usize>>,
    /// The least bound of the nodes that are settled.
    settled: f64,
    /// The bound of the node that is being split.
    pending: f64,
    nodes: usize,
    stopped: bool,
    watch: &'a mut dyn FnMut(&Certified) -> bool,
}

impl Search<'_> {
    fn run(&mut self, x: Vec<f64>) -> Result<(), Error> {
        self.solve(Vec::new(), x, 0.0)?;
        self.pending = f64::INFINITY;
        while self.step()? {}
        Ok(())
    }

    fn state(&self) -> Certified {
        let least = self.open.peek().map_or(f64::INFINITY, Node::bound);
        let bound = least.min(self.settled).min(self.pending).min(self.best.squared_error);
        let (eviction, nodes) = (self.best.clone(), self.nodes);
        let state = Certified { eviction, squared_lower_bound: bound, nodes, ended: false };
        let searched = self.open.is_empty() && self.pending == f64::INFINITY && !self.stopped;
        Certified { ended: searched || state.gap() <= self.limits.gap, ..state }
    }

    fn is_stopped(&self) -> bool {
        self.stopped || self.limits.effort.stop.is_due()
    }

    /// Splits the node with the least bound; false when the search is over.
    fn step(&mut self) -> Result<bool, Error> {
        if self.is_stopped() || self.nodes >= self.limits.nodes || self.state().gap() <= self.limits.gap {
            return Ok(false);
        }
        let Some(node) = self.open.pop() else { return Ok(false) };
        let LowerBound { value: bound, rounding } = node.relaxed.lower_bound;
        let branching_candidate =
            self.branching_candidate(&node).filter(|_| self.best.squared_error - bound > rounding);
        let Some(candidate) = branching_candidate else {
            self.settled = self.settled.min(bound);
            return Ok(true);
        };
        self.pending = bound;
        for evict in [false, true] {
            let mut decided = node.decided.clone();
            decided.push((candidate, evict));
            if let Some(x) = self.moved(&node, &decided) {
                self.solve(decided, x, bound)?;
            }
        }
        self.pending = f64::INFINITY;
        Ok(true)
    }

    /// Visits a node. If its sets are few, all are tried. Otherwise it is relaxed and rounded, and stays open if it may
    /// hold a better set.
    fn solve(&mut self, decided: Vec<(usize, bool)>, x: Vec<f64>, parent_bound: f64) -> Result<(), Error> {
        self.nodes += 1;
        let decisions = self.decisions(&decided);
        if set_count(&decisions, self.count, self.limits.leaf_sets + 1) <= self.limits.leaf_sets {
            let (found, bound) = best_set(self.gram, &decisions, self.count)?;
            self.improve(found);
            self.settled = self.settled.min(bound.value.max(parent_bound));
            return Ok(());
        }
        let mut relaxed = self.relax(&decided, &decisions, x, parent_bound)?;
        relaxed.lower_bound.value = relaxed.lower_bound.value.max(parent_bound);
        let swapped = self.start_swaps(round(&relaxed, self.count));
        if relaxed.lower_bound.value < self.best.squared_error {
            self.open.push(Node { decided, relaxed });
        }
        match swapped {
            // The node's bound is known all the same.
            Err(Error::Stopped) => self.stopped = true,
            swapped => swapped?,
        }
        Ok(())
    }

    /// Swaps from a rounded set, once: nodes near each other round to the same one.
    fn start_swaps(&mut self, rounded: Vec<usize>) -> Result<(), Error> {
        if self.started.contains(&rounded) {
            return Ok(());
        }
        let free = vec![Decision::Open; self.gram.candidates()];
        let Limits { effort, swap_rounds, .. } = self.limits;
        self.improve(swap(self.gram, &free, &rounded, effort, swap_rounds)?);
        self.started.insert(rounded);
        Ok(())
    }

    fn improve(&mut self, found: Eviction) {
        if found.squared_error < self.best.squared_error {
            self.best = found;
        }
    }

    /// Relaxes a node; `watch` receives the whole search's bound.
    fn relax(
        &mut self,
        decided: &[(usize, bool)],
        decisions: &[Decision],
        x: Vec<f64>,
        parent_bound: f64,
    ) -> Result<Relaxed, Error> {
        let state = self.state();
        let root = decided.is_empty();
        let (watch, stopped) = (&mut self.watch, &mut self.stopped);
        let mut report = |bound: f64| {
            let bound = if root {
                bound.max(parent_bound).min(state.eviction.squared_error)
            } else {
                state.squared_lower_bound
            };
            *stopped = *stopped || !watch(&Certified { squared_lower_bound: bound, ..state.clone() });
            !*stopped
        };
        relax(&self.convexified, decisions, self.count, x, self.limits.effort, &mut report)
    }

    fn decisions(&self, decided: &[(usize, bool)]) -> Vec<Decision> {
        let mut decisions = vec![Decision::Open; self.gram.candidates()];
        for &(candidate, evict) in decided {
            decisions[candidate] = if evict { Decision::Evicted } else { Decision::Retained };
        }
        decisions
    }

    /// The open candidate with the largest `x (1 - x) sqrt(M_ii)`: how undecided its share is, times the effect of a
    /// decision.
    fn branching_candidate(&self, node: &Node) -> Option<usize> {
        let decisions = self.decisions(&node.decided);
        let weight = |candidate: usize| {
            let x = node.relaxed.x[candidate];
            x * (1.0 - x) * self.gram.diagonal()[candidate].sqrt()
        };
        let open = (0..decisions.len()).filter(|&candidate| decisions[candidate] == Decision::Open);
        let best = open.map(|i| (i, weight(i))).max_by(|one, two| one.1.total_cmp(&two.1))?;
        (best.1 > 0.0).then_some(best.0)
    }

    /// The node's point with the decisions kept and the sum restored; `None` if no set respects them.
    fn moved(&self, node: &Node, decided: &[(usize, bool)]) -> Option<Vec<f64>> {
        let decisions = self.decisions(decided);
        let evicted = decisions.iter().filter(|&&decision| decision == Decision::Evicted).count();
        let open = decisions.iter().filter(|&&decision| decision == Decision::Open).count();
        if evicted > self.count || evicted + open < self.count {
            return None;
        }
        let mut x = node.relaxed.x.clone();
        for &(candidate, evict) in decided {
            x[candidate] = if evict { 1.0 } else { 0.0 };
        }
        let mut missing = self.count as f64 - x.iter().sum::<f64>();
        let mut order: Vec<usize> = (0..x.len()).filter(|&i| decisions[i] == Decision::Open).collect();
        let values = &node.relaxed.product.values;
        // The least gradient rises first; the largest falls first.
        order.sort_by(|&one, &two| values[one].total_cmp(&values[two]).then(one.cmp(&two)));
        if missing < 0.0 {
            order.reverse();
        }
        for candidate in order {
            let step = missing.clamp(-x[candidate], 1.0 - x[candidate]);
            x[candidate] += step;
            missing -= step;
        }
        Some(x)
    }
}
