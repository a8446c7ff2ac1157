//! Training that is killed, stopped and taken up again.

use insta::assert_snapshot;

use crate::nets;
use crate::place::Place;

const EPOCHS: usize = 30;

fn finetune(output: &str, more: &str) -> String {
    format!("finetune net.onnx --data idx:data --normalize none --batch-size 16 --threads 1 -o {output} {more}")
}

/// A folder with a checkpoint of a run of `epochs` that was killed.
fn killed(epochs: usize) -> Place {
    let place = Place::with_data(&nets::residual());
    let mut running = place.start(&finetune("tuned.onnx", &format!("--epochs {epochs}")));
    running.wait_for(&place.path("tuned.onnx.checkpoint"));
    running.kill();
    assert!(!place.path("tuned.onnx").exists());
    place
}

#[test]
fn a_killed_run_goes_on_and_ends_with_the_bytes_of_one_that_was_not() {
    let place = killed(EPOCHS);
    let again = place.ok(&finetune("tuned.onnx", &format!("--epochs {EPOCHS} --format json")));
    let said = again.stderr.lines().next().unwrap();
    let done: usize = said.strip_prefix("going on after ").unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(said, format!("going on after {done} of {EPOCHS} epochs, from `tuned.onnx.checkpoint`"));
    assert!(done >= 1);
    assert_eq!(again.json().as_array().unwrap().last().unwrap()["epoch"], EPOCHS);
    place.ok(&finetune("whole.onnx", &format!("--epochs {EPOCHS}")));
    assert_eq!(place.bytes("tuned.onnx"), place.bytes("whole.onnx"));
    let mut names = place.names();
    // A file that was being written when the run was killed may be left.
    names.retain(|name| !name.contains(".part") && !name.starts_with(".layerprune-"));
    assert_eq!(names, ["data", "net.onnx", "tuned.onnx", "whole.onnx"]);
}

#[test]
fn a_checkpoint_made_with_other_settings_is_refused_until_told_to_begin_anew() {
    let place = killed(100_000);
    assert_snapshot!(place.run(&finetune("tuned.onnx", "--epochs 2")), @r#"
    exit status: 1
    ----- stderr
    error: cannot resume from the checkpoint
      because: it was made with other settings: `epochs` is 100000 there and 2 here
    hint: an interrupted run left the checkpoint: give its settings to go on, or `--restart` to begin anew (with `run`, delete it)
    "#);
    let done = place.ok(&finetune("tuned.onnx", "--epochs 2 --restart"));
    assert!(!done.stderr.contains("going on"), "{done}");
    place.ok(&finetune("whole.onnx", "--epochs 2"));
    assert_eq!(place.bytes("tuned.onnx"), place.bytes("whole.onnx"));
    assert!(!place.path("tuned.onnx.checkpoint").exists());
}

#[test]
fn a_checkpoint_made_from_another_model_is_refused() {
    let place = killed(100_000);
    place.add("net.onnx", &nets::deep());
    assert_snapshot!(place.run(&finetune("tuned.onnx", "--epochs 100000")), @r#"
    exit status: 1
    ----- stderr
    error: cannot resume from the checkpoint
      because: it was made for another model (digest [DIGEST], this one has [DIGEST])
    hint: an interrupted run left the checkpoint: give its settings to go on, or `--restart` to begin anew (with `run`, delete it)
    "#);
}

#[test]
fn a_checkpoint_made_on_other_data_is_refused() {
    let place = killed(100_000);
    for flags in ["--held-out 0.2", "--flip", "--normalize mnist"] {
        let command = finetune("tuned.onnx", "--epochs 100000").replace("--normalize none", "");
        let normalize = if flags.contains("normalize") { "" } else { "--normalize none" };
        let done = place.run(&format!("{command} {normalize} {flags}"));
        done.fails(1, &["error: cannot resume from the checkpoint", "hint: ", "--restart"]);
    }
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let place = killed(100_000);
    let bytes = place.bytes("tuned.onnx.checkpoint");
    place.write("tuned.onnx.checkpoint", &bytes[..bytes.len() / 2]);
    let done = place.run(&finetune("tuned.onnx", "--epochs 100000"));
    done.fails(1, &["`tuned.onnx.checkpoint` is incomplete", "hint: ", "--restart"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_tidily_and_says_how_to_go_on() {
    let place = Place::with_data(&nets::residual());
    let mut running = place.start(&finetune("tuned.onnx", "--epochs 100000 --quiet"));
    running.wait_for(&place.path("tuned.onnx.checkpoint"));
    let done = running.interrupt();
    done.fails(
        1,
        &["error: interrupted after ", " of 100000 epochs; the same command goes on from `tuned.onnx.checkpoint`"],
    );
    assert_eq!(done.stdout, "");
    let names = ["data", "net.onnx", "tuned.onnx.checkpoint", "tuned.onnx.epochs.json"];
    assert_eq!(place.names(), names);
    let rows = place.json("tuned.onnx.epochs.json")["epochs"].as_array().unwrap().len();
    assert!(done.stderr.contains(&format!("after {rows} of")), "{done}");
}
