//! When a search has to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;

/// Ends a search at a time, or once a flag is set. A search that is ended returns its best set and the bound proven by then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stop {
    deadline: Option<Instant>,
    flag: Option<&'static AtomicBool>,
}

impl Stop {
    /// Never ends a search.
    pub const NEVER: Self = Self { deadline: None, flag: None };

    /// Ends a search when `limit` has passed from now on, or once the flag is set.
    #[must_use]
    pub fn after(limit: Option<Duration>, flag: Option<&'static AtomicBool>) -> Self {
        Self { deadline: limit.and_then(|limit| Instant::now().checked_add(limit)), flag }
    }

    /// Whether the search has to end.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.flag.is_some_and(|flag| flag.load(Ordering::Relaxed))
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether there is less than this time left.
    #[must_use]
    pub fn is_within(&self, time: Duration) -> bool {
        self.is_due() || self.deadline.is_some_and(|deadline| Instant::now() + time >= deadline)
    }

    /// Checks that the search may go on.
    ///
    /// # Errors
    /// [`Error::Stopped`] when it has to end.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_due() { Err(Error::Stopped) } else { Ok(()) }
    }
}
