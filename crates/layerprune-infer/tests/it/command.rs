//! The engine that runs a program: what it is given, and every way in which it can fail.
#![cfg(unix)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use layerprune::record::Warning;
use layerprune_infer::{
    CommandEngine, CommandError, CommandOptions, InferError, Input, LatencyOptions, Measurement, Session,
    SessionOptions, measure,
};
use tempfile::TempDir;

use crate::models::{IMAGES, classifier};

fn images() -> [Input<'static>; 1] {
    [Input::f32(vec![2, 1, 2, 2], &IMAGES[..])]
}

/// Times one model by a command, without retries.
fn timed(line: &str) -> Result<Measurement, InferError> {
    timed_as(CommandOptions { retries: 0, ..CommandOptions::new(line) })
}

fn timed_as(options: CommandOptions) -> Result<Measurement, InferError> {
    let engine = CommandEngine::new(options)?;
    let session = Session::load(&classifier(-2.0), &SessionOptions { threads: 3, engine: &engine })?;
    measure(&[&session], &images(), &LatencyOptions::of(&engine), |_| ControlFlow::Continue(()))
}

fn fault(line: &str) -> CommandError {
    match timed(line) {
        Err(InferError::Command { source, attempts: 1, .. }) => source,
        other => panic!("{other:?}"),
    }
}

fn counted(folder: &TempDir, then: &str) -> String {
    let count = folder.path().join("count");
    format!(": {{model}}; echo x >> {0}; n=$(wc -l < {0}); {then}", count.display())
}

fn runs(folder: &TempDir) -> usize {
    fs::read_to_string(folder.path().join("count")).unwrap().lines().count()
}

#[test]
fn each_sample_is_one_run_and_what_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let line = counted(&folder, "echo latency_us: $((1000 + n))");
    let measured = timed(&line).unwrap();
    // The first run is the warm-up.
    let expected: Vec<f64> = (2..12).map(|run| (1000.0 + f64::from(run)) / 1e3).collect();
    let found = &measured.samples_ms[0];
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9) && found.len() == 10, "{found:?}");
    assert_eq!((measured.calls_per_sample, measured.resolution_ms), (1, 0.0));
    let under = &measured.circumstances;
    assert_eq!((under.engine.name.as_str(), &under.engine.version), ("command", &line));
    assert!(!under.pinned);
    assert_eq!(measured.warnings(), [Warning::FewSamples { samples: 10, needed: 30 }]);
}

#[test]
fn the_command_takes_model_batch_threads_input_and_shape() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("said");
    let line = format!(
        "echo {{model}} {{batch}} {{threads}} {{input}} {{shape}} {{else}} > {}; echo latency_ms: 1",
        file.display()
    );
    timed(&line).unwrap();
    let said = fs::read_to_string(file).unwrap();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[1..], ["2", "3", "x", "2x1x2x2", "{else}"]);
    let name = Path::new(words[0]).file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(name, format!("{}.onnx", classifier(-2.0).digest()));
    assert!(!Path::new(words[0]).exists(), "it goes with the session");
}

#[test]
fn the_file_is_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.onnx");
    timed(&format!("cp {{model}} {}; echo latency_ms: 1", copy.display())).unwrap();
    assert_eq!(fs::read(copy).unwrap(), classifier(-2.0).to_bytes());
}

#[test]
fn the_time_of_the_command_itself_can_be_taken() {
    let options = CommandOptions { time: "wall".parse().unwrap(), ..CommandOptions::new("test -s {model}") };
    let measured = timed_as(options).unwrap();
    assert!(measured.samples_ms[0].iter().all(|&sample| sample > 0.0), "{measured:?}");
}

#[test]
fn a_failure_is_tried_again_as_often_as_allowed() {
    let folder = tempfile::tempdir().unwrap();
    // Only every third run is well.
    let line = counted(&folder, "test $((n % 3)) = 0 && echo latency_ms: 1");
    timed_as(CommandOptions { retries: 2, ..CommandOptions::new(&line) }).unwrap();
    assert_eq!(runs(&folder), 3 * 11);
    let error = timed_as(CommandOptions { retries: 1, ..CommandOptions::new(&line) }).unwrap_err();
    assert!(matches!(error, InferError::Command { attempts: 2, .. }), "{error:?}");
    assert!(error.to_string().ends_with("` gave no latency in 2 attempts"), "{error}");
    assert_eq!(runs(&folder), 3 * 11 + 2);
}

#[test]
fn a_crash_shows_what_was_said() {
    let error = fault("cat {model} > /dev/null; echo cannot open the device >&2; exit 7");
    assert_eq!(error.to_string(), "it ended with exit status: 7; standard error:\n    cannot open the device");
    let error = fault(": {model}; kill -SEGV $$").to_string();
    assert!(error.starts_with("it ended with signal: 11"), "{error}");
}

#[test]
fn a_missing_program_is_named_by_the_shell() {
    match fault("no-such-program {model}") {
        CommandError::Failed { status, stderr } => {
            assert_eq!(status, "exit status: 127");
            assert!(stderr.contains("no-such-program"), "{stderr}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn garbage_is_no_latency() {
    assert!(matches!(fault("echo {model} took 5 ms"), CommandError::NoTime { .. }));
    assert!(matches!(fault("head -c 4000 /dev/zero; cat {model}"), CommandError::NoTime { .. }));
    for number in ["soon", "-3", "0", "NaN", "inf"] {
        let error = fault(&format!(": {{model}}; echo latency_ms: {number}"));
        assert!(matches!(&error, CommandError::NotATime { found } if found == number), "{error:?}");
    }
}

#[test]
fn a_command_that_hangs_is_ended() {
    let timeout = Duration::from_millis(100);
    let line = "echo connecting >&2; sleep 1000; : {model}";
    let error = timed_as(CommandOptions { timeout, retries: 1, ..CommandOptions::new(line) }).unwrap_err();
    match error {
        InferError::Command { attempts: 2, source: CommandError::TimedOut { seconds, stderr }, .. } => {
            assert_eq!((seconds, stderr.as_str()), (0.1, "connecting\n"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_asks_to_stop_interrupts_the_command() {
    let options = CommandOptions { stop: || true, ..CommandOptions::new("sleep 1000; : {model}") };
    assert!(matches!(timed_as(options), Err(InferError::Interrupted)));
}

#[test]
fn complete_rounds_before_a_failure_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let line = counted(&folder, "test $n -le 8 && echo latency_ms: 4 || { echo lost; echo the board; exit 1; } >&2");
    let measured = timed(&line).unwrap();
    assert_eq!(measured.samples_ms, [vec![4.0; 7]]);
    let end = " gave no latency in 1 attempt: it ended with exit status: 1; standard error: lost the board";
    let stopped =
        |warning: &Warning| matches!(warning, Warning::StoppedEarly { samples: 7, reason } if reason.ends_with(end));
    assert!(measured.warnings().iter().any(stopped), "{:?}", measured.warnings());
}

#[test]
fn a_command_gives_no_outputs() {
    let engine = CommandEngine::new(CommandOptions::new("time-it {model}")).unwrap();
    let options = SessionOptions { threads: 1, engine: &engine };
    let session = Session::load(&classifier(-2.0), &options).unwrap();
    let message = session.run_inputs(&images()).unwrap_err().to_string();
    assert_eq!(message, "the engine `command` only times models, it gives no outputs");
    let model = classifier(-2.0);
    let taps = [model.graph.value_named("pooled").unwrap()];
    assert!(matches!(Session::with_taps(&model, &taps, &options), Err(InferError::TimesOnly { .. })));
}

#[test]
fn a_command_without_the_model_is_refused() {
    let message = CommandEngine::new(CommandOptions::new("time-it model.onnx")).unwrap_err().to_string();
    assert_eq!(
        message,
        "`time-it model.onnx` cannot time models: `{model}` is not in it, which stands for the model's file"
    );
}
