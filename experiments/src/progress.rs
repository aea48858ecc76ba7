//! Progress on stderr, and only where a person watches.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts steps, silent unless stderr is a terminal, and how long reading takes.
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
        let bar = if std::io::stderr().is_terminal() { bar(what, steps) } else { ProgressBar::hidden() };
        Self { bar, start: Instant::now(), reading: AtomicU64::new(0), waiting: AtomicU64::new(0) }
    }

    /// One step further.
    pub fn step(&self) {
        self.advance(1);
    }

    /// So many steps further.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Reads something.
    pub fn read<T>(&self, read: impl FnOnce() -> T) -> T {
        timed(&self.reading, read)
    }

    /// Waits for something to be read.
    pub fn wait<T>(&self, wait: impl FnOnce() -> T) -> T {
        timed(&self.waiting, wait)
    }

    /// How long it has taken, and how much of that was reading.
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

/// Adds how long something takes, in nanoseconds.
fn timed<T>(sum: &AtomicU64, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    sum.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    result
}

fn bar(what: &str, steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {elapsed} (left {eta})");
    let bar = ProgressBar::new(steps).with_message(what.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line that says how a search stands; silent unless stderr is a terminal.
#[derive(Debug)]
pub struct Status(ProgressBar);

impl Status {
    /// A line that begins with what is done.
    #[must_use]
    pub fn new(what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_prefix(what.to_owned());
        Self(match ProgressStyle::with_template("{prefix} {elapsed} {msg}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// How it stands now.
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
