//! Operators: defaults, spellings of different opsets, and values worked out by hand.

use layerprune::batch::Batch;
use layerprune::onnx::Model;
use layerprune::proto::{NodeProto, TensorProto};
use layerprune_train::scores;

use crate::models::{around, float, floats, int, integers, ints, node};

/// The scores of one image with pixels -4 to 11.
fn run(model: &Model) -> Vec<f32> {
    let images = (0..16).map(|i| (i - 4) as f32).collect();
    scores(model, &Batch::new(images, [1, 1, 4, 4], vec![0])).unwrap()
}

/// The node's output for input x, flattened.
fn apply(
    opset: i64,
    op: &str,
    inputs: &[&str],
    attributes: Vec<layerprune::proto::AttributeProto>,
    weights: Vec<TensorProto>,
) -> Vec<f32> {
    let mut nodes: Vec<NodeProto> = vec![node(op, inputs, &["out"], attributes)];
    nodes.push(node("Flatten", &["out"], &["y"], vec![]));
    run(&around(opset, nodes, weights))
}

fn pixels(f: impl Fn(f32) -> f32) -> Vec<f32> {
    (0..16).map(|i| f((i - 4) as f32)).collect()
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} instead of {expected:?}");
}

#[test]
fn activations_have_the_defaults_of_onnx() {
    let plain = |op| apply(13, op, &["x"], vec![], vec![]);
    assert_near(&plain("Relu"), &pixels(|x| x.max(0.0)));
    assert_near(&plain("LeakyRelu"), &pixels(|x| if x < 0.0 { 0.01 * x } else { x }));
    assert_near(&plain("Elu"), &pixels(|x| if x < 0.0 { x.exp() - 1.0 } else { x }));
    assert_near(&plain("Sigmoid"), &pixels(|x| 1.0 / (1.0 + (-x).exp())));
    assert_near(&plain("Tanh"), &pixels(f32::tanh));
    assert_near(&plain("HardSigmoid"), &pixels(|x| (0.2 * x + 0.5).clamp(0.0, 1.0)));
    let swish =
        around(14, vec![node("HardSwish", &["x"], &["a"], vec![]), node("Flatten", &["a"], &["y"], vec![])], vec![]);
    assert_near(&run(&swish), &pixels(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)));
}

#[test]
fn clip_reads_attributes_before_opset_11_and_inputs_from_it() {
    let expected = pixels(|x| x.clamp(-1.0, 6.0));
    assert_near(&apply(6, "Clip", &["x"], vec![float("min", -1.0), float("max", 6.0)], vec![]), &expected);
    let limits = vec![floats("low", &[], &[-1.0]), floats("high", &[], &[6.0])];
    assert_near(&apply(11, "Clip", &["x", "low", "high"], vec![], limits.clone()), &expected);
    assert_near(&apply(13, "Clip", &["x", "", "high"], vec![], limits), &pixels(|x| x.min(6.0)));
}

#[test]
fn slice_reads_attributes_before_opset_10_and_inputs_from_it() {
    let expected = [1.0, 2.0, 5.0, 6.0];
    let attributes = vec![ints("starts", &[1, 1]), ints("ends", &[3, 3]), ints("axes", &[2, 3])];
    assert_near(&apply(9, "Slice", &["x"], attributes, vec![]), &expected);
    let weights = vec![integers("s", &[1, -3]), integers("e", &[3, -1]), integers("a", &[-2, 3])];
    assert_near(&apply(10, "Slice", &["x", "s", "e", "a"], vec![], weights.clone()), &expected);
    let stepped = vec![
        integers("s", &[3, 0]),
        integers("e", &[i64::MIN, i64::MAX]),
        integers("a", &[2, 3]),
        integers("t", &[-2, 3]),
    ];
    assert_near(&apply(13, "Slice", &["x", "s", "e", "a", "t"], vec![], stepped), &[8.0, 11.0, 0.0, 3.0]);
}

#[test]
fn pad_reads_attributes_before_opset_11_and_inputs_from_it() {
    let pads = [0, 0, 0, 1, 0, 0, -3, 0];
    let expected = [9.0, -4.0, -3.0, -2.0, -1.0];
    let attributes = vec![ints("pads", &pads), float("value", 9.0)];
    assert_near(&apply(10, "Pad", &["x"], attributes, vec![]), &expected);
    let weights = vec![integers("p", &pads), floats("v", &[], &[9.0])];
    assert_near(&apply(13, "Pad", &["x", "p", "v"], vec![], weights), &expected);
    let weights = vec![integers("p", &[-3, 1, 0, 0]), integers("a", &[2, 3]), floats("v", &[], &[9.0])];
    assert_near(&apply(18, "Pad", &["x", "p", "v", "a"], vec![], weights), &[9.0, 8.0, 9.0, 10.0, 11.0]);
}

#[test]
fn squeeze_and_unsqueeze_read_axes_either_way() {
    for (opset, squeeze, unsqueeze) in
        [(12, vec![ints("axes", &[1])], vec![ints("axes", &[-1, 0])]), (13, vec![], vec![])]
    {
        let axes: [&[&str]; 2] = if opset < 13 { [&["x"], &["a"]] } else { [&["x", "s"], &["a", "u"]] };
        let model = around(
            opset,
            vec![
                node("Squeeze", axes[0], &["a"], squeeze),
                node("Unsqueeze", axes[1], &["b"], unsqueeze),
                node("Flatten", &["b"], &["y"], vec![]),
            ],
            vec![integers("s", &[1]), integers("u", &[-1, 0])],
        );
        assert_near(&run(&model), &pixels(|x| x));
    }
}

#[test]
fn reduce_mean_reads_axes_either_way_and_keeps_them_by_default() {
    assert_near(&apply(13, "ReduceMean", &["x"], vec![ints("axes", &[-1, 2])], vec![]), &[3.5]);
    assert_near(&apply(18, "ReduceMean", &["x", "a"], vec![], vec![integers("a", &[3])]), &[-2.5, 1.5, 5.5, 9.5]);
    let rows = apply(13, "ReduceMean", &["x"], vec![ints("axes", &[2]), int("keepdims", 0)], vec![]);
    assert_near(&rows, &[2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn arithmetic_broadcasts() {
    let row = || vec![floats("w", &[4], &[1.0, 2.0, 4.0, 8.0])];
    let with = |f: fn(f32, f32) -> f32| {
        (0..16).map(|i| f((i - 4) as f32, [1.0, 2.0, 4.0, 8.0][i as usize % 4])).collect::<Vec<_>>()
    };
    assert_near(&apply(13, "Add", &["x", "w"], vec![], row()), &with(|x, w| x + w));
    assert_near(&apply(13, "Sub", &["w", "x"], vec![], row()), &with(|x, w| w - x));
    assert_near(&apply(13, "Mul", &["x", "w"], vec![], row()), &with(|x, w| x * w));
    assert_near(&apply(13, "Div", &["x", "w"], vec![], row()), &with(|x, w| x / w));
    assert_near(&apply(13, "Sum", &["x", "x", "w"], vec![], row()), &with(|x, w| 2.0 * x + w));
}

#[test]
fn a_relu_behind_a_broadcasting_sum_is_not_lost() {
    let model = around(
        13,
        vec![
            node("Add", &["x", "w"], &["s"], vec![]),
            node("Relu", &["s"], &["r"], vec![]),
            node("Flatten", &["r"], &["y"], vec![]),
        ],
        vec![floats("w", &[1], &[-2.0])],
    );
    assert_near(&run(&model), &pixels(|x| (x - 2.0).max(0.0)));
}

#[test]
fn a_shape_that_is_computed_serves_reshape() {
    let model = around(
        13,
        vec![
            node("Shape", &["x"], &["shape"], vec![]),
            node("Gather", &["shape", "zero"], &["n"], vec![int("axis", 0)]),
            node("Unsqueeze", &["n", "zeros"], &["first"], vec![]),
            node("Concat", &["first", "rest"], &["to"], vec![int("axis", 0)]),
            node("Reshape", &["x", "to"], &["y"], vec![]),
        ],
        vec![TensorProto { dims: vec![], ..integers("zero", &[0]) }, integers("zeros", &[0]), integers("rest", &[-1])],
    );
    assert_near(&run(&model), &pixels(|x| x));
}

#[test]
fn concat_split_and_transpose_move_what_they_say() {
    let model = around(
        13,
        vec![
            node("Split", &["x"], &["a", "b"], vec![int("axis", 2)]),
            node("Concat", &["b", "a"], &["c"], vec![int("axis", -2)]),
            node("Transpose", &["c"], &["t"], vec![ints("perm", &[0, 1, 3, 2])]),
            node("Flatten", &["t"], &["y"], vec![]),
        ],
        vec![],
    );
    let expected: Vec<f32> = (0..16)
        .map(|i| {
            let (column, row) = (i / 4, i % 4);
            ((row + 2) % 4 * 4 + column - 4) as f32
        })
        .collect();
    assert_near(&run(&model), &expected);
}

#[test]
fn auto_pad_puts_the_odd_pad_where_it_says() {
    let conv = |pad: &str| {
        let mut auto = int("auto_pad", 0);
        auto.i = None;
        auto.r#type = Some(layerprune::proto::attribute_proto::AttributeType::String as i32);
        auto.s = Some(pad.as_bytes().to_vec());
        let attributes = vec![auto, ints("strides", &[1, 4])];
        apply(13, "Conv", &["x", "w"], attributes, vec![floats("w", &[1, 1, 2, 1], &[1.0, 10.0])])
    };
    assert_near(&conv("SAME_UPPER"), &[-4.0, 40.0, 84.0, 8.0]);
    assert_near(&conv("SAME_LOWER"), &[-40.0, -4.0, 40.0, 84.0]);
    assert_near(&conv("VALID"), &[-4.0, 40.0, 84.0]);
}

#[test]
fn pooling_has_the_defaults_of_onnx() {
    let kernel = || ints("kernel_shape", &[2, 2]);
    // Strides are 1 and padded positions are not counted by default.
    assert_eq!(apply(13, "MaxPool", &["x"], vec![kernel()], vec![]).len(), 9);
    let pads = || vec![kernel(), ints("strides", &[4, 4]), ints("pads", &[1, 1, 0, 0])];
    assert_near(&apply(13, "AveragePool", &["x"], pads(), vec![]), &[-4.0]);
    let mut counted = pads();
    counted.push(int("count_include_pad", 1));
    assert_near(&apply(13, "AveragePool", &["x"], counted, vec![]), &[-1.0]);
    let ceil = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[3, 3]), int("ceil_mode", 1)];
    assert_near(&apply(13, "MaxPool", &["x"], ceil, vec![]), &[6.0, 7.0, 10.0, 11.0]);
}

#[test]
fn gemm_scales_and_transposes() {
    let weights = vec![floats("w", &[16, 1], &[1.0; 16]), floats("c", &[1], &[3.0])];
    let model = around(
        13,
        vec![
            node("Flatten", &["x"], &["f"], vec![]),
            node("Gemm", &["f", "w", "c"], &["y"], vec![float("alpha", 0.5), float("beta", 2.0)]),
        ],
        weights,
    );
    assert_near(&run(&model), &[28.0 + 6.0]);
}

#[test]
fn a_last_softmax_is_left_to_the_loss() {
    let model =
        around(13, vec![node("Flatten", &["x"], &["f"], vec![]), node("Softmax", &["f"], &["y"], vec![])], vec![]);
    assert_near(&run(&model), &pixels(|x| x));
}

#[test]
fn a_fixed_number_of_images_gives_way() {
    let model = crate::models::Parts {
        opset: 13,
        inputs: vec![crate::models::port("x", &[1, 1, 4, 4])],
        outputs: vec!["y"],
        nodes: vec![node("Reshape", &["x", "to"], &["y"], vec![])],
        weights: vec![integers("to", &[1, -1])],
    }
    .model();
    let batch = Batch::new(vec![1.0; 48], [3, 1, 4, 4], vec![0; 3]);
    assert_eq!(scores(&model, &batch).unwrap().len(), 48);
}
