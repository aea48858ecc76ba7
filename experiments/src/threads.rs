//! The threads of this process, for the stages' independent tasks.

use laprox_reference::Tasks;
use rayon::prelude::*;

/// Rayon's threads, as many as `--threads` says.
#[derive(Clone, Copy, Debug)]
pub struct Threads;

impl Tasks for Threads {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..count).into_par_iter().for_each(task);
    }
}
