//! Learning from a teacher, against PyTorch and against itself.

use std::fs;
use std::ops::ControlFlow;

use std::collections::BTreeMap;

use layerprune::analysis::Units;
use layerprune::batch::Batch;
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::plan::{self, Constraints};
use layerprune::surgery;
use layerprune_testing::resnet;
use layerprune_train::{
    Answers, Batches, Checkpoint, DataError, Distill, Event, Loss, Optimizer, Outcome, Schedule, Settings, Sgd,
    TrainError, block_pairs, distill, scores, train,
};
use serde::Deserialize;

use crate::golden::{Fixed, golden};
use crate::models::weight;

#[derive(Deserialize)]
pub(crate) struct GoldenBatch {
    dims: [usize; 4],
    images: Vec<f32>,
    labels: Vec<usize>,
}

#[derive(Deserialize)]
struct Golden {
    batches: Vec<GoldenBatch>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    temperature: f64,
    weight: f64,
    block_weight: f64,
    labels: bool,
    loss: f64,
    gradients: BTreeMap<String, Vec<f32>>,
}

impl Case {
    fn distill(&self) -> Distill {
        let Self { temperature, weight, block_weight, labels, .. } = *self;
        Distill { temperature, weight, block_weight, labels, ..Distill::default() }
    }
}

pub(crate) fn model(name: &str) -> Model {
    Model::read(golden(&format!("distill_{name}.onnx"))).unwrap()
}

pub(crate) fn batches() -> Vec<Batch> {
    let batch = |batch: GoldenBatch| Batch::new(batch.images, batch.dims, batch.labels);
    load().batches.into_iter().map(batch).collect()
}

fn load() -> Golden {
    serde_json::from_slice(&fs::read(golden("distill.json")).unwrap()).unwrap()
}

pub(crate) fn plain(learning_rate: f64) -> Settings {
    Settings {
        epochs: 1,
        learning_rate,
        optimizer: Optimizer::Sgd(Sgd { momentum: 0.0, nesterov: false }),
        weight_decay: 0.0,
        schedule: Schedule::Constant,
        ..Settings::default()
    }
}

fn taught(teacher: &Model, data: Vec<Batch>, settings: &Settings) -> (Outcome, Vec<f64>) {
    let mut losses = Vec::new();
    let outcome = distill(&model("student"), teacher, &Fixed(data), settings, None, &mut |event| {
        if let Event::Step(step) = event {
            losses.push(step.loss);
        }
        ControlFlow::Continue(())
    });
    (outcome.unwrap(), losses)
}

#[test]
fn losses_and_gradients_agree_with_pytorch() {
    let (golden, student, batches) = (load(), model("student"), batches());
    for teacher in [model("teacher"), model("teacher_folded")] {
        for case in &golden.cases {
            // One plain step at rate 1 moves each weight by its gradient.
            let settings = Settings { distill: Some(case.distill()), ..plain(1.0) };
            let (outcome, losses) = taught(&teacher, batches[..1].to_vec(), &settings);
            assert!((losses[0] - case.loss).abs() < 1e-4, "{} instead of {}", losses[0], case.loss);
            assert_eq!(case.gradients.len(), 17);
            for (name, expected) in &case.gradients {
                let (before, after) = (weight(&student, name), weight(&outcome.model, name));
                for ((before, after), expected) in before.iter().zip(&after).zip(expected) {
                    let found = before - after;
                    let close = (found - expected).abs() < 1e-4 * expected.abs().max(1.0);
                    assert!(close, "{name}: {found} instead of {expected} in {:?}", settings.distill);
                }
            }
        }
    }
}

#[test]
fn without_labels_none_is_looked_at() {
    let teacher = model("teacher");
    let settings =
        Settings { distill: Some(Distill { labels: false, block_weight: 1.0, ..Distill::default() }), ..plain(0.1) };
    let garbage: Vec<Batch> =
        batches().into_iter().map(|batch| Batch { labels: vec![usize::MAX; batch.labels.len()], ..batch }).collect();
    let (a, losses) = taught(&teacher, batches(), &settings);
    let (b, same) = taught(&teacher, garbage.clone(), &settings);
    assert!(a.model.to_bytes() == b.model.to_bytes() && losses == same, "labels were looked at");
    assert!(losses.last() < losses.first(), "{losses:?}");
    let with_labels = Settings { distill: Some(Distill::default()), ..settings };
    let error =
        distill(&model("student"), &teacher, &Fixed(garbage), &with_labels, None, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(error.unwrap_err(), TrainError::Label { .. }));
}

#[test]
fn a_model_agrees_with_itself() {
    let student = model("student");
    let settings = Settings {
        distill: Some(Distill { labels: false, block_weight: 1.0, ..Distill::default() }),
        freeze_batch_norm_stats: true,
        ..plain(1.0)
    };
    let mut said = None;
    let outcome = distill(&student, &student, &Fixed(batches()), &settings, None, &mut |event| {
        if let Event::EpochEnd(done) = event {
            said = Some((done.summary.loss, done.summary.answers));
        }
        ControlFlow::Continue(())
    });
    let (loss, answers) = said.unwrap();
    assert!(loss.abs() < 1e-9, "{loss}");
    assert_eq!(answers, Some(Answers { right: 16, of: 16 }));
    let after = scores(&outcome.unwrap().model, &batches()[0]).unwrap();
    let before = scores(&student, &batches()[0]).unwrap();
    assert!(before.iter().zip(after).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn a_pruned_model_is_compared_where_it_still_has_what_the_whole_one_has() {
    let whole = resnet(3, [3, 8, 8], 1, &[4, 6], 3, 5);
    let units = Units::find(&whole, &Default::default()).unwrap();
    let plan = plan::named(&units, &["layer1.1".to_owned()], &Constraints::bypass_only()).unwrap();
    let pruned = surgery::apply(&whole, &units, &plan).unwrap();
    let names = |a: &Model, b: &Model| -> Vec<String> {
        block_pairs(a, b, &Default::default()).unwrap().into_iter().map(|pair| pair.name).collect()
    };
    let exit = |block: &str| format!("/{0}/{block}/relu2_output_0", &block[..6]);
    let all: Vec<String> = ["layer1.0", "layer1.1", "layer1.2", "layer2.0", "layer2.1", "layer2.2"].map(exit).to_vec();
    assert_eq!(names(&whole, &whole), all);
    let left: Vec<String> = all.iter().filter(|name| !name.contains("layer1.1")).cloned().collect();
    assert_eq!(names(&pruned, &whole), left);
    let narrower = resnet(3, [3, 8, 8], 1, &[5, 6], 3, 5);
    assert_eq!(names(&narrower, &whole), all[3..]);
}

#[test]
fn what_cannot_be_taught_is_refused() {
    let student = model("student");
    let message = |teacher: Option<&Model>, distilled: Option<Distill>| {
        let settings = Settings { distill: distilled, ..plain(0.1) };
        let go_on = &mut |_: Event<'_>| ControlFlow::Continue(());
        let outcome = match teacher {
            Some(teacher) => distill(&student, teacher, &Fixed(batches()), &settings, None, go_on),
            None => train(&student, &Fixed(batches()), &settings, None, go_on),
        };
        outcome.unwrap_err().to_string()
    };
    let teacher = model("teacher");
    let blocks = |on: &[&str]| {
        let blocks = on.iter().map(|&name| name.to_owned()).collect();
        Some(Distill { block_weight: 1.0, blocks, ..Distill::default() })
    };
    assert_eq!(
        message(None, blocks(&[])),
        "the settings ask for distillation, and no teacher is given: give the unpruned model"
    );
    assert_eq!(
        message(Some(&teacher), None),
        "a teacher is given, and the settings do not say what to learn from it: set `distill`"
    );
    assert_eq!(
        message(Some(&teacher), blocks(&["/block1/*", "layer*"])),
        "`distill.blocks` names `layer*`, which is no end of a block in model and teacher; \
         there are: `/block1/Relu_1_output_0`, `/block2/Relu_1_output_0`"
    );
    let other = resnet(1, [3, 6, 6], 1, &[7], 2, 3);
    assert_eq!(
        message(Some(&other), blocks(&[])),
        "model and teacher have no end of a block in common, by name and shape: \
         set `distill.block-weight` to 0, or give the model that this one was cut from"
    );
    assert_eq!(
        message(Some(&other), Some(Distill::default())),
        "the teacher gives 3 numbers for each image, the model 4: it must be a teacher of the same task"
    );
    let setting = |distill| message(Some(&teacher), Some(distill));
    assert_eq!(
        setting(Distill { temperature: 0.0, ..Distill::default() }),
        "setting `distill.temperature` is 0, a number above 0 is needed"
    );
    assert_eq!(
        setting(Distill { weight: 1.5, ..Distill::default() }),
        "setting `distill.weight` is 1.5, a number from 0 to 1 is needed"
    );
    assert_eq!(
        setting(Distill { weight: 0.0, ..Distill::default() }),
        "setting `distill.weight` is 0, a number above 0, here or for `block-weight`, is needed"
    );
}

#[test]
fn a_teacher_that_gives_no_numbers_is_refused() {
    let student = model("student");
    let message = |tensor: &str, loss: Loss| {
        let mut teacher = model("teacher");
        let value = teacher.graph.value_named(tensor).unwrap();
        let old = teacher.graph.initializer(value).unwrap().clone();
        let dims: Vec<usize> = old.dims.iter().map(|&size| size as usize).collect();
        let new = tensor::with_f32(&old, &dims, &vec![f32::NAN; dims.iter().product()]).unwrap();
        teacher.graph.set_initializer(value, new);
        let distilled = Some(Distill { labels: false, ..Distill::default() });
        let settings = Settings { loss, distill: distilled, ..plain(0.1) };
        let go_on = &mut |_: Event<'_>| ControlFlow::Continue(());
        distill(&student, &teacher, &Fixed(batches()), &settings, None, go_on).unwrap_err().to_string()
    };
    let expected =
        "an output of the teacher is not finite on these images: are they normalised as the teacher wants them?";
    for loss in [Loss::default(), Loss::BinaryCrossEntropy, Loss::MeanSquared] {
        assert_eq!(message("fc.bias", loss), expected);
    }
}

#[test]
fn other_losses_have_a_term_of_their_own() {
    let teacher = model("teacher");
    for loss in [Loss::BinaryCrossEntropy, Loss::MeanSquared, Loss::MeanAbsolute] {
        let distilled = Some(Distill { labels: false, ..Distill::default() });
        let settings = Settings { loss, distill: distilled, epochs: 8, ..plain(0.02) };
        let (_, losses) = taught(&teacher, batches()[..1].to_vec(), &settings);
        assert!(losses[7] < losses[0], "{:?}: {losses:?}", settings.loss);
    }
}

#[test]
fn a_mirroring_teacher_says_the_mean_of_both_views() {
    let (student, teacher, batch) = (model("student"), model("teacher"), batches().remove(0));
    let width = batch.shape[3];
    let mirrored: Vec<f32> = batch.images.chunks(width).flat_map(|row| row.iter().rev().copied()).collect();
    assert_ne!(mirrored, batch.images);
    let mirrored = Batch { images: mirrored, ..batch.clone() };
    let [own, one, other] = [(&student, &batch), (&teacher, &batch), (&teacher, &mirrored)]
        .map(|(model, batch)| scores(model, batch).unwrap());
    let squares = own.iter().zip(&one).zip(&other).map(|((s, a), b)| (s - (a + b) / 2.0).powi(2));
    let expected = f64::from(squares.sum::<f32>()) / own.len() as f64;
    let lesson = Distill { labels: false, mirrored: true, ..Distill::default() };
    for remember in [false, true] {
        let settings = Settings {
            loss: Loss::MeanSquared,
            freeze_batch_norm_stats: true,
            distill: Some(Distill { remember, ..lesson.clone() }),
            ..plain(0.0001)
        };
        let (_, losses) = taught(&teacher, vec![batch.clone()], &settings);
        assert!((losses[0] - expected).abs() < 1e-5 * expected, "{} instead of {expected}", losses[0]);
    }
}

#[test]
fn what_is_remembered_is_what_the_teacher_says() {
    let teacher = model("teacher");
    for block_weight in [0.0, 1.0] {
        let settings = |remember| Settings {
            epochs: 3,
            distill: Some(Distill { remember, block_weight, ..Distill::default() }),
            ..plain(0.05)
        };
        let (asked, losses) = taught(&teacher, batches(), &settings(false));
        let (remembered, same) = taught(&teacher, batches(), &settings(true));
        assert_eq!(losses, same);
        assert!(asked.model.to_bytes() == remembered.model.to_bytes(), "{block_weight}");
    }
}

/// The same images in each epoch, among others.
struct Shuffled;

impl Batches for Shuffled {
    fn epoch(&self, epoch: usize, first: usize) -> Box<dyn Iterator<Item = Result<Batch, DataError>> + '_> {
        let all = batches();
        let pixels = all[0].shape[1..].iter().product::<usize>();
        let images: Vec<(Vec<f32>, usize)> = all
            .iter()
            .flat_map(|batch| batch.images.chunks(pixels).map(<[f32]>::to_vec).zip(batch.labels.clone()))
            .collect();
        let order: Vec<usize> = (0..images.len()).map(|i| (i * (2 * epoch + 1) + epoch) % images.len()).collect();
        let shape = all[0].shape;
        let batches: Vec<Batch> = order
            .chunks(5)
            .map(|some| {
                let pixels = some.iter().flat_map(|&image| images[image].0.clone()).collect();
                let labels = some.iter().map(|&image| images[image].1).collect();
                Batch::new(pixels, [some.len(), shape[1], shape[2], shape[3]], labels)
            })
            .collect();
        Box::new(batches.into_iter().skip(first).map(Ok))
    }

    fn batches_per_epoch(&self) -> usize {
        batches().iter().map(|batch| batch.labels.len()).sum::<usize>().div_ceil(5)
    }
}

/// Trains the student, with the checkpoints of all steps.
fn with_checkpoints(
    teacher: &Model,
    data: &dyn Batches,
    settings: &Settings,
    start: Option<Checkpoint>,
) -> Result<(Vec<u8>, Vec<Checkpoint>), TrainError> {
    let mut checkpoints = Vec::new();
    let outcome = distill(&model("student"), teacher, data, settings, start, &mut |event| {
        if let Event::Step(step) = event {
            checkpoints.push(step.checkpoint());
        }
        ControlFlow::Continue(())
    });
    outcome.map(|outcome| (outcome.model.to_bytes(), checkpoints))
}

#[test]
fn a_resumed_run_has_the_same_teacher() {
    let teacher = model("teacher");
    let settings =
        Settings { epochs: 2, distill: Some(Distill { block_weight: 0.5, ..Distill::default() }), ..plain(0.05) };
    let data = Fixed(batches());
    let run = |teacher, start| with_checkpoints(teacher, &data, &settings, start);
    let (whole, checkpoints) = run(&teacher, None).unwrap();
    assert_eq!(run(&teacher, Some(checkpoints[2].clone())).unwrap().0, whole);
    let error = run(&model("teacher_folded"), Some(checkpoints[2].clone())).map(|_| ()).unwrap_err();
    let TrainError::Checkpoint(error) = error else { panic!("{error}") };
    assert_eq!(error.to_string(), "the model learnt from another teacher there");
}

#[test]
fn a_resumed_run_remembers_what_the_teacher_said() {
    let (teacher, folder) = (model("teacher"), tempfile::tempdir().unwrap());
    let settings =
        Settings { epochs: 3, distill: Some(Distill { remember: true, ..Distill::default() }), ..plain(0.05) };
    let (whole, checkpoints) = with_checkpoints(&teacher, &Shuffled, &settings, None).unwrap();
    for (number, checkpoint) in checkpoints.iter().enumerate() {
        let path = folder.path().join(format!("{number}.checkpoint"));
        checkpoint.save(&path).unwrap();
        let loaded = Checkpoint::load(&path).unwrap();
        assert_eq!(&loaded, checkpoint);
        let (resumed, behind) = with_checkpoints(&teacher, &Shuffled, &settings, Some(loaded)).unwrap();
        assert!(resumed == whole, "{number}");
        assert_eq!(behind.last().unwrap_or(checkpoint), checkpoints.last().unwrap());
    }
    let size = |number: usize| fs::metadata(folder.path().join(format!("{number}.checkpoint"))).unwrap().len();
    let per_epoch = Shuffled.batches_per_epoch();
    let (first, second, end) = (size(0), size(1), size(checkpoints.len() - 1));
    // Five images more: keys of 4 numbers and 4 outputs, 4 bytes each, and not more than some digits in the header.
    assert!((160..180).contains(&(second - first)), "{first}, {second}");
    assert!(size(per_epoch - 1).abs_diff(end) < 40, "nothing new is said of known images");
}
