//! Progress on stderr, and only where a person watches.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts steps; silent unless stderr is a terminal.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar of `steps` steps.
    #[must_use]
    pub fn new(what: &str, steps: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {elapsed} (left {eta})");
        let bar = ProgressBar::new(steps).with_message(what.to_owned());
        Self(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// One step further.
    pub fn step(&self) {
        self.advance(1);
    }

    /// So many steps further.
    pub fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
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
