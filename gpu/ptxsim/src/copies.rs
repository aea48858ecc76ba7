//! One thread's asynchronous copies. They are started, committed in groups, and completed by a wait.

use std::collections::VecDeque;

/// Bytes on their way to shared memory.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub to: u64,
    pub data: [u8; 16],
}

/// The copies of one thread that are under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies {
    open: Vec<Copy>,
    groups: VecDeque<Vec<Copy>>,
}

impl Copies {
    pub fn begin(&mut self, copy: Copy) {
        self.open.push(copy);
    }

    pub fn commit(&mut self) {
        self.groups.push_back(std::mem::take(&mut self.open));
    }

    /// Completes all but the last `pending` groups.
    pub fn wait(&mut self, pending: usize) -> Vec<Copy> {
        let complete = self.groups.len().saturating_sub(pending);
        self.groups.drain(..complete).flatten().collect()
    }

    /// The number of copies under way.
    pub fn len(&self) -> usize {
        self.open.len() + self.groups.iter().map(Vec::len).sum::<usize>()
    }
}
