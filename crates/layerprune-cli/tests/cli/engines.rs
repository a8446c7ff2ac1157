//! Commands as engines, made of the shell, and what becomes of measurements when an engine fails.
#![cfg(unix)]

use insta::assert_snapshot;

use crate::nets;
use crate::place::{Done, Place};

/// Tells a microsecond for each byte of the model, so that every number is known.
const BYTES: &str = "command:echo latency_us: $(wc -c < {model})";

/// `net.onnx`, and `pruned.onnx` with fewer layers.
fn place() -> Place {
    let place = Place::with(&nets::deep());
    place.ok("prune net.onnx --remove layer1.0,layer1.1,layer1.2,layer1.3 -o pruned.onnx");
    place
}

fn timed(place: &Place, flags: &str, engine: &str) -> Done {
    place.run_with(&format!("latency net.onnx {flags}"), &["--engine", engine])
}

/// How much smaller the pruned file is, in percent.
fn smaller(place: &Place) -> f64 {
    let [whole, pruned] = ["net.onnx", "pruned.onnx"].map(|name| place.bytes(name).len() as f64);
    100.0 * (1.0 - pruned / whole)
}

#[test]
fn a_command_times_models() {
    let place = place();
    let done = timed(&place, "pruned.onnx --format json", BYTES);
    let cell = &done.json()[0];
    assert_eq!(cell["engine"], format!("command {}", &BYTES["command:".len()..]));
    assert_eq!(cell["pinned"], false);
    let [net, pruned] = [0, 1].map(|place| &cell["models"][place]);
    assert_eq!(net["stats"]["samples"], 10);
    assert!((net["stats"]["median_ms"].as_f64().unwrap() - place.bytes("net.onnx").len() as f64 / 1e3).abs() < 1e-6);
    let against = &pruned["against_first"];
    assert!((against["latency_reduction_percent"].as_f64().unwrap() - smaller(&place)).abs() < 1e-6, "{against}");
    assert_eq!(against["verdict"], "faster");
}

#[test]
fn a_command_is_told_below_the_table() {
    let place = Place::with(&nets::residual());
    let done = timed(&place, "net.onnx --batch 1,4", "command:\n  : {model};\n  echo latency_ms: {batch}.5");
    assert_snapshot!(done, @r"
    exit status: 0
    ----- stdout
    model     engine   threads  batch    median       p90       p95       p99  spread (MAD)  samples  per second  latency reduction               speed-up
    net.onnx  command        1      1  1.500 ms  1.500 ms  1.500 ms  1.500 ms      0.000 ms       10         667
    net.onnx  command        1      1  1.500 ms  1.500 ms  1.500 ms  1.500 ms      0.000 ms       10         667  not faster: 0.0 % (0.0 to 0.0)  1.00x (1.00 to 1.00)
    net.onnx  command        1      4  4.500 ms  4.500 ms  4.500 ms  4.500 ms      0.000 ms       10         889
    net.onnx  command        1      4  4.500 ms  4.500 ms  4.500 ms  4.500 ms      0.000 ms       10         889  not faster: 0.0 % (0.0 to 0.0)  1.00x (1.00 to 1.00)
    net.onnx: latency reduction from 0.0 % (command, batch 1, 1 thread(s)) to 0.0 % (command, batch 4, 1 thread(s))
    command: : {model}; echo latency_ms: {batch}.5
    note: command, batch 1, 1 thread(s): only 10 samples were taken, 30 or more are needed for a sound interval: take more
    note: command, batch 4, 1 thread(s): only 10 samples were taken, 30 or more are needed for a sound interval: take more
    ");
}

#[test]
fn engines_make_a_matrix() {
    let place = Place::with(&nets::residual());
    let engines = format!("rten,{BYTES}; echo rten,rten");
    let done = place.run_with("latency net.onnx --samples 5 --warm-up 0 --format json", &["--engines", &engines]);
    let json = done.json();
    let engines: Vec<_> = json.as_array().unwrap().iter().map(|cell| cell["engine"].as_str().unwrap()).collect();
    assert_eq!(engines, ["rten 0.27", &format!("command {}; echo rten,rten", &BYTES["command:".len()..])]);
}

#[test]
fn every_fault_of_a_command_is_told() {
    let place = Place::with(&nets::residual());
    let fault = |flags: &str, engine: &str| {
        let done = timed(&place, &format!("--command-retries 0 {flags}"), engine);
        done.fails(
            1,
            &["error: nothing was timed with command, batch 1, 1 thread(s)", "` gave no latency in 1 attempt\n"],
        );
        done.stderr.split_once("\n  because: it ").unwrap().1.to_owned()
    };
    let said = fault("", "command:echo no such device >&2; exit 3; {model}");
    assert_eq!(said, "ended with exit status: 3; standard error:\n    no such device\n");
    let said = fault("", "command:cat {model} > copy; echo done in no time");
    assert_eq!(said, "printed no line `latency_ms: NUMBER`; standard output:\n    done in no time\n");
    let said = fault("--command-timeout 0.2", "command:sleep 1000; : {model}");
    assert_eq!(said, "did not end within 0.2 s and was killed\n");
    let said = fault("", "command:: {model}; echo latency_ms: -2");
    assert_eq!(said, "tells a latency of `-2`, expected a positive number\n");
    assert!(fault("", "command:no-such-program {model}").contains("no-such-program"));
}

#[test]
fn a_failing_command_is_tried_again() {
    let place = Place::with(&nets::residual());
    let line = "command:: {model}; echo x >> runs; test $(($(wc -l < runs) % 2)) = 0 && echo latency_ms: 1";
    assert_eq!(timed(&place, "--command-retries 1", line).code, Some(0));
    let done = timed(&place, "--command-retries 1", "command:: {model}; exit 1");
    done.fails(1, &["`: /", " gave no latency in 2 attempts"]);
}

#[test]
fn samples_before_a_failure_are_kept() {
    let place = Place::with(&nets::residual());
    let line = "command:: {model}; echo x >> runs; test $(wc -l < runs) -le 7 && echo latency_ms: 2";
    let done = timed(&place, "--command-retries 0 --samples 20", line);
    assert_eq!(done.code, Some(0), "{done}");
    assert!(done.stdout.contains("note: timing stopped after 6 samples of each model, which count: "), "{done}");
}

#[test]
fn as_many_samples_are_taken_as_asked_for() {
    let place = Place::with(&nets::residual());
    let done = timed(&place, "--samples 30 --format json", BYTES);
    assert_eq!(done.json()[0]["models"][0]["stats"]["samples_ms"].as_array().unwrap().len(), 30);
    assert_eq!(done.json()[0]["warnings"], serde_json::json!([]));
}

#[test]
fn cells_before_a_failure_are_printed() {
    let place = Place::with(&nets::residual());
    let line = "command:: {model}; test {batch} != 2 && echo latency_ms: {batch}";
    let done = timed(&place, "--batch 1,2,4 --command-retries 0", line);
    done.fails(1, &["error: nothing was timed with command, batch 2, 1 thread(s)\n  because: "]);
    let rows = done.stdout.lines().filter(|line| line.starts_with("net.onnx "));
    assert_eq!(rows.map(|row| row.split_whitespace().nth(3).unwrap()).collect::<Vec<_>>(), ["1", "4"]);
    let done = place.run("latency net.onnx --engines onnxruntime,rten --ort-lib none.so --samples 5 --warm-up 0");
    done.fails(
        1,
        &["error: nothing was timed with onnxruntime, batch 1, 1 thread(s)", "hint: name its shared library"],
    );
    assert!(done.stdout.contains("\nnet.onnx  rten 0.27 "), "{done}");
}

#[test]
fn ctrl_c_ends_a_command_that_hangs_and_keeps_what_is_there() {
    let place = Place::with(&nets::residual());
    let line = "command:: {model}; test {batch} = 1 || { touch hangs; sleep 1000; }; echo latency_ms: 1";
    let mut running = place.start_with("latency net.onnx --batch 1,2", &["--engine", line]);
    running.wait_for(&place.path("hangs"));
    let done = running.interrupt();
    done.fails(1, &["error: interrupted"]);
    assert_eq!(done.stdout.lines().filter(|line| line.starts_with("net.onnx ")).count(), 1, "{done}");
}

#[test]
fn the_time_may_be_read_by_a_pattern_or_be_that_of_the_command() {
    let place = Place::with(&nets::residual());
    let line = "command:: {model}; echo '[I] Latency: min = 1 ms, median = 2.25 ms'";
    let done = place.run_with(
        "latency net.onnx --format json",
        &["--engine", line, "--command-time", r"Latency: .*median = ([0-9.]+) ms"],
    );
    assert_eq!(done.json()[0]["models"][0]["stats"]["median_ms"], 2.25);
    let done =
        place.run_with("latency net.onnx --format json --command-time wall", &["--engine", "command:test -s {model}"]);
    assert!(done.json()[0]["models"][0]["stats"]["median_ms"].as_f64().unwrap() > 0.0, "{done}");
}

#[test]
fn engines_that_there_are_not_are_wrong_usage() {
    let place = Place::with(&nets::residual());
    let wrong = |flags: &[&str]| place.run_with("latency net.onnx", flags);
    wrong(&["--engine", "rtem"])
        .fails(2, &["'rtem'", "rten, onnxruntime, command:LINE", "a similar value exists: 'rten'"]);
    wrong(&["--engines", "rten,onnxruntim"]).fails(2, &["'onnxruntim'", "a similar value exists: 'onnxruntime'"]);
    wrong(&["--engine", "command:"]).fails(2, &["`{model}` is not in it"]);
    wrong(&["--engine", "command:LINE"]).fails(2, &["`LINE` cannot time models: `{model}` is not in it"]);
    wrong(&["--command-time", "median"]).fails(2, &["it has no group `(...)` around the milliseconds"]);
    for seconds in ["0", "-1", "NaN", "1e9"] {
        wrong(&[&format!("--command-timeout={seconds}")]).fails(2, &["it is no number of seconds above 0"]);
    }
}

#[test]
fn with_a_command_the_embedded_engine_computes_and_the_command_times() {
    let place = place();
    let flags = ["--engine", BYTES];
    let done = place.run_with("verify net.onnx net.onnx", &flags);
    assert_eq!(done.code, Some(0), "{done}");
    let done = place.run_with(
        "prune net.onnx --latency-reduction 5% --criterion weight-norm -o by-bytes.onnx --format json",
        &flags,
    );
    assert_eq!(done.code, Some(0), "{done}");
    let whole = place.bytes("net.onnx").len() as f64;
    assert!(place.bytes("by-bytes.onnx").len() as f64 <= 0.95 * whole);
    assert!(done.stdout.contains("\"name\": \"command\""), "{done}");
}
