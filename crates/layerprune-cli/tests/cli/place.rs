//! A folder to run the command in, and what a run came to.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use layerprune::onnx::Model;
use serde_json::Value;
use tempfile::TempDir;

use crate::images;

/// A folder of its own for one test, the current one of every command run in it.
pub(crate) struct Place {
    folder: TempDir,
}

/// What a run came to.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with `model` as `net.onnx`.
    pub(crate) fn with(model: &Model) -> Self {
        let place = Self::new();
        place.add("net.onnx", model);
        place
    }

    /// A folder with `model` as `net.onnx` and gray 8x8 images of three classes as `idx:data`.
    pub(crate) fn with_data(model: &Model) -> Self {
        let place = Self::with(model);
        images::write(&place.path("data"), 20, 10);
        place
    }

    pub(crate) fn add(&self, name: &str, model: &Model) {
        model.write(self.path(name)).unwrap();
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    /// Names of all that is in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Runs `layerprune` with arguments that are split at spaces.
    pub(crate) fn run(&self, arguments: &str) -> Done {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs `layerprune` with arguments that are split at spaces, and `more`, which are not.
    pub(crate) fn run_with(&self, arguments: &str, more: &[&str]) -> Done {
        self.command(arguments).args(more).output().unwrap().into()
    }

    /// Runs `layerprune` with arguments that are split at spaces; it must end well.
    pub(crate) fn ok(&self, arguments: &str) -> Done {
        let done = self.run(arguments);
        assert_eq!(done.code, Some(0), "{arguments}\n{done}");
        done
    }

    /// Starts `layerprune` without waiting for it.
    pub(crate) fn start(&self, arguments: &str) -> Running {
        self.start_with(arguments, &[])
    }

    /// The same, with arguments that are not split.
    pub(crate) fn start_with(&self, arguments: &str, more: &[&str]) -> Running {
        Running(self.command(arguments).args(more).spawn().unwrap())
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerprune"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            // No test leaves anything in the user's cache, or finds something there.
            .env("XDG_CACHE_HOME", "/dev/null/cache")
            .env_remove("COLUMNS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A command under way; ended when dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Waits until `path` is there. A run that ends before is a fault of the test's sizes.
    pub(crate) fn wait_for(&mut self, path: &Path) {
        let began = Instant::now();
        while !path.exists() {
            assert_eq!(self.0.try_wait().unwrap(), None, "it ended before `{}` was there", path.display());
            assert!(began.elapsed() < Duration::from_secs(120), "`{}` does not come", path.display());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end, and says whether it is a good one.
    pub(crate) fn ends_well(mut self) -> bool {
        // What is written fits the pipes.
        self.0.wait().unwrap().success()
    }

    /// Kills it without notice.
    pub(crate) fn kill(mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None, "it ended before it could be killed");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Presses Ctrl-C, and waits for what it says.
    #[cfg(unix)]
    pub(crate) fn interrupt(mut self) -> Done {
        assert_eq!(self.0.try_wait().unwrap(), None, "it ended before it could be interrupted");
        let sent = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
        // What is written fits the pipes.
        let status = self.0.wait().unwrap();
        let read = |stream: Option<&mut dyn std::io::Read>| {
            let mut text = String::new();
            stream.unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let stdout = read(self.0.stdout.as_mut().map(|stream| stream as _));
        let stderr = read(self.0.stderr.as_mut().map(|stream| stream as _));
        Done { code: status.code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Checks the exit status and that all of `parts` are in what is said on standard error.
    pub(crate) fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self}");
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in\n{self}");
        }
    }
}

/// The whole of a run as a transcript, digests and the version left out.
impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("none".to_owned(), |code| code.to_string());
        writeln!(f, "exit status: {code}")?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                write!(f, "----- {name}\n{}", without_digests(text).replace(env!("CARGO_PKG_VERSION"), "[VERSION]"))?;
            }
        }
        Ok(())
    }
}

/// Replaces every run of 32 hexadecimal digits.
fn without_digests(text: &str) -> String {
    let mut out = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        match word.len() {
            32 => out.extend(["[DIGEST]", &part[32..]]),
            _ => out.push_str(part),
        }
    }
    out
}
