//! A run that is killed at random moments, again and again.

use std::time::{Duration, Instant};

use layerprune::stats::SplitMix;
use serde_json::Value;

use crate::place::Place;
use crate::{events, nets};

const KILLS: usize = 20;

fn finetune(output: &str) -> String {
    // A checkpoint every twentieth of a second.
    format!(
        "finetune net.onnx --data demo --epochs 3 --batch-size 32 --flip --pad-crop 2 --threads 1 --ema 0.9 --patience 2 \
         --checkpoint-every 0.0008 --tensorboard {output}.events -o {output}"
    )
}

/// The epochs of a run, times left out.
fn epochs(place: &Place, output: &str) -> Vec<Value> {
    let text = String::from_utf8(place.bytes(&format!("{output}.epochs.jsonl"))).unwrap();
    let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for row in &mut rows {
        let [seconds, waited] = ["seconds", "waited"].map(|key| row[key].take().as_f64().unwrap());
        assert!(seconds > 0.0 && (0.0..=seconds).contains(&waited), "{waited} of {seconds}");
    }
    rows
}

#[test]
fn a_run_killed_twenty_times_ends_like_one_never_killed() {
    let place = Place::with(&nets::for_demo());
    let began = Instant::now();
    let mut whole = place.start(&finetune("whole.onnx"));
    whole.wait_for(&place.path("whole.onnx.checkpoint/state.json"));
    let start_up = began.elapsed();
    assert!(whole.ends_well());
    let training = began.elapsed() - start_up;

    let mut random = SplitMix::new(11);
    for kill in 0..KILLS {
        let running = place.start(&finetune("tuned.onnx"));
        // Every fourth time before it trains; else so early that twenty times are not the whole run.
        let (at_least, within) = match kill % 4 {
            0 => (Duration::ZERO, start_up),
            _ => (start_up, training / 30),
        };
        std::thread::sleep(at_least + within.mul_f64(random.uniform()));
        running.kill();
    }
    let done = place.ok(&finetune("tuned.onnx"));
    assert!(done.stderr.starts_with("going on after "), "{done}");
    assert_eq!(place.bytes("tuned.onnx"), place.bytes("whole.onnx"));
    assert_eq!(epochs(&place, "tuned.onnx"), epochs(&place, "whole.onnx"));

    let whole = events::scalars(&place.path("whole.onnx.events"));
    let tags: Vec<&str> = whole.keys().map(String::as_str).collect();
    assert_eq!(tags, ["held-out/loss", "held-out/top-1", "train/learning-rate", "train/loss", "train/top-1"]);
    // 224 batches of 32 images are full.
    assert_eq!(whole["train/loss"].len(), 3 * 224);
    assert_eq!(whole["held-out/top-1"].len(), 3);
    assert_eq!(events::scalars(&place.path("tuned.onnx.events")), whole);
}
