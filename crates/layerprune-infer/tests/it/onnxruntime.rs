//! ONNX Runtime beside the embedded engine. Without its shared library these tests say so and pass.

use std::ops::ControlFlow;

use layerprune::batch::{Batch, Maps};
use layerprune::onnx::Model;
use layerprune_infer::{
    Array, InferError, Input, LatencyOptions, Session, SessionOptions, engine_named, features, measure,
};
use layerprune_testing::{resnet, vgg};

use crate::models::{classifier, lookup, one_thread};

/// `model` in both engines; `None` without ONNX Runtime.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn both(model: &Model) -> Option<[Session; 2]> {
    let options = SessionOptions { engine: engine_named("onnxruntime").unwrap(), ..one_thread() };
    match Session::load(model, &options) {
        Err(InferError::OnnxRuntime { reason }) => {
            eprintln!("skipped: ONNX Runtime cannot be used: {reason}");
            None
        }
        session => Some([Session::load(model, &one_thread()).unwrap(), session.unwrap()]),
    }
}

#[test]
fn both_engines_compute_the_same() {
    for model in [classifier(-2.0), resnet(1, [3, 16, 16], 2, &[4, 8], 2, 5), vgg(1, 8, &[4, 4], 3)] {
        let Some([rten, onnxruntime]) = both(&model) else { return };
        assert_eq!(onnxruntime.engine().name, "onnxruntime");
        assert!(onnxruntime.engine().version.starts_with("1."), "{:?}", onnxruntime.engine());
        let dims = rten.inputs()[0].dims.clone().unwrap();
        let shape: Vec<usize> = dims.iter().map(|dim| dim.known().unwrap_or(2)).collect();
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|at: usize| (at as f32 * 0.37).sin()).collect();
        let input = [Input::f32(shape, numbers)];
        let [a, b] = [&rten, &onnxruntime].map(|session| session.run_inputs(&input).unwrap());
        assert_eq!(a.output(0).shape, b.output(0).shape);
        let greatest = a.output(0).data.iter().map(|x| x.abs()).fold(0.0, f32::max);
        let apart = a.output(0).data.iter().zip(&b.output(0).data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= 1e-5 * greatest, "{apart} of {greatest}");
    }
}

#[test]
fn taps_and_integers_are_served() {
    let model = classifier(-2.0);
    let value = |name| model.graph.value_named(name).unwrap();
    let Some([_, _]) = both(&model) else { return };
    let options = SessionOptions { engine: engine_named("onnxruntime").unwrap(), ..one_thread() };
    let input = model.graph.inputs()[0].value;
    let session = Session::with_taps(&model, &[value("pooled"), input, value("pooled")], &options).unwrap();
    let outputs = session.run(&crate::models::IMAGES, [2, 1, 2, 2]).unwrap();
    assert_eq!(outputs.tap(0), outputs.tap(2));
    assert_eq!(outputs.tap(1).data, crate::models::IMAGES);
    let batch = Batch::new(crate::models::IMAGES.to_vec(), [2, 1, 2, 2], vec![1, 0]);
    let lent = |taps: &[Maps<'_>], labels: &[usize]| {
        assert_eq!(labels, [1, 0]);
        assert_eq!(taps, outputs.taps().map(Array::maps).collect::<Vec<_>>());
        Ok(())
    };
    let go_on = |_| ControlFlow::Continue(());
    assert_eq!(features(&session, [Ok::<_, InferError>(batch)], lent, go_on).unwrap(), 2);
    let Some([rten, onnxruntime]) = both(&lookup()) else { return };
    let inputs = [Input::i64(vec![2], vec![2, 0]), Input::f32(vec![2, 2], vec![0.5, 0.25, -1.0, 8.0])];
    let [a, b] = [rten, onnxruntime].map(|session| session.run_inputs(&inputs).unwrap());
    assert_eq!(a.output(0), b.output(0));
    assert_eq!(b.output(0).data, [4.5, 5.25, -1.0, 9.0]);
}

#[test]
fn engines_are_not_timed_against_each_other() {
    let Some([rten, onnxruntime]) = both(&classifier(-2.0)) else { return };
    let input = [Input::f32(vec![2, 1, 2, 2], crate::models::IMAGES.to_vec())];
    let go_on = |_| ControlFlow::Continue(());
    let error = measure(&[&rten, &onnxruntime], &input, &LatencyOptions::default(), go_on).unwrap_err();
    assert!(error.to_string().contains("engine"), "{error}");
}
