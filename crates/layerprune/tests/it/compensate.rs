//! Recovery without labels after channels were removed: consumers fitted anew, and biases corrected.

use layerprune::analysis::{ChannelCut, Channels};
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::pipeline::{Compensation, compensate, correct_biases};
use layerprune::plan::{self, Constraints, Plan, PlannedChannels};
use layerprune::proto::tensor_proto::DataType;
use layerprune::proto::{AttributeProto, TensorProto, attribute_proto::AttributeType};
use layerprune::surgery;
use layerprune_testing::{Builder, float, found, int, ints, resnet, units, vgg};

use crate::bridge::{Images, distance, run};

const SHAPE: [usize; 3] = [3, 9, 9];

/// Six channels of which the last two follow from the others behind a ReLU: channel 4 is channel 1, channel 5 is half of
/// channel 2.
fn redundant(net: &mut Builder) -> String {
    let x = net.input("input", &SHAPE);
    let mut filters: Vec<f32> = (0..6 * 27).map(|place| ((place * 37 % 101) as f32 - 50.0) / 100.0).collect();
    filters.copy_within(27..54, 4 * 27);
    for place in 0..27 {
        filters[5 * 27 + place] = filters[2 * 27 + place] / 2.0;
    }
    let weight = net.tensor("stem.weight", tensor::from_f32(&[6, 3, 3, 3], &filters));
    let bias = net.tensor("stem.bias", tensor::from_f32(&[6], &[0.1, 0.2, -0.4, 0.3, 0.2, -0.2]));
    let x = net.node("Conv", "/stem/Conv", &[&x, &weight, &bias], vec![ints("pads", &[1; 4])]);
    net.node("Relu", "/stem/Relu", &[&x], vec![])
}

fn removing(model: &Model, group: &str, removed: &[usize]) -> (Plan, Channels, ChannelCut) {
    let (units, channels) = found(model);
    let size = channels.named(group).unwrap().channels.len();
    let planned = vec![PlannedChannels { group: group.to_owned(), channels: size, removed: removed.to_vec() }];
    let cut = plan::cut_of(&model.graph, &channels, &planned).unwrap();
    (plan::of_channels(&model.graph, &units, &channels, None, "test".to_owned(), planned), channels, cut)
}

struct Done {
    cut: Model,
    fitted: Model,
    fits: Vec<Compensation>,
    others: Vec<String>,
}

fn compensated(model: &Model, group: &str, removed: &[usize], penalty: f64) -> Done {
    let found = units(model);
    let (plan, channels, axes) = removing(model, group, removed);
    let cut = surgery::apply(model, &found, &plan).unwrap();
    let (consumers, others) = surgery::consumers(&found, &channels, &axes, &cut);
    let mut fitted = cut.clone();
    let mut port = Images::new(SHAPE);
    let mut seen = 0;
    let fits = compensate(model, &mut fitted, &consumers, penalty, &mut port, &mut |_| seen += 1).unwrap();
    assert_eq!((fits.len(), seen), (consumers.len(), consumers.len()));
    let others = others.into_iter().map(|other| format!("{}: {}", other.name, other.reason)).collect();
    Done { cut, fitted, fits, others }
}

fn expect_exact(model: &Model, removed: &[usize]) -> Done {
    let done = compensated(model, "stem", removed, 1e-9);
    let whole = run(model, SHAPE);
    assert!(distance(&run(&done.cut, SHAPE), &whole) > 0.02, "the channels mattered");
    let apart = distance(&run(&done.fitted, SHAPE), &whole);
    assert!(apart <= 1e-4, "{apart}");
    for fit in &done.fits {
        assert!(fit.taken && fit.r2.unwrap() > 0.999_999 && fit.r2_before.unwrap() < 0.999, "{fit:?}");
    }
    done
}

#[test]
fn channels_that_follow_from_others_are_made_up_for_exactly_at_borders_as_well() {
    let windows = [
        (3, vec![ints("pads", &[1; 4])]),
        (3, vec![ints("pads", &[1; 4]), ints("strides", &[2, 2])]),
        (3, vec![ints("pads", &[2; 4]), ints("dilations", &[2, 2])]),
        (2, vec![ints("pads", &[1, 0, 0, 1]), ints("strides", &[1, 3])]),
        (1, vec![]),
    ];
    for (kernel, attributes) in windows {
        let mut net = Builder::new(7);
        let x = redundant(&mut net);
        let weight = net.random("next.weight", &[5, 6, kernel, kernel], 0.3);
        let out = net.node("Conv", "/next/Conv", &[&x, &weight], attributes);
        net.output(&out);
        let done = expect_exact(&net.build(), &[4, 5]);
        assert_eq!(done.fits.len(), 1);
        assert_eq!(done.fits[0].node, "next");
    }
}

#[test]
fn each_conv_group_is_fitted_from_its_own_channels() {
    let mut net = Builder::new(8);
    let x = redundant(&mut net);
    // What goes is the last of each conv group, and follows from its group.
    let order = net.tensor("order", tensor::from_i64(&[6], &[1, 3, 4, 0, 2, 5]));
    let x = net.node("Gather", "/order/Gather", &[&x, &order], vec![int("axis", 1)]);
    let weight = net.random("next.weight", &[4, 3, 3, 3], 0.3);
    let bias = net.random("next.bias", &[4], 0.3);
    let out = net.node("Conv", "/next/Conv", &[&x, &weight, &bias], vec![ints("pads", &[1; 4]), int("group", 2)]);
    net.output(&out);
    let model = net.build();
    // The last of both go as one channel.
    expect_exact(&model, &[4]);
}

#[test]
fn a_dense_layer_is_fitted_whichever_way_its_weight_lies() {
    for transposed in [0, 1] {
        let mut net = Builder::new(9);
        let x = redundant(&mut net);
        let x = net.node("GlobalAveragePool", "/pool", &[&x], vec![]);
        let x = net.node("Flatten", "/flatten", &[&x], vec![]);
        let weight = net.random("fc.weight", if transposed == 1 { &[4, 6] } else { &[6, 4] }, 0.5);
        let out = net.node("Gemm", "/fc/Gemm", &[&x, &weight], vec![int("transB", transposed)]);
        net.output(&out);
        // Means of six images are few samples, and still more than the four channels that are left.
        expect_exact(&net.build(), &[4, 5]);
    }
}

#[test]
fn all_consumers_are_fitted_and_a_shared_weight_is_shared_no_more() {
    let mut net = Builder::new(10);
    let x = redundant(&mut net);
    let weight = net.random("shared.weight", &[6, 6, 3, 3], 0.2);
    let a = net.node("Conv", "/a/Conv", &[&x, &weight], vec![ints("pads", &[1; 4])]);
    let doubled = net.node("Mul", "/double", &[&x, &x], vec![]);
    let b = net.node("Conv", "/b/Conv", &[&doubled, &weight], vec![ints("pads", &[1; 4])]);
    let sum = net.node("Add", "/sum", &[&a, &b], vec![]);
    net.output(&sum);
    let done = expect_exact(&net.build(), &[4, 5]);
    assert_eq!(done.fits.iter().map(|fit| fit.node.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let weights: Vec<_> = done.fitted.graph.nodes().filter_map(|(_, node)| node.input(1)).collect();
    let distinct: std::collections::BTreeSet<_> = weights.iter().collect();
    assert_eq!(weights.len(), distinct.len());
}

#[test]
fn what_cannot_be_fitted_is_named_and_left_as_it_was() {
    let mut net = Builder::new(11);
    let x = redundant(&mut net);
    let pooled = net.node("GlobalAveragePool", "/pool", &[&x], vec![]);
    let flat = net.node("Flatten", "/flatten", &[&pooled], vec![]);
    let weight = net.random("fc.weight", &[6, 4], 0.5);
    let product = net.node("MatMul", "/fc/MatMul", &[&flat, &weight], vec![]);
    let weight = net.random("half.weight", &[6, 4], 0.5);
    let half = net.node("Gemm", "/half/Gemm", &[&flat, &weight], vec![float("alpha", 0.5)]);
    let sum = net.node("Add", "/sum", &[&product, &half], vec![]);
    net.output(&sum);
    let done = compensated(&net.build(), "stem", &[4, 5], 1e-3);
    assert_eq!(done.others, ["fc: MatMul is not fitted", "half: its `alpha` is 0.5"]);
    assert_eq!(done.fitted.to_bytes(), done.cut.to_bytes());
}

/// Integer weights with scales, and biases that a `Constant` node gives in its short form.
#[test]
fn what_is_stored_in_other_ways_is_read_or_left() {
    let mut net = Builder::new(13);
    let x = redundant(&mut net);
    let integers = TensorProto {
        dims: vec![5, 6, 1, 1],
        data_type: Some(DataType::Int8 as i32),
        int32_data: (0..30).map(|place| place * 7 % 61 - 30).collect(),
        ..Default::default()
    };
    let integers = net.tensor("q", integers);
    let scale = net.tensor("scale", tensor::from_f32(&[], &[0.01]));
    let weight = net.node("DequantizeLinear", "/weight/DequantizeLinear", &[&integers, &scale], vec![]);
    let a = net.node("Conv", "/a/Conv", &[&x, &weight], vec![ints("kernel_shape", &[1, 1])]);
    let weight = net.random("b.weight", &[5, 6, 1, 1], 0.3);
    let floats = AttributeProto {
        name: Some("value_floats".to_owned()),
        r#type: Some(AttributeType::Floats as i32),
        floats: vec![1.0, -2.0, 3.0, -4.0, 5.0],
        ..Default::default()
    };
    let bias = net.node("Constant", "/bias", &[], vec![floats]);
    let b = net.node("Conv", "/b/Conv", &[&x, &weight, &bias], vec![]);
    let sum = net.node("Add", "/sum", &[&a, &b], vec![]);
    net.output(&sum);
    let model = net.build();
    let done = compensated(&model, "stem", &[4, 5], 1e-9);
    assert_eq!(done.others, ["a: its weight is computed"]);
    let whole = run(&model, SHAPE);
    let found = units(&model);
    let (_, _, axes) = removing(&model, "stem", &[4, 5]);
    let nodes = surgery::biased_nodes(&model, &found, &axes, &done.cut);
    assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["stem", "b"]);
    assert_eq!(nodes[1].bias, [1.0, -2.0, 3.0, -4.0, 5.0]);
    let mut corrected = done.cut.clone();
    correct_biases(&model, &mut corrected, &nodes, &mut Images::new(SHAPE), &mut |_| {}).unwrap();
    for recovered in [&done.fitted, &corrected] {
        assert!(distance(&run(recovered, SHAPE), &whole) < distance(&run(&done.cut, SHAPE), &whole));
    }
}

#[test]
fn a_strong_penalty_leaves_the_weights_of_the_cut() {
    let model = vgg(4, 9, &[8, 6], 3);
    let group = units(&model).units[0].name.clone();
    let done = compensated(&model, &group, &[1, 4, 6], 1e12);
    let weights = |model: &Model| {
        let (_, conv) = model.graph.nodes().filter(|(_, node)| node.op_type() == "Conv").nth(1).unwrap();
        tensor::to_f32(model.graph.initializer(conv.input(1).unwrap()).unwrap()).unwrap().into_owned()
    };
    assert!(distance(&weights(&done.fitted), &weights(&done.cut)) < 1e-5);
    // What is not penalised is the bias, and that brings the mean back.
    let free = compensated(&model, &group, &[1, 4, 6], 1e-3);
    let whole = run(&model, SHAPE);
    assert!(distance(&run(&free.fitted, SHAPE), &whole) < distance(&run(&done.cut, SHAPE), &whole));
}

#[test]
fn a_constant_channel_is_made_up_for_by_a_bias() {
    let mut net = Builder::new(12);
    let x = net.input("input", &SHAPE);
    let mut filters: Vec<f32> = (0..4 * 27).map(|place| ((place * 29 % 97) as f32 - 48.0) / 100.0).collect();
    filters[54..81].fill(0.0);
    let weight = net.tensor("stem.weight", tensor::from_f32(&[4, 3, 3, 3], &filters));
    let bias = net.tensor("stem.bias", tensor::from_f32(&[4], &[0.1, 0.2, 3.0, 0.3]));
    let x = net.node("Conv", "/stem/Conv", &[&x, &weight, &bias], vec![ints("pads", &[1; 4])]);
    let x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    let x = net.conv("/next", &x, [4, 5], 3, 1, 1);
    let weight = net.random("up.weight", &[5, 2, 2, 2], 0.3);
    let out = net.node("ConvTranspose", "/up/ConvTranspose", &[&x, &weight], vec![ints("strides", &[2, 2])]);
    net.output(&out);
    // Without padding, so that the constant is one at the borders as well.
    let mut model = net.build();
    let next = model.graph.nodes().find(|(_, node)| node.name() == "/next/Conv").unwrap().0;
    model.graph.set_attribute(next, ints("pads", &[0; 4]));
    let found = units(&model);
    let (plan, _, axes) = removing(&model, "stem", &[2]);
    let cut = surgery::apply(&model, &found, &plan).unwrap();
    let nodes = surgery::biased_nodes(&model, &found, &axes, &cut);
    assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["stem", "next", "up"]);
    let mut corrected = cut.clone();
    let done = correct_biases(&model, &mut corrected, &nodes, &mut Images::new(SHAPE), &mut |_| {}).unwrap();
    let whole = run(&model, SHAPE);
    assert!(distance(&run(&cut, SHAPE), &whole) > 0.05);
    assert!(distance(&run(&corrected, SHAPE), &whole) <= 1e-5);
    assert!(done[0].shift < 1e-6 && done[1].shift > 0.1 && done[2].shift < 1e-5, "{done:?}");
}

#[test]
fn biases_bring_means_back_where_blocks_are_gone() {
    let model = resnet(3, SHAPE, 1, &[4, 8], 3, 4);
    let found = units(&model);
    let plan = plan::named(&found, &["layer1.1".to_owned()], &Constraints::bypass_only()).unwrap();
    let cut = surgery::apply(&model, &found, &plan).unwrap();
    let nodes = surgery::biased_nodes(&model, &found, &ChannelCut::default(), &cut);
    // All weighted nodes behind the block, none before it.
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names[0], "layer1.2.conv1");
    assert!(names.contains(&"fc") && !names.contains(&"conv1") && !names.contains(&"layer1.0.conv2"), "{names:?}");
    let mut corrected = cut.clone();
    correct_biases(&model, &mut corrected, &nodes, &mut Images::new(SHAPE), &mut |_| {}).unwrap();
    let whole = run(&model, SHAPE);
    assert!(distance(&run(&corrected, SHAPE), &whole) < distance(&run(&cut, SHAPE), &whole));
}
