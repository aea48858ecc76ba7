//! Independent tasks. This crate starts no threads; a caller with threads implements [`Tasks`] on them.

use std::sync::Mutex;

use crate::error::Result;

/// Runs independent tasks.
pub trait Tasks: Sync {
    /// Runs `task(0)` to `task(count - 1)`, in any order.
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync));
}

/// One task after another.
#[derive(Clone, Copy, Debug, Default)]
pub struct InTurn;

impl Tasks for InTurn {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(task);
    }
}

/// The results of independent tasks, in order.
///
/// # Errors
/// The error of the first task, in order, that has failed.
pub fn all<T: Send>(
    tasks: &impl Tasks,
    count: usize,
    task: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let results: Vec<Mutex<Option<Result<T>>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let holds = "no task panics while it writes its result";
    tasks.run(count, &|index| {
        let result = task(index);
        *results[index].lock().expect(holds) = Some(result);
    });
    results.into_iter().map(|result| result.into_inner().expect(holds).expect("every task has run")).collect()
}
