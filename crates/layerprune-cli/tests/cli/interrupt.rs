//! Training that is killed, stopped and taken up again.

use insta::assert_snapshot;
use layerprune::onnx::Model;

use crate::nets;
use crate::place::Place;

const EPOCHS: usize = 30;
/// What makes a checkpoint complete.
pub(crate) const STATE: &str = "tuned.onnx.checkpoint/state.json";

fn finetune(output: &str, more: &str) -> String {
    format!("finetune net.onnx --data idx:data --normalize none --batch-size 16 --threads 1 -o {output} {more}")
}

/// A folder with a checkpoint of a run of `epochs` that was killed.
fn killed(epochs: usize) -> Place {
    let place = Place::with_data(&nets::residual());
    let mut running = place.start(&finetune("tuned.onnx", &format!("--epochs {epochs}")));
    running.wait_for(&place.path(STATE));
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
    let expected =
        ["data", "net.onnx", "tuned.onnx", "tuned.onnx.epochs.jsonl", "whole.onnx", "whole.onnx.epochs.jsonl"];
    assert_eq!(names, expected);
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
fn a_run_that_counts_as_over_is_checked_like_any_other() {
    let place = Place::with_data(&nets::residual());
    let mut running = place.start(&finetune("tuned.onnx", "--epochs 100000 --keep last"));
    running.wait_for(&place.path(STATE));
    running.kill();
    // One epoch is done at least.
    let shorter = finetune("tuned.onnx", "--epochs 1 --keep last");
    place.run(&shorter).fails(1, &["because: it was made with other settings: `epochs` is 100000 there and 1 here"]);
    place.add("net.onnx", &nets::deep());
    place.run(&shorter).fails(1, &["because: it was made for another model"]);
    assert!(!place.path("tuned.onnx").exists());
}

#[test]
fn the_best_model_so_far_is_kept_with_its_data_file() {
    let place = Place::with_data(&nets::residual());
    place.ok(&finetune("plain.onnx", &format!("--epochs {EPOCHS}")));
    nets::write_in_two_files(&nets::residual(), &place.path("net.onnx"));
    let mut running = place.start(&finetune("tuned.onnx", &format!("--epochs {EPOCHS}")));
    running.wait_for(&place.path(STATE));
    running.kill();
    std::fs::rename(place.path("tuned.onnx.checkpoint"), place.path("moved")).unwrap();
    let result = place.json("moved/state.json")["result"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read_dir(place.path(format!("moved/{result}"))).unwrap().count(), 2);
    Model::read(place.path(format!("moved/{result}/model.onnx"))).unwrap();
    place.ok(&finetune("tuned.onnx", &format!("--epochs {EPOCHS} --resume=moved")));
    place.ok("verify plain.onnx tuned.onnx");
}

#[test]
fn an_error_behind_the_last_step_of_an_epoch_loses_no_step() {
    let place = Place::with_data(&nets::residual());
    // The line of the epoch cannot be written.
    std::fs::create_dir(place.path("tuned.onnx.epochs.jsonl")).unwrap();
    place.run(&finetune("tuned.onnx", "--epochs 2")).fails(1, &["error: cannot write `tuned.onnx.epochs.jsonl`"]);
    std::fs::remove_dir(place.path("tuned.onnx.epochs.jsonl")).unwrap();
    let done = place.ok(&finetune("tuned.onnx", "--epochs 2"));
    assert!(done.stderr.starts_with("going on after 0 of 2 epochs and 3 of 3 steps, from "), "{done}");
    place.ok(&finetune("whole.onnx", "--epochs 2"));
    assert_eq!(place.bytes("tuned.onnx"), place.bytes("whole.onnx"));
    let lines = |name: &str| {
        let text = String::from_utf8(place.bytes(&format!("{name}.epochs.jsonl"))).unwrap();
        let without_times = |line: &str| {
            let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
            ["seconds", "waited"].into_iter().for_each(|key| row[key] = serde_json::Value::Null);
            row.to_string()
        };
        text.lines().map(without_times).collect::<Vec<_>>()
    };
    assert_eq!(lines("tuned.onnx"), lines("whole.onnx"));
}

#[test]
fn a_new_beginning_that_fails_leaves_the_old_checkpoint() {
    let place = killed(100_000);
    place.add("net.onnx", &nets::mysterious());
    place.run(&finetune("tuned.onnx", "--epochs 2 --restart")).fails(1, &["/middle/Mystery"]);
    place.add("net.onnx", &nets::batch_of(&nets::residual(), 16));
    place.run(&finetune("tuned.onnx", "--epochs 2 --restart")).fails(1, &["fixed to batches of 16"]);
    assert!(place.path(STATE).exists());
}

#[test]
fn what_someone_else_put_into_the_folder_stays() {
    let place = Place::with_data(&nets::residual());
    std::fs::create_dir(place.path("tuned.onnx.checkpoint")).unwrap();
    place.write("tuned.onnx.checkpoint/notes", "mine");
    place.ok(&finetune("tuned.onnx", "--epochs 2"));
    let left: Vec<_> = std::fs::read_dir(place.path("tuned.onnx.checkpoint")).unwrap().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(place.bytes("tuned.onnx.checkpoint/notes"), b"mine");
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
    let weights = format!("tuned.onnx.checkpoint/{}", place.json(STATE)["weights"].as_str().unwrap());
    let bytes = place.bytes(&weights);
    place.write(&weights, &bytes[..bytes.len() / 2]);
    let done = place.run(&finetune("tuned.onnx", "--epochs 100000"));
    done.fails(1, &[&format!("`{weights}` is incomplete"), "hint: ", "--restart"]);
    place.write(STATE, "{");
    let done = place.run(&finetune("tuned.onnx", "--epochs 100000"));
    done.fails(1, &["cannot use the checkpoint `tuned.onnx.checkpoint`; `--restart` begins anew"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_tidily_and_says_how_to_go_on() {
    let place = Place::with_data(&nets::residual());
    let mut running = place.start(&finetune("tuned.onnx", "--epochs 100000 --quiet"));
    running.wait_for(&place.path(STATE));
    let done = running.interrupt();
    done.fails(1, &["error: interrupted after ", "; the same command goes on from `tuned.onnx.checkpoint`"]);
    assert_eq!(done.stdout, "");
    assert_eq!(place.names(), ["data", "net.onnx", "tuned.onnx.checkpoint", "tuned.onnx.epochs.jsonl"]);
    let rows = place.json(STATE)["rows"].as_array().unwrap().len();
    assert!(done.stderr.contains(&format!("after {rows} of 100000 epochs")), "{done}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_within_an_epoch_loses_no_step() {
    let place = Place::with(&nets::for_demo());
    let command = "finetune net.onnx --data demo --epochs 1 --batch-size 8 --threads 1";
    let mut running = place.start(&format!("{command} --checkpoint-every 0 -o tuned.onnx"));
    running.wait_for(&place.path(STATE));
    let done = running.interrupt();
    let said = done.stderr.strip_prefix("error: interrupted after ").unwrap_or_else(|| panic!("{done}"));
    let (at, _) = said.split_once(';').unwrap();
    assert!(at.starts_with("0 of 1 epochs and "), "{done}");
    let again = place.ok(&format!("{command} -o tuned.onnx"));
    assert!(again.stderr.starts_with(&format!("going on after {at}, from `tuned.onnx.checkpoint`\n")), "{again}");
    place.ok(&format!("{command} -o whole.onnx"));
    assert_eq!(place.bytes("tuned.onnx"), place.bytes("whole.onnx"));
}

#[test]
fn a_second_run_for_the_same_output_is_refused_as_long_as_the_first_goes_on() {
    let place = Place::with_data(&nets::residual());
    let command = finetune("tuned.onnx", "--epochs 100000");
    let mut running = place.start(&command);
    running.wait_for(&place.path(STATE));
    assert_snapshot!(place.run(&command), @r#"
    exit status: 1
    ----- stderr
    error: cannot use the checkpoint `tuned.onnx.checkpoint`
      because: another run is writing it; wait for its end, or give another output
    "#);
    place.run(&format!("{command} --restart")).fails(1, &["another run is writing it"]);
    assert!(place.path(STATE).exists());
    running.kill();
    place.ok(&finetune("tuned.onnx", "--epochs 1 --restart"));
}

#[test]
fn resume_wants_something_to_resume() {
    let place = Place::with_data(&nets::residual());
    assert_snapshot!(place.run(&finetune("tuned.onnx", "--epochs 2 --resume")), @r#"
    exit status: 1
    ----- stderr
    error: there is nothing to resume: `tuned.onnx.checkpoint` holds no checkpoint
    "#);
    assert_eq!(place.names(), ["data", "net.onnx"]);
}

#[test]
fn a_checkpoint_may_lie_elsewhere() {
    let place = killed(EPOCHS);
    std::fs::rename(place.path("tuned.onnx.checkpoint"), place.path("moved")).unwrap();
    let done = place.ok(&finetune("tuned.onnx", &format!("--epochs {EPOCHS} --resume=moved")));
    assert!(done.stderr.starts_with("going on after "), "{done}");
    place.ok(&finetune("whole.onnx", &format!("--epochs {EPOCHS}")));
    assert_eq!(place.bytes("tuned.onnx"), place.bytes("whole.onnx"));
    assert!(place.path("moved/state.json").exists());
}
