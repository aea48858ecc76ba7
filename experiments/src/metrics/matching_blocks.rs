//! Ratcliff and Obershelp's similarity, as Python's `difflib.SequenceMatcher` computes it.

use std::collections::BTreeMap;
use std::ops::Range;

/// From this length on, frequent characters of `b` start no match.
const LONG: usize = 200;

/// `2 M / (|a| + |b|)`, M the characters in matching blocks: the longest common block, then the same left and right of it.
///
/// Not symmetric: of equally long blocks the first in `a` counts. If `b` has at least 200 characters, a character that
/// makes up more than about a hundredth of it can only extend a block.
pub(super) fn ratio(a: &[char], b: &[char]) -> f64 {
    let matcher = Matcher { a, b, positions: positions(b) };
    let matched = matcher.matched(0..a.len(), 0..b.len());
    2.0 * matched as f64 / (a.len() + b.len()) as f64
}

struct Matcher<'a> {
    a: &'a [char],
    b: &'a [char],
    /// The positions in `b` of each character that may start a match.
    positions: BTreeMap<char, Vec<usize>>,
}

/// `len` equal characters from `a[i]` and `b[j]` on.
struct Block {
    i: usize,
    j: usize,
    len: usize,
}

fn positions(b: &[char]) -> BTreeMap<char, Vec<usize>> {
    let mut positions: BTreeMap<char, Vec<usize>> = BTreeMap::new();
    b.iter().enumerate().for_each(|(j, &c)| positions.entry(c).or_default().push(j));
    if b.len() >= LONG {
        positions.retain(|_, places| places.len() <= b.len() / 100 + 1);
    }
    positions
}

impl Matcher<'_> {
    /// The characters in matching blocks of two ranges.
    fn matched(&self, a: Range<usize>, b: Range<usize>) -> usize {
        let mut matched = 0;
        let mut open = vec![(a, b)];
        while let Some((a, b)) = open.pop() {
            let Block { i, j, len } = self.longest(&a, &b);
            if len > 0 {
                matched += len;
                open.push((a.start..i, b.start..j));
                open.push((i + len..a.end, j + len..b.end));
            }
        }
        matched
    }

    /// The longest block, the first in `a` and then in `b` among equals, extended by characters that may not start one.
    fn longest(&self, a: &Range<usize>, b: &Range<usize>) -> Block {
        let mut best = Block { i: a.start, j: b.start, len: 0 };
        let mut ending: BTreeMap<usize, usize> = BTreeMap::new();
        for i in a.clone() {
            let mut ending_here = BTreeMap::new();
            let places = self.positions.get(&self.a[i]).into_iter().flatten();
            for &j in places.filter(|j| b.contains(j)) {
                let before = j.checked_sub(1).and_then(|before| ending.get(&before));
                let len = before.copied().unwrap_or(0) + 1;
                ending_here.insert(j, len);
                if len > best.len {
                    best = Block { i: i + 1 - len, j: j + 1 - len, len };
                }
            }
            ending = ending_here;
        }
        self.extend(best, a, b)
    }

    fn extend(&self, mut block: Block, a: &Range<usize>, b: &Range<usize>) -> Block {
        while block.i > a.start && block.j > b.start && self.a[block.i - 1] == self.b[block.j - 1] {
            block = Block { i: block.i - 1, j: block.j - 1, len: block.len + 1 };
        }
        let ends = |block: &Block| (block.i + block.len, block.j + block.len);
        while let (i, j) = ends(&block)
            && i < a.end
            && j < b.end
            && self.a[i] == self.b[j]
        {
            block.len += 1;
        }
        block
    }
}
