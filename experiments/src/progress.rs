//! Progress on stderr, only if it is a terminal, and lines that are there in any case.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use laprox_fixtures::quote::{cut, escaped};

/// No line is longer, whatever a file or a library puts into it.
const LONGEST_LEN: usize = 480;

/// Writes a line on stderr. It is lost where stderr cannot take it: no result depends on it.
pub fn note(line: impl Display) {
    let line = cut(escaped(line), LONGEST_LEN);
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// A bar that counts steps, silent unless stderr is a terminal. It also measures the time of reading.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    reading: AtomicU64,
    waiting: AtomicU64,
}

impl Progress {
    /// A bar of `steps` steps.
    #[must_use]
    pub fn new(what: &str, steps: u64) -> Self {
        let bar = on_terminal("{msg} [{bar:30}] {pos}/{len} {elapsed} (left {eta})", || {
            ProgressBar::new(steps).with_message(what.to_owned())
        });
        Self { bar, start: Instant::now(), reading: AtomicU64::new(0), waiting: AtomicU64::new(0) }
    }

    /// Advances by one step.
    pub fn step(&self) {
        self.advance(1);
    }

    /// Advances by `steps`.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Measures a reading.
    pub fn read<T>(&self, read: impl FnOnce() -> T) -> T {
        timed(&self.reading, read)
    }

    /// Measures the waiting for a reading.
    pub fn wait<T>(&self, wait: impl FnOnce() -> T) -> T {
        timed(&self.waiting, wait)
    }

    /// The time since the start, and the shares of reading and of waiting for it.
    #[must_use]
    pub fn times(&self) -> String {
        let seconds = |nanoseconds: &AtomicU64| nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9;
        let total = self.start.elapsed().as_secs_f64();
        let share = |part: f64| format!("{part:.2} s ({:.0} %)", 100.0 * part / total);
        format!(
            "{total:.2} s; reading took {} beside computing, and was waited for {}",
            share(seconds(&self.reading)),
            share(seconds(&self.waiting))
        )
    }
}

/// Adds the time that `run` takes, in nanoseconds.
fn timed<T>(sum: &AtomicU64, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    sum.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    result
}

/// `make`'s bar in a style, hidden unless stderr is a terminal.
fn on_terminal(template: &str, make: impl FnOnce() -> ProgressBar) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    make().with_style(ProgressStyle::with_template(template).expect("a valid template"))
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line with the state of a search, silent unless stderr is a terminal.
#[derive(Debug)]
pub struct Status(ProgressBar);

impl Status {
    /// A line that begins with `what`.
    #[must_use]
    pub fn new(what: &str) -> Self {
        let make = || ProgressBar::new_spinner().with_prefix(what.to_owned());
        Self(on_terminal("{prefix} {elapsed} {msg}", make))
    }

    /// Shows the present state.
    pub fn say(&self, state: &str) {
        self.0.set_message(state.to_owned());
        self.0.tick();
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
