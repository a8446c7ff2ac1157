//! Resuming: bit by bit the same, or a clear refusal.

use std::fs;
use std::ops::ControlFlow;

use layerprune::onnx::Model;
use layerprune_train::{
    Checkpoint, CheckpointError, Event, Optimizer, Outcome, Settings, Sgd, TrainError, initialize, train,
};

use crate::models::{Noise, small};

fn settings() -> Settings {
    Settings { epochs: 3, batch_size: 6, learning_rate: 0.1, warm_up_epochs: 0.5, seed: 5, ..Settings::default() }
}

const DATA: Noise = Noise { batches: 4, images: 6, classes: 3 };

fn run(model: &Model, start: Option<Checkpoint>, stop_after: usize) -> (Outcome, Vec<Checkpoint>) {
    let mut checkpoints = Vec::new();
    let outcome = train(model, &DATA, &settings(), start, &mut |event| {
        if let Event::EpochEnd(done) = event {
            checkpoints.push(done.checkpoint());
            if done.summary.epoch + 1 == stop_after {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    (outcome.unwrap(), checkpoints)
}

#[test]
fn a_resumed_run_ends_like_one_never_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.checkpoint");
    let model = small();
    let (whole, _) = run(&model, None, 99);
    assert!(whole.finished);
    for stop in [1, 2] {
        let (stopped, checkpoints) = run(&model, None, stop);
        assert!(!stopped.finished);
        assert_ne!(stopped.model.to_bytes(), whole.model.to_bytes());
        checkpoints.last().unwrap().save(&path).unwrap();
        let loaded = Checkpoint::load(&path).unwrap();
        assert_eq!(&loaded, checkpoints.last().unwrap());
        assert_eq!((loaded.epochs_done(), loaded.settings()), (stop, &settings()));
        let (resumed, _) = run(&model, Some(loaded), 99);
        assert_eq!(resumed.model.to_bytes(), whole.model.to_bytes());
        assert_eq!(resumed.epochs[..], whole.epochs[stop..]);
    }
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["run.checkpoint"], "no temporary file may stay");
}

#[test]
fn a_run_that_was_done_is_not_done_again() {
    let model = small();
    let (whole, checkpoints) = run(&model, None, 99);
    let (again, _) = run(&model, checkpoints.last().cloned(), 99);
    assert!(again.finished && again.epochs.is_empty());
    assert_eq!(again.model.to_bytes(), whole.model.to_bytes());
}

#[test]
fn checkpoints_of_other_runs_are_refused() {
    let model = small();
    let (_, checkpoints) = run(&model, None, 1);
    let refuse = |model: &Model, settings: &Settings| {
        let start = Some(checkpoints[0].clone());
        let error = train(model, &DATA, settings, start, &mut |_| ControlFlow::Continue(())).unwrap_err();
        let TrainError::Checkpoint(error) = error else { panic!("{error}") };
        error
    };
    let other = initialize(&model, 3).unwrap();
    let error = refuse(&other, &settings()).to_string();
    let expected =
        format!("it was made for another model (digest {}, this one has {})", model.digest(), other.digest());
    assert_eq!(error, expected);
    let error =
        refuse(&model, &Settings { optimizer: Optimizer::Sgd(Sgd { momentum: 0.5, nesterov: false }), ..settings() })
            .to_string();
    assert_eq!(error, "it was made with other settings: `optimizer.momentum` is 0.9 there and 0.5 here");
}

#[test]
fn damaged_files_are_refused_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    let (_, checkpoints) = run(&small(), None, 1);
    checkpoints[0].save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let error = Checkpoint::load(&path).unwrap_err();
        let expected = if len == 0 {
            matches!(error, CheckpointError::Malformed { .. })
        } else {
            matches!(error, CheckpointError::Length { .. })
        };
        assert!(expected, "{len} bytes: {error}");
    }
    let name = path.display();
    let message = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Checkpoint::load(&path).unwrap_err().to_string()
    };
    let len = bytes.len();
    assert_eq!(
        message(&bytes[..len - 1]),
        format!("checkpoint `{name}` is incomplete: {} bytes, {len} are needed", len - 1)
    );
    let mut changed = bytes.clone();
    changed[len - 20] ^= 1;
    assert_eq!(message(&changed), format!("checkpoint `{name}` is damaged: its check sum does not agree"));
    let mut newer = bytes.clone();
    newer[16] = 9;
    assert_eq!(
        message(&newer),
        format!(
            "checkpoint `{name}` has format version 9, this program reads 2: go on with the program that wrote it, or begin anew"
        )
    );
    assert_eq!(message(b"something else"), format!("`{name}` is not a checkpoint: it does not begin like one"));
    fs::remove_file(&path).unwrap();
    let error = Checkpoint::load(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read checkpoint `{name}`"));
}
