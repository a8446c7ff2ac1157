//! Resuming: bit by bit the same, or a clear refusal.

use std::fs;
use std::ops::ControlFlow;

use layerprune::onnx::Model;
use layerprune_train::{
    AdamW, Checkpoint, CheckpointError, Event, Optimizer, Outcome, Settings, Sgd, TrainError, initialize, train,
};

use crate::models::{Noise, small};

fn settings() -> Settings {
    Settings { epochs: 3, batch_size: 6, learning_rate: 0.1, warm_up_epochs: 0.5, seed: 5, ..Settings::default() }
}

const DATA: Noise = Noise { batches: 4, images: 6, classes: 3 };

/// Trains until `stop` steps were done, with the checkpoints of all steps and epochs.
fn run_with(settings: &Settings, start: Option<Checkpoint>, stop: usize) -> (Outcome, Vec<Checkpoint>) {
    let mut checkpoints = Vec::new();
    let mut steps = 0;
    let outcome = train(&small(), &DATA, settings, start, &mut |event| {
        match event {
            Event::Step(step) => {
                steps += 1;
                checkpoints.push(step.checkpoint());
            }
            Event::EpochEnd(done) => checkpoints.push(done.checkpoint()),
            _ => {}
        }
        if steps == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (outcome.unwrap(), checkpoints)
}

fn run(start: Option<Checkpoint>, stop: usize) -> (Outcome, Vec<Checkpoint>) {
    run_with(&settings(), start, stop)
}

/// Through its file.
fn reloaded(checkpoint: &Checkpoint) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.checkpoint");
    checkpoint.save(&path).unwrap();
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["run.checkpoint"], "no temporary file may stay");
    let loaded = Checkpoint::load(&path).unwrap();
    assert_eq!(&loaded, checkpoint);
    loaded
}

#[test]
fn a_run_resumed_behind_any_step_ends_like_one_never_interrupted() {
    let sgd = |momentum, nesterov| Optimizer::Sgd(Sgd { momentum, nesterov });
    let adamw = Optimizer::AdamW(AdamW::default());
    let full = Settings { accumulate: 3, ema: Some(0.8), clip_norm: Some(0.3), ..settings() };
    let all = [
        settings(),
        Settings { optimizer: sgd(0.0, false), ..settings() },
        Settings { optimizer: sgd(0.9, true), ..full.clone() },
        Settings { optimizer: adamw.clone(), learning_rate: 0.01, ..settings() },
        Settings { optimizer: adamw, learning_rate: 0.01, decay_norms_and_biases: false, ..full },
    ];
    for settings in &all {
        let (whole, checkpoints) = run_with(settings, None, usize::MAX);
        assert!(whole.finished);
        let steps = settings.steps_per_epoch(4);
        assert_eq!(checkpoints.len(), 3 * (steps + 1));
        for checkpoint in &checkpoints {
            let at = (checkpoint.epochs_done(), checkpoint.steps_done());
            let (resumed, behind) = run_with(settings, Some(reloaded(checkpoint)), usize::MAX);
            assert!(resumed.finished);
            assert!(resumed.model.to_bytes() == whole.model.to_bytes(), "{settings:?}, {at:?}");
            assert_eq!(resumed.epochs[..], whole.epochs[at.0..], "{settings:?}, {at:?}");
            assert_eq!(behind.last().unwrap_or(checkpoint), checkpoints.last().unwrap());
        }
    }
}

#[test]
fn a_run_can_be_stopped_behind_any_step() {
    let (whole, checkpoints) = run(None, usize::MAX);
    for stop in [1, 3, 4, 6, 12] {
        let (stopped, until) = run(None, stop);
        assert!(!stopped.finished);
        assert_eq!(stopped.epochs[..], whole.epochs[..(stop - 1) / 4]);
        let last = until.last().unwrap();
        assert_eq!((last.epochs_done(), last.steps_done()), ((stop - 1) / 4, (stop - 1) % 4 + 1));
        assert_eq!(last.settings(), &settings());
        assert_eq!(until[..], checkpoints[..until.len()]);
        let (resumed, _) = run(Some(last.clone()), usize::MAX);
        assert!(resumed.model.to_bytes() == whole.model.to_bytes(), "{stop}");
    }
}

#[test]
fn a_run_that_was_done_is_not_done_again() {
    let (whole, checkpoints) = run(None, usize::MAX);
    let (again, events) = run(checkpoints.last().cloned(), usize::MAX);
    assert!(again.finished && again.epochs.is_empty() && events.is_empty());
    assert_eq!(again.model.to_bytes(), whole.model.to_bytes());
}

#[test]
fn a_note_is_found_again() {
    let (_, checkpoints) = run(None, 1);
    assert_eq!(checkpoints[0].note(), "");
    let noted = checkpoints[0].clone().with_note("{\"best\": 3} \u{2713}".to_owned());
    assert_eq!(reloaded(&noted).note(), "{\"best\": 3} \u{2713}");
    let (resumed, _) = run(Some(noted), usize::MAX);
    let (whole, _) = run(None, usize::MAX);
    assert_eq!(resumed.model.to_bytes(), whole.model.to_bytes());
}

#[test]
fn checkpoints_of_other_runs_are_refused() {
    let model = small();
    let (_, checkpoints) = run(None, 2);
    let refuse = |model: &Model, data: &Noise, settings: &Settings| {
        let start = Some(checkpoints[1].clone());
        let error = train(model, data, settings, start, &mut |_| ControlFlow::Continue(())).unwrap_err();
        let TrainError::Checkpoint(error) = error else { panic!("{error}") };
        let checked = checkpoints[1].check(model, None, settings, data.batches).unwrap_err();
        assert_eq!(checked.to_string(), error.to_string());
        error.to_string()
    };
    checkpoints[1].check(&model, None, &settings(), DATA.batches).unwrap();
    let taught = checkpoints[1].check(&model, Some(&model), &settings(), DATA.batches).unwrap_err();
    assert_eq!(taught.to_string(), "the model learnt from another teacher there");
    let other = initialize(&model, 3).unwrap();
    let expected =
        format!("it was made for another model (digest {}, this one has {})", model.digest(), other.digest());
    assert_eq!(refuse(&other, &DATA, &settings()), expected);
    assert_eq!(
        refuse(&model, &Noise { batches: 5, ..DATA }, &settings()),
        "it was made with data of 4 batches an epoch, this has 5"
    );
    let slow = Optimizer::Sgd(Sgd { momentum: 0.5, nesterov: false });
    for (other, expected) in [
        (Settings { optimizer: slow, ..settings() }, "`optimizer.momentum` is 0.9 there and 0.5 here"),
        (
            Settings { optimizer: Optimizer::AdamW(AdamW::default()), ..settings() },
            r#"`optimizer` is {"kind":"sgd","momentum":0.9,"nesterov":false} there and {"beta1":0.9,"beta2":0.999,"epsilon":1e-8,"kind":"adam-w"} here"#,
        ),
        (Settings { ema: Some(0.5), ..settings() }, "`ema` is null there and 0.5 here"),
        (Settings { seed: 6, ..settings() }, "`seed` is 5 there and 6 here"),
    ] {
        assert_eq!(refuse(&model, &DATA, &other), format!("it was made with other settings: {expected}"));
    }
}

/// The file with another number of its header, and a check sum that agrees.
fn forged(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let header =
        String::from_utf8(bytes[28..][..u64::from_le_bytes(bytes[20..28].try_into().unwrap()) as usize].to_vec());
    let header = header.unwrap();
    assert_eq!(header.matches(from).count(), 1, "{header}");
    let new = header.replace(from, to);
    let numbers = &bytes[28 + header.len()..bytes.len() - 8];
    let mut forged = [&bytes[..20], &(new.len() as u64).to_le_bytes(), new.as_bytes(), numbers].concat();
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for chunk in forged.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
        sum ^= sum >> 29;
    }
    forged.extend(sum.to_le_bytes());
    forged
}

#[test]
fn progress_that_the_run_cannot_have_made_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    let (_, checkpoints) = run(None, 1);
    checkpoints[0].save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let from = r#""progress":{"epoch":0,"step":1,"steps":1,"#;
    let resume = |epoch: u64, step: u64, steps: u64| {
        let to = format!(r#""progress":{{"epoch":{epoch},"step":{step},"steps":{steps},"#);
        fs::write(&path, forged(&bytes, from, &to)).unwrap();
        let start = Some(Checkpoint::load(&path).unwrap());
        train(&small(), &DATA, &settings(), start, &mut |_| ControlFlow::Continue(()))
    };
    assert!(resume(0, 1, 1).unwrap().finished && resume(2, 4, 12).unwrap().finished && resume(3, 0, 12).is_ok());
    for (epoch, step, steps) in
        [(4, 0, 1), (3, 1, 1), (0, 5, 5), (0, 1, 2), (0, u64::MAX, 1), (u64::MAX, u64::MAX, 1), (0, 1, u64::MAX)]
    {
        let TrainError::Checkpoint(error) = resume(epoch, step, steps).unwrap_err() else { panic!("{epoch}, {step}") };
        let expected =
            format!("it says that {epoch} epochs and {step} steps of the next were done, of 3 epochs of 4 steps");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn damaged_files_are_refused_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    let (_, checkpoints) = run(None, 1);
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
    assert_eq!(
        message(&[&bytes[..], b"!"].concat()),
        format!("checkpoint `{name}` is incomplete: {} bytes, {len} are needed", len + 1)
    );
    let changed = |at: usize, to: u8| {
        let mut changed = bytes.clone();
        changed[at] = to;
        changed
    };
    let damaged = format!("checkpoint `{name}` is damaged: its check sum does not agree");
    for at in (len - 200..len).step_by(7) {
        assert_eq!(message(&changed(at, bytes[at] ^ 1)), damaged, "byte {at}");
    }
    for version in [1, 9] {
        assert_eq!(
            message(&changed(16, version)),
            format!(
                "checkpoint `{name}` has format version {version}, this program reads 2: go on with the program that \
                 wrote it, or begin anew"
            )
        );
    }
    assert_eq!(message(b"something else"), format!("`{name}` is not a checkpoint: it does not begin like one"));
    fs::remove_file(&path).unwrap();
    let error = Checkpoint::load(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read checkpoint `{name}`"));
}
