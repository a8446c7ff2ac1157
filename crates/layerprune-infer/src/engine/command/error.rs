use std::io;

/// Lines shown of what a program printed.
const LINES: usize = 10;

/// Why a run of a command gave no latency. What it printed on standard error is shown, the last lines of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The shell did not start, or what it prints cannot be kept.
    #[error("it cannot be run")]
    Start(#[source] io::Error),
    /// The command failed.
    #[error("it ended with {status}{}", shown(stderr))]
    Failed {
        /// Its status, or the signal that ended it.
        status: String,
        /// What it printed on standard error.
        stderr: String,
    },
    /// The command took too long.
    #[error("it did not end within {seconds} s and was killed{}", shown(stderr))]
    TimedOut {
        /// The limit in seconds.
        seconds: f64,
        /// What it printed on standard error.
        stderr: String,
    },
    /// The command printed without end.
    #[error("it printed more than {mebibytes} MiB and was killed{}", shown(stderr))]
    TooMuch {
        /// The limit in MiB.
        mebibytes: u64,
        /// What it printed on standard error.
        stderr: String,
    },
    /// The command ended well without telling a latency.
    #[error("it printed no {expected}; {}{}", output(stdout), shown(stderr))]
    NoTime {
        /// What was looked for.
        expected: String,
        /// What it printed on standard output.
        stdout: String,
        /// What it printed on standard error.
        stderr: String,
    },
    /// What stands in the place of a latency is none.
    #[error("it tells a latency of `{found}`, expected a positive number")]
    NotATime {
        /// What stands there.
        found: String,
    },
}

/// What was printed on standard error, to be put behind a message.
fn shown(stderr: &str) -> String {
    match last_lines(stderr) {
        lines if lines.is_empty() => lines,
        lines => format!("; standard error:{lines}"),
    }
}

fn output(stdout: &str) -> String {
    match last_lines(stdout) {
        lines if lines.is_empty() => "standard output is empty".to_owned(),
        lines => format!("standard output:{lines}"),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("\n    {line}")).collect()
}
