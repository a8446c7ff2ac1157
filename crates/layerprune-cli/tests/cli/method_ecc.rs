//! Training towards a latency, with file sizes as times: they are a bilinear function of the channels.
#![cfg(unix)]

use crate::nets;
use crate::place::Place;

/// A microsecond for each byte of the model.
const BYTES: &str = "command:echo latency_us: $(wc -c < {model})";
const PRUNE: &str = "prune net.onnx --method ecc --data idx:data --normalize none --threads 1 --method-batch-size 8";

fn size(place: &Place, name: &str) -> f64 {
    std::fs::metadata(place.path(name)).unwrap().len() as f64
}

#[test]
fn training_meets_a_latency_that_a_bilinear_model_foretells() {
    let place = Place::with_data(&nets::residual());
    let flags = "--latency-reduction 15% --method-epochs 4 -o pruned.onnx";
    let done = place.run_with(&format!("{PRUNE} {flags}"), &["--engine", BYTES]);
    assert_eq!(done.code, Some(0), "{done}");
    let line =
        done.stderr.lines().find(|line| line.contains("a bilinear model of the latency of 64 networks is off by "));
    let percent = line.and_then(|line| line.split("off by ").nth(1)?.split(' ').next()?.parse::<f64>().ok());
    assert!(percent.is_some_and(|percent| percent < 3.0), "sizes are bilinear but for batch norms: {done}");
    let left = size(&place, "pruned.onnx") / size(&place, "net.onnx");
    assert!(left <= 0.85, "{left}: {done}");
    assert!(left > 0.5, "much more went than was asked for, {left}: {done}");
    assert!(done.stdout.starts_with("removed filters: "), "{done}");
    assert!(done.stdout.contains("the method goes on by learning from the whole model"), "{done}");
    assert_eq!(place.names(), ["data", "net.onnx", "pruned.onnx"]);
}

#[test]
fn what_it_cannot_work_on_is_refused_before_training() {
    let place = Place::with_data(&nets::residual());
    for (flags, expected) in [
        ("--macs 50%", "trains towards a latency; limit that"),
        ("--latency-reduction 15% --protect *", "no layer may lose channels"),
        ("--latency-reduction 99%", "cannot be met: with all gone that may go"),
    ] {
        let done = place.run_with(&format!("{PRUNE} {flags} -o pruned.onnx"), &["--engine", BYTES]);
        assert!(done.code != Some(0) && done.stderr.contains(expected), "{flags}: {done}");
        assert!(!place.path("pruned.onnx").exists(), "{flags}");
    }
}
