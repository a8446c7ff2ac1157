//! Sweeps, with a command of the shell as clock.
#![cfg(unix)]

use std::fs;

use serde_json::Value;

use crate::nets;
use crate::place::{Done, Place};

/// A microsecond for each byte of the model.
const BYTES: &str = "command:echo latency_us: $(wc -c < {model})";
const FLAGS: &str = "sweep net.onnx --data idx:data --normalize none --criterion weight-norm -o out";

fn sweep(place: &Place, flags: &str, engine: &str) -> Done {
    place.run_with(&format!("{FLAGS} {flags}"), &["--engine", engine, "--command-retries", "0"])
}

fn record(place: &Place) -> Value {
    place.json("out/sweep.json")
}

fn budgets(record: &Value) -> Vec<String> {
    record["points"].as_array().unwrap().iter().map(|point| point["budget"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_point_is_a_model_that_meets_its_budget() {
    let place = Place::with_data(&nets::deep());
    let done = sweep(&place, "--latency-reductions 20,40,99.9 --search exact --format json", BYTES);
    assert_eq!(done.code, Some(0), "{done}");
    let found = done.json();
    assert_eq!(found, record(&place));
    assert_eq!(budgets(&found), ["latency reduction 20 %", "latency reduction 40 %"]);
    assert_eq!(found["failures"][0]["budget"], "latency reduction 99.9 %");
    assert!(
        found["failures"][0]["reason"].as_str().unwrap().contains("cannot be met: with all 6 removable layers gone")
    );
    let whole = place.bytes("net.onnx").len() as f64;
    for (point, asked) in found["points"].as_array().unwrap().iter().zip([20.0, 40.0]) {
        let file = format!("out/{}", point["file"].as_str().unwrap());
        let percent = 100.0 * (1.0 - place.bytes(&file).len() as f64 / whole);
        assert!(percent >= asked, "{point}");
        assert!((point["latency"]["latency_reduction_percent"].as_f64().unwrap() - percent).abs() < 1e-6);
        assert_eq!(point["accuracy"]["images"], 6);
        assert!(!point["layers"].as_array().unwrap().is_empty());
        place.ok(&format!("eval {file} --data idx:data --normalize none"));
    }
    for page in ["sweep.html", "sweep.md", "sweep.csv", "sweep.svg"] {
        assert!(place.path("out").join(page).exists(), "{page}");
    }
    place.ok("report out/sweep.json -o page.html");
    assert_eq!(place.bytes("page.html"), place.bytes("out/sweep.html"));
}

#[test]
fn the_same_command_adds_what_is_missing_and_nothing_else() {
    let place = Place::with_data(&nets::deep());
    assert_eq!(sweep(&place, "--latency-reductions 20", BYTES).code, Some(0));
    let modified = |name: &str| fs::metadata(place.path("out").join(name)).unwrap().modified().unwrap();
    let first = (modified("reduction-20.onnx"), record(&place)["points"][0].clone());
    assert_eq!(sweep(&place, "--latency-reductions 40,20", BYTES).code, Some(0));
    assert_eq!((modified("reduction-20.onnx"), record(&place)["points"][0].clone()), first);
    assert_eq!(budgets(&record(&place)), ["latency reduction 20 %", "latency reduction 40 %"]);
    // A point whose file is another one is made anew.
    fs::copy(place.path("net.onnx"), place.path("out/reduction-40.onnx")).unwrap();
    assert_eq!(sweep(&place, "--latency-reductions 20,40", BYTES).code, Some(0));
    assert_ne!(place.bytes("out/reduction-40.onnx"), place.bytes("net.onnx"));
    assert_eq!(budgets(&record(&place)).len(), 2);
    let elsewhere = sweep(&place, "--latency-reductions 20", "command:echo latency_us: $(wc -c < {model}); echo again");
    elsewhere.fails(1, &["timed by another engine or on another machine"]);
    let other = sweep(&place, "--latency-reductions 20 --recover recalibrate", BYTES);
    other.fails(1, &["cannot go on with the sweep `out/sweep.json`", "or `--restart`"]);
    assert_eq!(sweep(&place, "--latency-reductions 20 --recover recalibrate --restart", BYTES).code, Some(0));
    assert_eq!(budgets(&record(&place)).len(), 1);
}

#[test]
fn an_engine_that_fails_loses_no_point_and_the_sweep_goes_on_afterwards() {
    let place = Place::with_data(&nets::deep());
    let brittle = "command:test ! -e off || exit 3; echo latency_us: $(wc -c < {model}); \
                   test -e mended || ! grep -q 'file\": \"reduction-20' out/sweep.json || touch off";
    let done = sweep(&place, "--latency-reductions 20,40", brittle);
    done.fails(1, &["error: "]);
    assert_eq!(budgets(&record(&place)), ["latency reduction 20 %"]);
    fs::remove_file(place.path("off")).unwrap();
    place.write("mended", "");
    assert_eq!(sweep(&place, "--latency-reductions 20,40", brittle).code, Some(0));
    assert_eq!(budgets(&record(&place)), ["latency reduction 20 %", "latency reduction 40 %"]);
}

#[test]
fn points_can_be_fine_tuned() {
    let place = Place::with_data(&nets::residual());
    let plain = sweep(&place, "--latency-reductions 10", BYTES);
    assert_eq!(plain.code, Some(0), "{plain}");
    let cut = place.bytes("out/reduction-10.onnx");
    let tuned = sweep(&place, "--latency-reductions 10 --finetune --epochs 1 --batch-size 8 --restart", BYTES);
    assert_eq!(tuned.code, Some(0), "{tuned}");
    assert_ne!(place.bytes("out/reduction-10.onnx"), cut);
    let left: Vec<_> = fs::read_dir(place.path("out")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("checkpoint")), "{left:?}");
}

#[test]
fn checkpoints_of_finished_points_go_and_what_is_not_of_the_sweep_stays() {
    let place = Place::with_data(&nets::deep());
    let flags = "--latency-reductions 20 --finetune --epochs 1 --batch-size 8";
    assert_eq!(sweep(&place, flags, BYTES).code, Some(0));
    let checkpoint = "out/reduction-20.onnx.checkpoint";
    fs::create_dir(place.path(checkpoint)).unwrap();
    for name in ["state.json", "1-0.weights"] {
        place.write(&format!("{checkpoint}/{name}"), "");
    }
    assert_eq!(sweep(&place, flags, BYTES).code, Some(0));
    assert!(!place.path(checkpoint).exists());

    fs::create_dir(place.path(checkpoint)).unwrap();
    let own = ["out/reduction-20.onnx.notes", "out/reduction-best.onnx.epochs.jsonl", &format!("{checkpoint}/notes")];
    own.iter().for_each(|name| place.write(name, "mine"));
    place.write(&format!("{checkpoint}/state.json"), "");
    assert_eq!(sweep(&place, &format!("{flags} --restart"), BYTES).code, Some(0));
    own.iter().for_each(|name| assert_eq!(place.bytes(name), b"mine"));
    assert!(!place.path(checkpoint).join("state.json").exists());
}

#[test]
fn nothing_within_reach_is_an_error() {
    let place = Place::with_data(&nets::residual());
    let done = sweep(&place, "--latency-reductions 99.9", BYTES);
    done.fails(1, &["error: none of the latency reductions can be met"]);
    assert!(budgets(&record(&place)).is_empty());
}
