//! What is refused, word by word.

use std::ops::ControlFlow;

use layerprune::batch::Batch;
use layerprune::onnx::Model;
use layerprune_train::{Loss, Schedule, Settings, TrainError, evaluate, initialize, recalibrate, scores, train};

use crate::golden::Fixed;
use crate::models::{Noise, Parts, around, float, floats, int, integers, node, port, small};

const DATA: Noise = Noise { batches: 2, images: 4, classes: 3 };

fn message(model: &Model) -> String {
    scores(model, &DATA.batch(0)).unwrap_err().to_string()
}

#[test]
fn all_unsupported_nodes_are_named_in_one_error() {
    let model = around(
        13,
        vec![
            node("Einsum", &["x"], &["a"], vec![]),
            node("Relu", &["a"], &["b"], vec![int("sharpness", 3)]),
            node("Pad", &["b"], &["c"], vec![]),
            node("Conv", &["c", "w"], &["d"], vec![]),
            node("Flatten", &["d"], &["y"], vec![]),
        ],
        vec![floats("w", &[1, 1, 3], &[0.0; 3])],
    );
    assert_eq!(
        message(&model),
        "training does not support node `A` (Einsum): the operator is not supported; \
         node `B` (Relu): attribute `sharpness` is not supported; \
         node `D` (Conv): its weight has shape [1, 1, 3], only 2-D convolutions are supported"
    );
}

#[test]
fn nodes_that_cannot_compute_are_named() {
    let reshape = |to: &[i64]| around(13, vec![node("Reshape", &["x", "s"], &["y"], vec![])], vec![integers("s", to)]);
    assert_eq!(message(&reshape(&[4, 17])), "node `Y` (Reshape): shape [4, 1, 4, 4] cannot become [4, 17]");
    assert_eq!(message(&reshape(&[-1, 7])), "node `Y` (Reshape): shape [4, 1, 4, 4] cannot become [-1, 7]");
    let add = around(13, vec![node("Add", &["x", "w"], &["y"], vec![])], vec![floats("w", &[3], &[0.0; 3])]);
    assert_eq!(message(&add), "node `Y` (Add): shapes [4, 1, 4, 4] and [3] cannot be broadcast together");
    let conv = |dims: &[usize], attributes| {
        let weights = floats("w", dims, &vec![0.0; dims.iter().product()]);
        message(&around(13, vec![node("Conv", &["x", "w"], &["y"], attributes)], vec![weights]))
    };
    assert_eq!(
        conv(&[2, 3, 1, 1], vec![]),
        "node `Y` (Conv): its input has 1 channels, its weight of shape [2, 3, 1, 1] in 1 conv groups needs 3"
    );
    assert_eq!(conv(&[2, 1, 5, 5], vec![]), "node `Y` (Conv): its 5×5 kernel does not fit 4×4");
    let norm = around(
        13,
        vec![node("BatchNormalization", &["x", "w", "w", "w", "w"], &["y"], vec![float("epsilon", 1e-3)])],
        vec![floats("w", &[2], &[1.0; 2])],
    );
    assert_eq!(
        message(&norm),
        "node `Y` (BatchNormalization): its input has 1 channels, its weights are for [2, 2, 2, 2]"
    );
}

#[test]
fn models_of_another_kind_are_refused() {
    let two = |inputs: Vec<_>, outputs: Vec<&'static str>| {
        message(
            &Parts {
                opset: 13,
                inputs,
                outputs,
                nodes: vec![node("Flatten", &["x"], &["y"], vec![])],
                weights: vec![],
            }
            .model(),
        )
    };
    let image = || port("x", &[0, 1, 4, 4]);
    assert_eq!(
        two(vec![image(), port("z", &[1])], vec!["y"]),
        "training needs a model with one input of N×C×H×W, this one has 2: x, z"
    );
    assert_eq!(
        two(vec![port("x", &[0, 16])], vec!["y"]),
        "training needs a model with one input of N×C×H×W, this one has `x` of rank 2"
    );
    assert_eq!(
        two(vec![image()], vec!["y", "x"]),
        "training needs a model with one output of N×classes, this one has 2: y, x"
    );
    let relu = around(13, vec![node("Relu", &["x"], &["y"], vec![])], vec![]);
    assert_eq!(message(&relu), "output `y` has shape [4, 1, 4, 4] for 4 images, [4, classes] is needed");
}

#[test]
fn batches_that_do_not_fit_are_refused_before_training() {
    let train_on = |batch: Batch| {
        let mut batches = std::iter::once(Ok(batch));
        evaluate(&small(), &Loss::default(), &mut batches).unwrap_err().to_string()
    };
    let good = DATA.batch(0);
    assert_eq!(
        train_on(Batch { shape: [2, 2, 4, 4], labels: vec![0; 2], ..good.clone() }),
        "input `x` is declared as ?×1×4×4, the images have shape [2, 2, 4, 4]"
    );
    assert_eq!(
        train_on(Batch { labels: vec![0; 3], ..good.clone() }),
        "a batch of shape [4, 1, 4, 4] has 64 pixels and 3 labels"
    );
    assert_eq!(
        train_on(Batch { labels: vec![0, 1, 7, 2], ..good }),
        "label 7 is out of range: the model has 3 classes"
    );
}

#[test]
fn empty_data_and_data_that_fails_are_refused() {
    let error = evaluate(&small(), &Loss::default(), &mut std::iter::empty()).unwrap_err();
    assert_eq!(error.to_string(), "the data holds no batches");
    let nothing = Noise { batches: 0, ..DATA };
    let error = train(&small(), &nothing, &Settings::default(), None, &mut |_| ControlFlow::Continue(()));
    assert_eq!(error.unwrap_err().to_string(), "the data holds no batches");
    let error = evaluate(&small(), &Loss::default(), &mut std::iter::once(Err("the disk is gone".into()))).unwrap_err();
    assert_eq!(error.to_string(), "cannot get the next batch");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the disk is gone");
}

#[test]
fn a_model_without_batch_norm_cannot_be_recalibrated() {
    let model = around(13, vec![node("Flatten", &["x"], &["y"], vec![])], vec![]);
    let error = recalibrate(&model, &mut std::iter::once(Ok(DATA.batch(0)))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model has no batch norm to recalibrate (was it exported with batch norms folded into convolutions?)"
    );
    let error = train(&model, &DATA, &Settings::default(), None, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.to_string(), "the model has no weights to train");
}

#[test]
fn diverging_training_says_where_and_what_helps() {
    let settings = Settings { learning_rate: 1e30, schedule: Schedule::Constant, ..Settings::default() };
    let error = train(&small(), &DATA, &settings, None, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, TrainError::NonFinite { epoch: 0, step: 1, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "the loss is not finite at epoch 0, step 1 (learning rate 1000000000000000000000000000000): \
         a smaller learning rate, a warm-up or checking the input's normalisation helps"
    );
}

#[test]
fn gradients_and_weights_that_are_not_finite_end_the_run_before_anything_is_kept_of_them() {
    let run = |model: &Model, batch: Batch, learning_rate: f64| {
        let settings = Settings { learning_rate, schedule: Schedule::Constant, ..Settings::default() };
        let mut steps = 0;
        let outcome = train(model, &Fixed(vec![batch]), &settings, None, &mut |_| {
            steps += 1;
            ControlFlow::Continue(())
        });
        (outcome.unwrap_err().to_string(), steps)
    };
    let fc: Vec<f32> = (0..48).map(|at| 10.0 * (1.0 - (at / 16) as f32)).collect();
    let model = around(
        13,
        vec![
            node("Conv", &["x", "w"], &["c"], vec![]),
            node("Flatten", &["c"], &["f"], vec![]),
            node("Gemm", &["f", "fc"], &["y"], vec![int("transB", 1)]),
        ],
        vec![floats("w", &[1, 1, 1, 1], &[0.0]), floats("fc", &[3, 16], &fc)],
    );
    // All scores are 0, and the gradient of `w` is the sum of all pixels times 10.
    let batch = Batch::new(vec![3e38; 16], [1, 1, 4, 4], vec![2]);
    let advice = "a smaller learning rate, a warm-up or checking the input's normalisation helps";
    let expected = format!("a gradient is not finite at epoch 0, step 0 (learning rate 0.1): {advice}");
    assert_eq!(run(&model, batch, 0.1), (expected, 0));
    let batch = Batch::new(vec![1e10; 16], [1, 1, 4, 4], vec![2]);
    let (message, steps) = run(&model, batch, 1e30);
    assert!(message.starts_with("a weight is not finite at epoch 0, step 0"), "{message}");
    assert_eq!(steps, 0, "no checkpoint can be taken");
}

#[test]
fn outputs_without_elements_are_refused() {
    let nodes =
        vec![node("Flatten", &["x"], &["f"], vec![]), node("Slice", &["f", "from", "to", "axes"], &["y"], vec![])];
    let weights = vec![integers("from", &[3]), integers("to", &[3]), integers("axes", &[1])];
    let found = message(&around(13, nodes, weights));
    assert!(found.contains("[4, 0]") || found.starts_with("node `Y` (Slice)"), "{found}");
    let nodes =
        vec![node("Flatten", &["x"], &["f"], vec![]), node("Gemm", &["f", "w"], &["y"], vec![int("transB", 1)])];
    let found = message(&around(13, nodes, vec![floats("w", &[0, 16], &[])]));
    assert_eq!(found, "output `y` has shape [4, 0] for 4 images, [4, classes] is needed");
}

#[test]
fn initialize_refuses_what_cannot_be_trained() {
    let model = around(13, vec![node("Tan", &["x"], &["y"], vec![])], vec![]);
    let error = initialize(&model, 0).unwrap_err().to_string();
    assert_eq!(error, "training does not support node `Y` (Tan): the operator is not supported");
}
