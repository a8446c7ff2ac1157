//! Any program that tells a latency, or whose own time is taken.

mod error;
mod program;
mod source;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use layerprune::onnx::Model;
use layerprune::record::EngineInfo;
use tempfile::TempDir;

use self::program::{End, Finished};
use super::{Engine, Executable, LoadOptions};
use crate::clock::Clock;
use crate::error::InferError;
use crate::input::Input;
use crate::session::Array;

pub use error::CommandError;
pub use source::TimeSource;

const NAME: &str = "command";
const MODEL: &str = "{model}";

/// An engine that times a model by running a program, on this machine or on any that the program reaches.
///
/// The command is a line for the shell (`sh -c`, `cmd /C` on Windows). In it `{model}` stands for the ONNX file, which is
/// named after the model's digest and written once for each [`Session`](crate::Session); `{batch}`, `{threads}`, `{input}`
/// and `{shape}` for batch size, thread count, name of the first input and its shape (`8x3x32x32`). Each sample is one run
/// of it. It gives no outputs.
#[derive(Debug, Clone)]
pub struct CommandEngine {
    options: CommandOptions,
}

/// What to run, and what to take of it.
#[derive(Debug, Clone)]
pub struct CommandOptions {
    /// The command, with `{model}` somewhere in it.
    pub line: String,
    /// How often to try again after a failure.
    pub retries: usize,
    /// After this a run counts as failed and is killed, with all programs that it started.
    pub timeout: Duration,
    /// Where the latency is read.
    pub time: TimeSource,
    /// Asked a few times a second while the command runs; `true` kills it, which ends in [`InferError::Interrupted`].
    pub stop: fn() -> bool,
}

struct Loaded {
    options: CommandOptions,
    threads: usize,
    input: String,
    model: PathBuf,
    /// Keeps the model's file.
    _folder: TempDir,
}

impl CommandOptions {
    /// Two retries, two minutes, and lines `latency_ms: NUMBER`.
    #[must_use]
    pub fn new(line: impl Into<String>) -> Self {
        let timeout = Duration::from_secs(120);
        Self { line: line.into(), retries: 2, timeout, time: TimeSource::Reported, stop: || false }
    }
}

impl CommandEngine {
    /// An engine of these options.
    ///
    /// # Errors
    /// [`InferError::CommandLine`] where the command does not take the model.
    pub fn new(options: CommandOptions) -> Result<Self, InferError> {
        if !options.line.contains(MODEL) {
            let reason = "`{model}` is not in it, which stands for the model's file";
            return Err(InferError::CommandLine { line: options.line, reason });
        }
        Ok(Self { options })
    }
}

impl Engine for CommandEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The command, in one line, stands for the version.
    fn info(&self) -> EngineInfo {
        let words: Vec<&str> = self.options.line.split_whitespace().collect();
        let line = words.join(" ");
        let version = match &self.options.time {
            TimeSource::Reported => line,
            TimeSource::Pattern(pattern) => format!("{line} (time by `{pattern}`)"),
            TimeSource::Wall => format!("{line} (its own time)"),
        };
        EngineInfo { name: NAME.to_owned(), version }
    }

    fn load(&self, model: &Model, options: LoadOptions) -> Result<Box<dyn Executable>, InferError> {
        if options.tapped {
            return Err(InferError::TimesOnly { engine: NAME });
        }
        let failed = |source| InferError::Load { engine: NAME, place: None, source: Box::new(source) };
        let folder = TempDir::with_prefix("layerprune-").map_err(failed)?;
        let path = folder.path().join(format!("{}.onnx", model.digest()));
        fs::write(&path, model.to_bytes()).map_err(failed)?;
        let input = model.graph.fed_inputs().next().map(|port| model.graph.value_name(port.value).to_owned());
        Ok(Box::new(Loaded {
            options: self.options.clone(),
            threads: options.threads,
            input: input.unwrap_or_default(),
            model: path,
            _folder: folder,
        }))
    }

    fn tells_times(&self) -> bool {
        true
    }
}

impl Executable for Loaded {
    fn run(&self, _: &[Input<'_>]) -> Result<Vec<Array>, InferError> {
        Err(InferError::TimesOnly { engine: NAME })
    }

    fn time(&self, inputs: &[Input<'_>], calls: usize, clock: &dyn Clock) -> Result<Duration, InferError> {
        let line = self.line(inputs.first().map_or(&[], |input| &input.shape[..]));
        (0..calls).map(|_| self.sample(&line, clock)).sum()
    }
}

impl Loaded {
    fn line(&self, shape: &[usize]) -> String {
        let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let values = [
            ("{batch}", shape.first().unwrap_or(&1).to_string()),
            ("{threads}", self.threads.to_string()),
            ("{shape}", sizes.join("x")),
            ("{input}", program::quoted(&self.input)),
            (MODEL, program::quoted(&self.model.to_string_lossy())),
        ];
        values.iter().fold(self.options.line.clone(), |line, (name, value)| line.replace(name, value))
    }

    fn sample(&self, line: &str, clock: &dyn Clock) -> Result<Duration, InferError> {
        let attempts = self.options.retries.saturating_add(1);
        let mut attempt = 1;
        loop {
            let source = match program::run(line, self.options.timeout, self.options.stop, clock) {
                Ok(Finished { end: End::Stopped, .. }) => return Err(InferError::Interrupted),
                Ok(finished) => match self.latency(finished) {
                    Ok(took) => return Ok(took),
                    Err(error) => error,
                },
                Err(error) => CommandError::Start(error),
            };
            if attempt == attempts {
                return Err(InferError::Command { line: line.to_owned(), attempts, source });
            }
            attempt += 1;
        }
    }

    fn latency(&self, finished: Finished) -> Result<Duration, CommandError> {
        let Finished { end, took, stdout, stderr } = finished;
        match end {
            End::Exited(status) if status.success() => self.options.time.read(took, &stdout, stderr),
            End::Exited(status) => Err(CommandError::Failed { status: status.to_string(), stderr }),
            End::TooMuch => Err(CommandError::TooMuch { mebibytes: program::MOST_OUTPUT >> 20, stderr }),
            End::TimedOut | End::Stopped => {
                Err(CommandError::TimedOut { seconds: self.options.timeout.as_secs_f64(), stderr })
            }
        }
    }
}
