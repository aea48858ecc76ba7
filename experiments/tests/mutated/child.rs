//! Runs the binary and holds it to its contract.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};

/// Seconds of processor time, which other work on the machine does not change: a run that takes more is ended by a signal.
const PROCESSOR_SECONDS: u64 = 10;
/// No run waits for anything.
const LONGEST_RUN: Duration = Duration::from_secs(60);
const LARGEST_RUN: u64 = 1 << 30;
const LONGEST_LINE: usize = 500;
/// Address space, of which a sound run takes about 1 GiB: it keeps a run that allocates without end from taking the machine with it.
const ADDRESS_SPACE: u64 = 6 << 30;

/// Limits the address space of this process and of those that it starts.
pub fn limit_memory() {
    setrlimit(Resource::RLIMIT_AS, ADDRESS_SPACE, ADDRESS_SPACE).expect("a limit");
    setrlimit(Resource::RLIMIT_CORE, 0, 0).expect("a limit");
}

/// The exit code of a run in `folder`.
///
/// # Errors
/// The claim that the run breaks.
pub fn run(folder: &Path, arguments: &[String]) -> Result<i32, String> {
    let stderr = folder.join("stderr");
    let before = largest_child();
    let status = wait(
        Command::new("sh")
            .args(["-c", &format!("ulimit -t {PROCESSOR_SECONDS} && exec \"$0\" \"$@\"")])
            .arg(cargo_bin("laprox"))
            .args(arguments)
            .current_dir(folder)
            .env("CUDA_VISIBLE_DEVICES", "-1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr).expect("a file")),
    )?;
    // The largest of all children so far: a run that raises it above the limit is the one to blame.
    let largest = largest_child();
    if largest > LARGEST_RUN && largest > before {
        return Err(format!("{} MiB resident", largest >> 20));
    }
    let code = status.code().ok_or_else(|| format!("ended by {status}"))?;
    let stderr = fs::read(&stderr).expect("readable");
    check_messages(code, &String::from_utf8_lossy(&stderr))?;
    Ok(code)
}

/// Waits for the end, or ends what runs too long.
fn wait(command: &mut Command) -> Result<ExitStatus, String> {
    let start = Instant::now();
    let mut child = command.spawn().expect("the binary is built");
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return Ok(status);
        }
        if start.elapsed() > LONGEST_RUN {
            child.kill().expect("a child");
            child.wait().expect("a child");
            return Err(format!("still running after {LONGEST_RUN:?}"));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn largest_child() -> u64 {
    let kilobytes = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage").max_rss();
    u64::try_from(kilobytes).expect("not negative") << 10
}

fn check_messages(code: i32, stderr: &str) -> Result<(), String> {
    if !(0..=3).contains(&code) {
        return Err(format!("exit code {code}: {stderr}"));
    }
    let refusals = stderr.lines().filter(|line| line.starts_with("laprox: ")).count();
    if code >= 2 && refusals != 1 {
        return Err(format!("exit code {code} with {refusals} lines of refusal: {stderr}"));
    }
    if let Some(line) = stderr.lines().find(|line| line.chars().count() > LONGEST_LINE) {
        let start: String = line.chars().take(LONGEST_LINE).collect();
        return Err(format!("a line of {} characters: {start}", line.chars().count()));
    }
    if stderr.contains("panicked") {
        return Err(stderr.to_owned());
    }
    match stderr.chars().find(|&character| character.is_control() && character != '\n') {
        Some(control) => Err(format!("the control character {control:?} in: {stderr}")),
        None => Ok(()),
    }
}
