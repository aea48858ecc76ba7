//! The optimum by trying every set.

use crate::error::Error;

use super::gram::PairGram;
use super::swap::Eviction;

/// Slots beyond which there are too many sets.
pub const MOST_SLOTS: usize = 24;

/// The set of `count` slots with the least squared `drop` error; the first in lexicographic order among equals.
///
/// # Errors
/// [`Error::Shape`] when there are more than [`MOST_SLOTS`] slots, or fewer than `count`.
pub fn exhaustive(gram: &dyn PairGram, count: usize) -> Result<Eviction, Error> {
    let slots = gram.slots();
    if slots > MOST_SLOTS || count > slots {
        return Err(Error::Shape {
            what: "slots of an exhaustive search",
            expected: format!("at most {MOST_SLOTS}, and at least the {count} to evict"),
            found: slots.to_string(),
        });
    }
    let all: Vec<usize> = (0..slots).collect();
    let block = super::block::Block::new(gram.blocks(&all));
    let mut search = Search { block, count, chosen: Vec::new(), best: None };
    search.extend(0, 0.0, &vec![0.0; slots]);
    search.best.ok_or_else(|| Error::Shape {
        what: "slots of an exhaustive search",
        expected: format!("a set of {count}"),
        found: "none".into(),
    })
}

struct Search {
    block: super::block::Block,
    count: usize,
    chosen: Vec<usize>,
    best: Option<Eviction>,
}

impl Search {
    /// Extends the chosen slots, whose error is `error` and whose gradient is `M x`, by slots from `first` on.
    fn extend(&mut self, first: usize, error: f64, gradient: &[f64]) {
        if self.chosen.len() == self.count {
            if self.best.as_ref().is_none_or(|best| error < best.squared_error) {
                self.best = Some(Eviction { evicted: self.chosen.clone(), squared_error: error });
            }
            return;
        }
        let missing = self.count - self.chosen.len();
        for slot in first..=self.block.len() - missing {
            let mut extended = gradient.to_vec();
            self.block.shift(&mut extended, slot, 1.0);
            self.chosen.push(slot);
            self.extend(slot + 1, error + 2.0 * gradient[slot] + self.block.entry(slot, slot), &extended);
            self.chosen.pop();
        }
    }
}
