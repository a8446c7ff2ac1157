use std::error::Error;

use layerprune::graph::tensor::from_f32;
use layerprune::proto::{GraphProto, tensor_proto::DataType};
use layerprune::shapes::InputShapes;
use layerprune_infer::{ElementType, InferError, Input, Session, bind_shapes, compare, engine_named, random_inputs};

use crate::models::Dim::{Open, Size};
use crate::models::{
    IMAGES, classifier, floats, int, load, lookup, model, named, node, one_thread, port, reshape, text,
};

/// The error with all its sources.
fn chain(error: &InferError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[test]
fn outputs_are_those_worked_out_by_hand() {
    let outputs = load(&classifier(-2.0)).run(&IMAGES, [2, 1, 2, 2]).unwrap();
    let scores = outputs.output(0);
    assert_eq!(scores.shape, [2, 2]);
    // Channel 0 is relu(x), channel 1 relu(3 − 2x), each averaged over four pixels.
    assert_eq!(scores.data, [6.0 / 4.0, (1.0 + 0.0 + 0.0 + 7.0) / 4.0, 2.0 / 4.0, (3.0 + 3.0 + 1.0 + 1.0) / 4.0]);
}

#[test]
fn taps_come_in_the_order_asked_for_and_leave_the_outputs_alone() {
    let model = classifier(-2.0);
    let value = |name| model.graph.value_named(name).unwrap();
    let taps = [value("pooled"), value("conv_out"), value("scores"), value("relu_out"), value("conv_out")];
    let session = Session::with_taps(&model, &taps, &one_thread()).unwrap();
    let outputs = session.run(&IMAGES, [2, 1, 2, 2]).unwrap();

    assert_eq!(outputs.outputs(), load(&model).run(&IMAGES, [2, 1, 2, 2]).unwrap().outputs());
    assert_eq!(session.output_names(), ["scores"]);
    assert_eq!(outputs.taps().len(), 5);
    assert_eq!(outputs.tap(0).data, outputs.output(0).data);
    assert_eq!(outputs.tap(0).shape, [2, 2, 1, 1]);
    assert_eq!(outputs.tap(2), outputs.output(0));
    assert_eq!(outputs.tap(1), outputs.tap(4));
    assert_eq!(outputs.tap(1).shape, [2, 2, 2, 2]);
    assert_eq!(outputs.tap(1).data[..8], [1.0, 2.0, 3.0, -2.0, 1.0, -1.0, -3.0, 7.0]);
    let rectified: Vec<f32> = outputs.tap(1).data.iter().map(|number| number.max(0.0)).collect();
    assert_eq!(outputs.tap(3).data, rectified);
}

#[test]
fn a_tap_may_be_the_models_input() {
    let model = classifier(-2.0);
    let session = Session::with_taps(&model, &[model.graph.value_named("x").unwrap()], &one_thread()).unwrap();
    assert_eq!(session.run(&IMAGES, [2, 1, 2, 2]).unwrap().tap(0).data, IMAGES);
}

#[test]
fn taps_that_the_engine_takes_for_one_value_are_all_served() {
    let model = model(GraphProto {
        node: vec![
            node("relu", "Relu", &["x"], &["rectified"]),
            node("same", "Identity", &["rectified"], &["copy"]),
            node("negate", "Neg", &["copy"], &["y"]),
        ],
        input: vec![floats("x", &[Size(2)])],
        output: vec![floats("y", &[Size(2)])],
        ..Default::default()
    });
    let taps = ["rectified", "copy"].map(|name| model.graph.value_named(name).unwrap());
    let session = Session::with_taps(&model, &taps, &one_thread()).unwrap();
    let outputs = session.run_inputs(&[Input::f32(vec![2], vec![-1.0, 3.0])]).unwrap();
    assert_eq!((&outputs.tap(0).data[..], &outputs.tap(1).data[..]), (&[0.0, 3.0][..], &[0.0, 3.0][..]));
    assert_eq!(outputs.output(0).data, [0.0, -3.0]);
}

#[test]
fn taps_do_not_change_the_model() {
    let model = classifier(-2.0);
    let before = model.clone();
    Session::with_taps(&model, &[model.graph.value_named("conv_out").unwrap()], &one_thread()).unwrap();
    assert_eq!(model, before);
}

#[test]
fn integer_inputs_are_fed_beside_floats() {
    let session = load(&lookup());
    assert_eq!(session.inputs()[0].element, ElementType::I64);
    let inputs = [Input::i64(vec![2], vec![2, 0]), Input::f32(vec![2, 2], vec![0.5, 0.5, 10.0, 10.0])];
    assert_eq!(session.run_inputs(&inputs).unwrap().output(0).data, [4.5, 5.5, 10.0, 11.0]);
}

#[test]
fn integers_that_the_engine_cannot_hold_are_refused() {
    let inputs = [Input::i64(vec![1], vec![1 << 40]), Input::f32(vec![1, 2], vec![0.0, 0.0])];
    let message = load(&lookup()).run_inputs(&inputs).unwrap_err().to_string();
    assert_eq!(message, "rten cannot run the model: input `rows`");
}

#[test]
fn integer_outputs_are_converted() {
    let model = model(GraphProto {
        node: vec![{
            let mut node = node("best", "ArgMax", &["x"], &["class"]);
            node.attribute = vec![int("axis", 1), int("keepdims", 0)];
            node
        }],
        input: vec![floats("x", &[Open("n"), Size(3)])],
        output: vec![port("class", DataType::Int64, &[Open("n")])],
        ..Default::default()
    });
    let outputs = load(&model).run_inputs(&[Input::f32(vec![2, 3], vec![0.0, 2.0, 1.0, 3.0, 0.0, 0.0])]).unwrap();
    assert_eq!((&outputs.output(0).shape[..], &outputs.output(0).data[..]), (&[2][..], &[1.0, 0.0][..]));
}

#[test]
fn an_operator_that_the_engine_does_not_know_is_named() {
    let model = model(GraphProto {
        node: vec![node("odd", "Frobnicate", &["x"], &["y"])],
        input: vec![floats("x", &[Size(1)])],
        output: vec![floats("y", &[Size(1)])],
        ..Default::default()
    });
    let error = Session::load(&model, &one_thread()).unwrap_err();
    assert_eq!(error.to_string(), "rten cannot load the model: node `odd` (Frobnicate)");
    assert!(chain(&error).contains("Frobnicate operator not supported"), "{}", chain(&error));
}

#[test]
fn a_node_that_fails_while_running_is_named() {
    let error = load(&reshape()).run_inputs(&[Input::f32(vec![5], vec![0.0; 5])]).unwrap_err();
    assert_eq!(error.to_string(), "rten cannot run the model: node `reshape` (Reshape)");
}

#[test]
fn inputs_that_do_not_fit_are_refused_with_the_reason() {
    let session = load(&classifier(-2.0));
    let refused = |inputs: &[Input<'_>]| session.run_inputs(inputs).unwrap_err().to_string();
    assert_eq!(refused(&[]), "the model takes 1 inputs (`x`), 0 were fed");
    assert_eq!(
        refused(&[Input::i64(vec![1, 1, 2, 2], vec![0; 4])]),
        "input `x` takes elements of FLOAT, INT64 were fed"
    );
    assert_eq!(
        refused(&[Input::f32(vec![1, 3, 2, 2], vec![0.0; 12])]),
        "input `x` is declared as batch×1×2×2, which [1, 3, 2, 2] does not fit"
    );
    assert_eq!(
        refused(&[Input::f32(vec![2, 1, 2, 2], vec![0.0; 4])]),
        "input `x`: [2, 1, 2, 2] holds 8 elements, 4 were fed"
    );
}

#[test]
fn a_model_cannot_run_on_no_threads() {
    let options = layerprune_infer::SessionOptions { threads: 0, ..one_thread() };
    assert!(matches!(Session::load(&classifier(-2.0), &options), Err(InferError::NoThreads)));
}

#[test]
fn double_inputs_are_refused_at_loading() {
    let model = model(GraphProto {
        node: vec![node("relu", "Relu", &["x"], &["y"])],
        input: vec![port("x", DataType::Double, &[Size(1)])],
        output: vec![port("y", DataType::Double, &[Size(1)])],
        ..Default::default()
    });
    let message = Session::load(&model, &one_thread()).unwrap_err().to_string();
    assert_eq!(message, "input `x` has elements of DOUBLE, expected FLOAT or INT64");
}

#[test]
fn open_sizes_are_bound_by_batch_or_by_shape() {
    let images = load(&classifier(-2.0));
    let none = InputShapes::new();
    assert_eq!(bind_shapes(images.inputs(), &none, None).unwrap(), [vec![1, 1, 2, 2]]);
    assert_eq!(bind_shapes(images.inputs(), &none, Some(8)).unwrap(), [vec![8, 1, 2, 2]]);

    let rows = load(&lookup());
    let message = bind_shapes(rows.inputs(), &none, None).unwrap_err().to_string();
    assert_eq!(message, "input `x` has no fixed size on axis 1 (`width`): give the whole shape of `x` (count×width)");
    let given = InputShapes::from([("x".to_owned(), vec![3, 2])]);
    assert_eq!(bind_shapes(rows.inputs(), &given, Some(3)).unwrap(), [vec![3], vec![3, 2]]);

    let wrong = InputShapes::from([("z".to_owned(), vec![3])]);
    let message = bind_shapes(rows.inputs(), &wrong, None).unwrap_err().to_string();
    assert_eq!(message, "the model has no input `z`; its inputs are `rows`, `x`");
    let wrong = InputShapes::from([("x".to_owned(), vec![2, 3, 2, 2])]);
    assert!(matches!(bind_shapes(images.inputs(), &wrong, None), Err(InferError::InputShape { .. })));
}

#[test]
fn a_fixed_batch_is_not_overruled() {
    let model = model(GraphProto {
        node: vec![node("relu", "Relu", &["x"], &["y"])],
        input: vec![floats("x", &[Size(4), Size(3)])],
        output: vec![floats("y", &[Size(4), Size(3)])],
        ..Default::default()
    });
    let session = load(&model);
    assert_eq!((session.fixed_batch(), load(&classifier(-2.0)).fixed_batch()), (Some(4), None));
    assert_eq!(bind_shapes(session.inputs(), &InputShapes::new(), None).unwrap(), [vec![4, 3]]);
    let message = bind_shapes(session.inputs(), &InputShapes::new(), Some(1)).unwrap_err().to_string();
    assert_eq!(message, "the model takes batches of 4 only (input `x`), 1 was asked for");
}

#[test]
fn random_inputs_depend_on_the_seed_alone() {
    let session = load(&lookup());
    let shapes = [vec![3], vec![3, 2]];
    let inputs = random_inputs(session.inputs(), &shapes, 1);
    assert_eq!(inputs, random_inputs(session.inputs(), &shapes, 1));
    assert_ne!(inputs, random_inputs(session.inputs(), &shapes, 2));
    assert_eq!(inputs[0], Input::i64(vec![3], vec![0, 0, 0]));
    assert_eq!(session.run_inputs(&inputs).unwrap().output(0).shape, [3, 2]);
}

#[test]
fn equal_models_give_equal_outputs_and_others_their_distance() {
    let (a, b) = (load(&classifier(-2.0)), load(&classifier(-1.0)));
    let inputs = [Input::f32(vec![2, 1, 2, 2], &IMAGES[..])];
    let same = compare(&a, &a, &inputs).unwrap();
    assert_eq!((same[0].largest_difference, same[0].relative), (0.0, 0.0));
    // Channel 1 becomes relu(3 − x): 8/4 and 10/4 where it was 8/4 and 8/4.
    let differences = compare(&a, &b, &inputs).unwrap();
    assert_eq!((differences[0].output.as_str(), &differences[0].shape[..]), ("scores", &[2, 2][..]));
    assert_eq!((differences[0].largest_difference, differences[0].largest_value), (0.5, 2.0));
    assert_eq!(differences[0].position, Some(vec![1, 1]));
}

#[test]
fn models_with_other_outputs_are_not_compared() {
    let inputs = [Input::f32(vec![1, 1, 2, 2], &IMAGES[..4])];
    let message = compare(&load(&classifier(-2.0)), &load(&reshape()), &inputs).unwrap_err().to_string();
    assert_eq!(message, "the models have different outputs: `scores` and `y`");
}

#[test]
fn engines_are_found_by_name() {
    assert_eq!(engine_named("rten").unwrap().info().name, "rten");
    assert!(engine_named("abacus").is_none());
}

/// A 2x2 convolution of a 3x3 image with weights of one, its padding as `auto_pad` says.
fn padded(auto_pad: &str) -> layerprune::onnx::Model {
    let mut conv = node("conv", "Conv", &["x", "w"], &["y"]);
    conv.attribute = vec![text("auto_pad", auto_pad)];
    model(GraphProto {
        node: vec![conv],
        input: vec![floats("x", &[Size(1), Size(1), Size(3), Size(3)])],
        output: vec![floats("y", &[Size(1), Size(1), Open("h"), Open("w")])],
        initializer: vec![named("w", from_f32(&[1, 1, 2, 2], &[1.0; 4]))],
        ..Default::default()
    })
}

#[test]
fn a_convolution_without_attributes_takes_them_from_its_weight() {
    let image: Vec<f32> = (1..=9_u8).map(f32::from).collect();
    let outputs = load(&padded("NOTSET")).run(&image, [1, 1, 3, 3]).unwrap();
    assert_eq!(outputs.output(0).data, [12.0, 16.0, 24.0, 28.0]);
    let outputs = load(&padded("SAME_UPPER")).run(&image, [1, 1, 3, 3]).unwrap();
    assert_eq!(outputs.output(0).data, [12.0, 16.0, 9.0, 24.0, 28.0, 15.0, 15.0, 17.0, 9.0]);
}

#[test]
fn padding_that_the_engine_would_put_on_the_wrong_side_is_refused() {
    let error = Session::load(&padded("SAME_LOWER"), &one_thread()).unwrap_err();
    assert_eq!(
        chain(&error),
        "rten cannot load the model: node `conv` (Conv): \
         `auto_pad` is SAME_LOWER with uneven padding, which rten computes as SAME_UPPER"
    );
}
