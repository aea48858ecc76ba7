//! Signals that end the process: unfinished outputs are removed first, and a child process ends, too.

use std::fs;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use laprox_fixtures::staging;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// The variable that tells a child process of `laprox` the number of its parent, with which it ends.
const PARENT: &str = "LAPROX_PARENT";

/// How long a child has to end, in steps of [`STEP`].
const STEPS: usize = 500;
const STEP: Duration = Duration::from_millis(20);

/// Whether a command has asked for [`STOP`].
static ASKED: AtomicBool = AtomicBool::new(false);
/// Set by Ctrl-C, once a command has asked for it.
static STOP: AtomicBool = AtomicBool::new(false);
/// The running child process.
static CHILD: Mutex<Option<Pid>> = Mutex::new(None);
/// Whether a signal ends the process.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Handles SIGINT, SIGTERM and SIGHUP from now on, except for those that the caller ignores, as `nohup` does.
///
/// A file that exceeds the limit of `ulimit -f` is a failed write, not the end of the process.
///
/// # Errors
/// When the system refuses.
pub fn handle() -> io::Result<()> {
    if let Ok(parent) = std::env::var(PARENT) {
        end_with(&parent)?;
    }
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let ignored = ignored();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP].into_iter().filter(|one| !ignored(*one)))?;
    thread::spawn(move || signals.forever().for_each(on));
    Ok(())
}

/// Ends this process when its parent is killed. Other systems than Linux leave it alone then.
fn end_with(parent: &str) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid().map(|pid| pid.to_string()).as_deref() != Some(parent) {
        std::process::exit(128 + SIGTERM);
    }
    Ok(())
}

/// A flag that Ctrl-C sets from now on; a second Ctrl-C ends the process. A child process of `laprox` never sets it.
#[must_use]
pub fn stop() -> &'static AtomicBool {
    ASKED.store(std::env::var_os(PARENT).is_none(), Ordering::SeqCst);
    &STOP
}

/// Runs a child process that a signal to this one ends as well.
///
/// # Errors
/// When it cannot be started.
pub fn run(command: &mut Command) -> io::Result<ExitStatus> {
    command.env(PARENT, getpid().to_string());
    let mut child = start(command)?;
    let status = child.wait();
    *lock() = None;
    rest_if_ending();
    status
}

/// Does not return when a signal ends the process: nothing that follows from that is reported.
pub fn rest_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        thread::park();
    }
}

fn start(command: &mut Command) -> io::Result<Child> {
    let mut running = lock();
    let child = command.spawn()?;
    *running = Some(Pid::from_child(&child));
    Ok(child)
}

fn lock() -> MutexGuard<'static, Option<Pid>> {
    CHILD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on(signal: i32) {
    if signal == SIGINT && ASKED.load(Ordering::SeqCst) && !STOP.swap(true, Ordering::SeqCst) {
        return;
    }
    ENDING.store(true, Ordering::SeqCst);
    end_child();
    staging::remove_all();
    // Returns only if the system refuses.
    let _ = emulate_default_handler(signal);
    std::process::exit(128 + signal);
}

fn end_child() {
    let is_gone = |signal| {
        let Some(child) = *lock() else { return true };
        let _ = kill_process(child, signal);
        false
    };
    if is_gone(Signal::TERM) {
        return;
    }
    for _ in 0..STEPS {
        if lock().is_none() {
            return;
        }
        thread::sleep(STEP);
    }
    is_gone(Signal::KILL);
}

/// The signals that the caller of this process ignores; none on a system that does not say.
fn ignored() -> impl Fn(i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    move |signal| mask >> (signal - 1) & 1 == 1
}
