//! Losses from the model to what is counted.

use std::ops::ControlFlow;

use layerprune::batch::{Batch, Targets};
use layerprune::onnx::Model;
use layerprune_train::{Answers, CrossEntropy, Event, Loss, Settings, TrainError, evaluate, scores, train};

use crate::golden::Fixed;
use crate::models::{Noise, around, floats, int, integers, node, small, weight};

const DATA: Noise = Noise { batches: 3, images: 4, classes: 3 };

/// One linear layer of three outputs, with `last` behind it where there is one.
fn linear(last: Option<&str>) -> Model {
    let fc: Vec<f32> = (0..48).map(|at| ((at * 7 % 13) as f32 - 6.0) / 13.0).collect();
    let output = if last.is_some() { "g" } else { "y" };
    let mut nodes =
        vec![node("Flatten", &["x"], &["f"], vec![]), node("Gemm", &["f", "fc"], &[output], vec![int("transB", 1)])];
    nodes.extend(last.map(|op| node(op, &["g"], &["y"], vec![])));
    around(13, nodes, vec![floats("fc", &[3, 16], &fc)])
}

fn with_targets(batch: Batch, width: usize, value: impl Fn(usize) -> f32) -> Batch {
    let values = (0..width * batch.labels.len()).map(value).collect();
    Batch { targets: Some(Targets { values, width }), ..batch }
}

/// Each image has one label.
fn data() -> Fixed {
    let several = |at: usize| if at % 3 == at / 3 % 2 { 1.0 } else { 0.0 };
    Fixed((0..3).map(|seed| with_targets(DATA.batch(seed), 3, several)).collect())
}

fn trained(model: &Model, loss: &Loss) -> Vec<f32> {
    let settings = Settings { epochs: 2, learning_rate: 0.3, loss: loss.clone(), ..Settings::default() };
    let outcome = train(model, &data(), &settings, None, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_ne!(weight(&outcome.model, "fc"), weight(model, "fc"));
    weight(&outcome.model, "fc")
}

#[test]
fn a_last_activation_is_left_to_the_loss_that_does_it() {
    let cross_entropy = Loss::default();
    for (loss, op) in [(&cross_entropy, "Softmax"), (&Loss::BinaryCrossEntropy, "Sigmoid")] {
        assert_eq!(trained(&linear(Some(op)), loss), trained(&linear(None), loss), "{op}");
    }
    assert_eq!(trained(&linear(Some("LogSoftmax")), &cross_entropy), trained(&linear(None), &cross_entropy));
    for (loss, op) in [
        (&cross_entropy, "Sigmoid"),
        (&Loss::BinaryCrossEntropy, "Softmax"),
        (&Loss::MeanSquared, "Sigmoid"),
        (&Loss::MeanSquared, "Softmax"),
        (&Loss::MeanAbsolute, "Sigmoid"),
    ] {
        assert_ne!(trained(&linear(Some(op)), loss), trained(&linear(None), loss), "{loss:?}, {op}");
    }
}

#[test]
fn an_activation_before_a_change_of_shape_is_left_to_the_loss_too() {
    let fc: Vec<f32> = (0..16).map(|at| (at as f32 - 8.0) / 16.0).collect();
    let model = |ops: &[&'static str]| {
        let mut nodes =
            vec![node("Flatten", &["x"], &["f"], vec![]), node("Gemm", &["f", "fc"], &["a"], vec![int("transB", 1)])];
        let mut value = "a";
        for (op, output) in ops.iter().zip(["b", "c"]) {
            nodes.push(node(op, &[value], &[output], vec![]));
            value = output;
        }
        nodes.push(node("Flatten", &[value], &["y"], vec![]));
        around(13, nodes, vec![floats("fc", &[1, 16], &fc)])
    };
    let data = Fixed((0..3).map(|seed| with_targets(DATA.batch(seed), 1, |at| (at % 2) as f32)).collect());
    let settings = Settings { epochs: 2, loss: Loss::BinaryCrossEntropy, ..Settings::default() };
    let run = |ops: &[&'static str]| {
        let outcome = train(&model(ops), &data, &settings, None, &mut |_| ControlFlow::Continue(()));
        weight(&outcome.unwrap().model, "fc")
    };
    let plain = run(&[]);
    assert_eq!(run(&["Sigmoid"]), plain);
    assert_eq!(run(&["Sigmoid", "Identity"]), plain);
    assert_ne!(run(&["Sigmoid", "Relu"]), plain, "what is computed behind a Sigmoid needs it");
    assert_ne!(plain, fc);
}

#[test]
fn evaluation_counts_what_the_loss_has_answers_for() {
    let model = linear(None);
    let batch = with_targets(DATA.batch(5), 3, |at| if at % 3 == at / 3 % 2 { 1.0 } else { 0.0 });
    let outputs = scores(&model, &batch).unwrap();
    let targets = &batch.targets.as_ref().unwrap().values;
    let found = |loss: &Loss| evaluate(&model, loss, &mut [Ok(batch.clone()), Ok(batch.clone())].into_iter()).unwrap();

    let squared = found(&Loss::MeanSquared);
    let expected: f32 = outputs.iter().zip(targets).map(|(x, t)| (x - t) * (x - t)).sum::<f32>() / 12.0;
    assert_eq!((squared.images, squared.answers, squared.top5), (8, None, None));
    assert!((squared.loss() - f64::from(expected)).abs() < 1e-6, "{squared:?} instead of {expected}");

    let absolute = found(&Loss::MeanAbsolute);
    let expected: f32 = outputs.iter().zip(targets).map(|(x, t)| (x - t).abs()).sum::<f32>() / 12.0;
    assert!((absolute.loss() - f64::from(expected)).abs() < 1e-6, "{absolute:?} instead of {expected}");

    let several = found(&Loss::BinaryCrossEntropy);
    let right = outputs.iter().zip(targets).filter(|&(&x, &t)| (x > 0.0) == (t == 1.0)).count();
    assert!(right > 0 && right < 12);
    assert_eq!((several.answers, several.top5), (Some(Answers { right: 2 * right, of: 24 }), None));

    let classes = found(&Loss::default());
    assert_eq!((classes.answers.unwrap().of, classes.top5), (8, Some(8)));
    let smoothed = found(&Loss::CrossEntropy(CrossEntropy { label_smoothing: 0.1 }));
    assert_eq!(smoothed.answers, classes.answers);
    assert_ne!(smoothed.loss_sum, classes.loss_sum);
}

#[test]
fn an_output_of_one_number_for_each_image_can_be_a_list() {
    let mean = |squeezed: bool| {
        let output = if squeezed { "f" } else { "y" };
        let mut nodes = vec![
            node("Conv", &["x", "w", "b"], &["c"], vec![]),
            node("GlobalAveragePool", &["c"], &["g"], vec![]),
            node("Flatten", &["g"], &[output], vec![]),
        ];
        if squeezed {
            nodes.push(node("Squeeze", &["f", "axis"], &["y"], vec![]));
        }
        let weights = vec![floats("w", &[1, 1, 1, 1], &[0.5]), floats("b", &[1], &[0.1]), integers("axis", &[1])];
        around(13, nodes, weights)
    };
    let data = Fixed((0..3).map(|seed| with_targets(DATA.batch(seed), 1, |at| at as f32)).collect());
    let settings = Settings { epochs: 2, loss: Loss::MeanSquared, ..Settings::default() };
    let run = |model: &Model| {
        let mut epochs = Vec::new();
        let outcome = train(model, &data, &settings, None, &mut |event| {
            if let Event::EpochEnd(done) = event {
                epochs.push(done.summary);
            }
            ControlFlow::Continue(())
        });
        assert_eq!(epochs[0].answers, None);
        assert!(epochs[1].loss < epochs[0].loss, "{epochs:?}");
        weight(&outcome.unwrap().model, "w")
    };
    assert_eq!(run(&mean(true)), run(&mean(false)));
}

#[test]
fn losses_say_what_of_the_data_they_miss() {
    let message =
        |loss: Loss, batch: Batch| evaluate(&small(), &loss, &mut std::iter::once(Ok(batch))).unwrap_err().to_string();
    assert_eq!(
        message(Loss::MeanSquared, DATA.batch(0)),
        "the loss `mean-squared` needs targets, 3 numbers for each image, and the data has labels alone: \
         give data with targets, or train with `cross-entropy`"
    );
    assert_eq!(
        message(Loss::BinaryCrossEntropy, with_targets(DATA.batch(0), 2, |_| 0.0)),
        "the data has 2 targets for each image, the model has 3 outputs"
    );
    let error = evaluate(
        &small(),
        &Loss::CrossEntropy(CrossEntropy { label_smoothing: -0.5 }),
        &mut std::iter::once(Ok(DATA.batch(0))),
    );
    assert!(matches!(error, Err(TrainError::Setting { setting: "loss.label-smoothing", .. })));
}
