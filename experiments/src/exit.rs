//! Exit codes: 0 done, 1 a checked claim does not hold, 2 bad input or arguments, 3 a missing device or file.

use crate::progress::note;

/// A claim that was checked and does not hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ClaimFails(pub String);

/// A missing device or file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub String);

/// Prints the error as one line on stderr and returns its code. Help and version are no errors.
pub fn report(error: &anyhow::Error) -> u8 {
    if let Some(arguments) = error.downcast_ref::<clap::Error>() {
        return report_arguments(arguments);
    }
    if error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(is_closed_pipe) {
        return 0;
    }
    note(format_args!("laprox: {}", line(error)));
    code(error)
}

/// An error and its causes as one line.
#[must_use]
pub fn line(error: &anyhow::Error) -> String {
    one_line(&format!("{error:#}"))
}

/// The exit code of an error.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    if error.is::<ClaimFails>() {
        1
    } else if error.is::<Missing>() || error.chain().any(is_of_path) {
        3
    } else {
        2
    }
}

/// A path that this machine lacks, or whose device failed.
fn is_of_path(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(laprox_reference::Error::Path { .. }))
}

/// Whether the reader of the output has closed it, as `| head` does.
fn is_closed_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

fn report_arguments(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        // A failure to print the help cannot be reported either.
        let _ = error.print();
        return 0;
    }
    // clap explains in several paragraphs; the first one names the error.
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    note(format_args!("laprox: {}", one_line(first.trim_start_matches("error: "))));
    2
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
