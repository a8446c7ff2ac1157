//! Runs a line of the shell, with a limit.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::Clock;

/// How long to wait between looks at the limits.
const POLL: Duration = Duration::from_millis(20);
/// A program that prints more bytes is killed.
pub(super) const MOST_OUTPUT: u64 = 64 << 20;
/// Bytes read of what a program printed, from the end.
const READ: u64 = 4 << 20;

/// How a program ended.
pub(super) enum End {
    Exited(ExitStatus),
    TimedOut,
    TooMuch,
    Stopped,
}

/// A program that was run.
pub(super) struct Finished {
    pub(super) end: End,
    /// From start to end.
    pub(super) took: Duration,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `line` in the shell without input, and kills it with all that it started where it takes longer than `timeout` or
/// `stop` says so.
///
/// What it prints goes to files: a pipe would be held open by what it leaves behind, such as a connection to be used again.
pub(super) fn run(line: &str, timeout: Duration, stop: fn() -> bool, clock: &dyn Clock) -> io::Result<Finished> {
    let [mut stdout, mut stderr] = [tempfile::tempfile()?, tempfile::tempfile()?];
    let mut command = shell(line);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let began = Instant::now();
    let start = clock.now();
    let mut child = command.spawn()?;
    let id = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait()));
    let mut killed = None;
    let status = loop {
        match receiver.recv_timeout(POLL) {
            Err(RecvTimeoutError::Timeout) => {}
            ended => break ended.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())),
        }
        let printed = stdout.metadata()?.len().saturating_add(stderr.metadata()?.len());
        let limit = match () {
            () if killed.is_some() => None,
            () if stop() => Some(End::Stopped),
            () if began.elapsed() >= timeout => Some(End::TimedOut),
            () if printed > MOST_OUTPUT => Some(End::TooMuch),
            () => None,
        };
        if limit.is_some() {
            kill(id);
            killed = limit;
        }
    };
    let took = clock.now().saturating_sub(start);
    let end = killed.unwrap_or(End::Exited(status?));
    Ok(Finished { end, took, stdout: last(&mut stdout)?, stderr: last(&mut stderr)? })
}

fn last(file: &mut File) -> io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ)))?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(not(windows))]
fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

#[cfg(windows)]
fn shell(line: &str) -> Command {
    let mut command = Command::new("cmd");
    std::os::windows::process::CommandExt::raw_arg(&mut command, format!("/S /C \"{line}\""));
    command
}

/// Kills the program with the number `id` and all that it started.
#[cfg(unix)]
fn kill(id: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // Fails only where all have ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(windows)]
fn kill(id: u32) {
    let _ = Command::new("taskkill").args(["/T", "/F", "/PID", &id.to_string()]).output();
}

/// `text` as one word for the shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@".contains(c) || (cfg!(windows) && c == '\\');
    match text {
        text if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        text if cfg!(windows) => format!("\"{text}\""),
        text => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn ran(line: &str, timeout: Duration, stop: fn() -> bool) -> Finished {
        run(line, timeout, stop, &SystemClock::default()).expect("the shell starts")
    }

    fn to_its_end(line: &str) -> Finished {
        ran(line, Duration::from_secs(60), || false)
    }

    #[test]
    fn output_status_and_time_are_told() {
        let done = to_its_end("echo one; echo two >&2; exit 3");
        assert!(matches!(done.end, End::Exited(status) if status.code() == Some(3)));
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("one\n", "two\n"));
        assert!(done.took > Duration::ZERO);
    }

    #[test]
    fn what_a_program_leaves_running_does_not_hold_it_up() {
        let done = to_its_end("sleep 1000 & echo $!");
        assert!(matches!(done.end, End::Exited(status) if status.success()));
        assert!(to_its_end(&format!("kill {}", done.stdout)).stderr.is_empty());
    }

    #[test]
    fn a_timeout_kills_the_program_and_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = quoted(&folder.path().join("pid").to_string_lossy());
        let line = format!("sh -c 'echo $$ > \"$0\"; sleep 1000' {file} & echo said; echo so >&2; wait");
        // Long enough for the inner one to have started, on any machine that is not standing still.
        let done = ran(&line, Duration::from_secs(2), || false);
        assert!(matches!(done.end, End::TimedOut));
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("said\n", "so\n"));
        let gone = to_its_end(&format!("kill -0 $(cat {file}) && ps -o stat= -p $(cat {file}) | grep -v Z"));
        assert!(!matches!(gone.end, End::Exited(status) if status.success()), "{}", gone.stdout);
    }

    #[test]
    fn who_asks_to_stop_need_not_wait() {
        assert!(matches!(ran("sleep 1000", Duration::from_secs(900), || true).end, End::Stopped));
    }

    #[test]
    fn output_without_end_is_stopped() {
        assert!(matches!(to_its_end("yes").end, End::TooMuch));
    }

    #[test]
    fn words_are_quoted_where_the_shell_would_split_them() {
        assert_eq!(quoted("/tmp/a-b_1.onnx"), "/tmp/a-b_1.onnx");
        for text in ["", "a b", "it's $HOME", "semi;colon", "\"", "ü"] {
            assert_eq!(to_its_end(&format!("printf %s {}", quoted(text))).stdout, text);
        }
    }
}
