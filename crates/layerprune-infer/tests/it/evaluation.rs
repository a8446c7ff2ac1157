use std::convert::Infallible;
use std::ops::ControlFlow;

use layerprune::batch::{Batch, Maps};
use layerprune_infer::{InferError, OutputKind, Session, evaluate, features, judge};

use crate::models::{IMAGES, classifier, load, one_thread};

fn batches(labels: [usize; 2]) -> Vec<Result<Batch, Infallible>> {
    let batch = |image: usize| Batch {
        images: IMAGES[4 * image..][..4].to_vec(),
        shape: [1, 1, 2, 2],
        labels: vec![labels[image]],
        targets: None,
    };
    vec![Ok(batch(0)), Ok(batch(1))]
}

fn go_on<T>(_: T) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn accuracy_and_loss_are_those_worked_out_by_hand() {
    let mut seen = Vec::new();
    let found = evaluate(&load(&classifier(-2.0)), batches([1, 0]), |progress| {
        seen.push(progress.images);
        ControlFlow::Continue(())
    })
    .unwrap();
    // The scores are 1.5, 2.0 and 0.5, 2.0: the first label is right, the second wrong.
    let loss = ((1.0 + (-0.5_f64).exp()).ln() + (1.0 + 1.5_f64.exp()).ln()) / 2.0;
    assert_eq!(seen, [1, 2]);
    assert_eq!((found.accuracy.images, found.accuracy.top1.percent), (2, 50.0));
    assert_eq!((found.accuracy.top5.is_none(), found.output, found.classes), (true, OutputKind::Logits, 2));
    assert!((found.accuracy.loss.unwrap() - loss).abs() < 1e-9);
}

#[test]
fn all_taps_are_served_in_one_pass() {
    let model = classifier(-2.0);
    let value = |name| model.graph.value_named(name).unwrap();
    let session = Session::with_taps(&model, &[value("relu_out"), value("scores")], &one_thread()).unwrap();
    let mut seen = Vec::new();
    let images = features(
        &session,
        batches([1, 0]),
        |taps, labels| {
            let one = |(tap, maps): (usize, &Maps<'_>)| (tap, maps.shape.to_vec(), maps.data[0], labels[0]);
            seen.extend(taps.iter().enumerate().map(one));
            Ok(())
        },
        go_on,
    );
    assert_eq!(images.unwrap(), 2);
    let expected = [
        (0, vec![1, 2, 2, 2], 1.0, 1),
        (1, vec![1, 2], 1.5, 1),
        (0, vec![1, 2, 2, 2], 0.0, 0),
        (1, vec![1, 2], 0.5, 0),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn whoever_looks_at_the_taps_can_refuse_them() {
    let session = load(&classifier(-2.0));
    let error = features(&session, batches([1, 0]), |_, _| Err("not these".into()), go_on).unwrap_err();
    assert_eq!(error.to_string(), "cannot use what the model computes");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "not these");
}

#[test]
fn each_image_is_judged_by_itself() {
    let session = load(&classifier(-2.0));
    let judged = judge(&session, batches([1, 0]), go_on).unwrap();
    assert_eq!(judged.right, [true, false]);
    let expected = [(1.0 + (-0.5_f64).exp()).ln(), (1.0 + 1.5_f64.exp()).ln()];
    assert!(judged.loss.iter().zip(expected).all(|(&found, loss)| (f64::from(found) - loss).abs() < 1e-6));
    let whole = evaluate(&session, batches([1, 0]), go_on).unwrap().accuracy;
    let mean = judged.loss.iter().map(|&loss| f64::from(loss)).sum::<f64>() / 2.0;
    assert!((whole.loss.unwrap() - mean).abs() < 1e-6);
}

#[test]
fn a_label_that_is_no_class_is_refused() {
    let message = evaluate(&load(&classifier(-2.0)), batches([1, 7]), go_on).unwrap_err().to_string();
    assert_eq!(message, "image 1 has label 7, but the model knows 2 classes, 0 to 1");
}

#[test]
fn data_that_fails_stops_the_evaluation() {
    let batches = [Err(std::io::Error::other("cut off"))];
    let error = evaluate(&load(&classifier(-2.0)), batches, go_on).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "cut off");
}

#[test]
fn batches_without_images_or_labels_are_refused() {
    let session = load(&classifier(-2.0));
    assert!(matches!(evaluate::<Infallible>(&session, [], go_on), Err(InferError::NoImages)));
    assert!(matches!(features::<Infallible>(&session, [], |_, _| Ok(()), go_on), Err(InferError::NoImages)));
    let unlabelled = Batch::new(IMAGES.to_vec(), [2, 1, 2, 2], vec![0]);
    let refused = evaluate::<Infallible>(&session, [Ok(unlabelled)], go_on);
    assert!(matches!(refused, Err(InferError::LabelCount { images: 2, labels: 1 })));
}

#[test]
fn the_observer_can_stop_a_pass() {
    let stopped = evaluate(&load(&classifier(-2.0)), batches([1, 0]), |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(InferError::Interrupted)));
}
