//! Channel groups, dead channels and filters: nets whose right answer is known.

use layerprune::analysis::{Channels, Units};
use layerprune::criteria::{
    BATCH_NORM_SCALE, Criterion, CriterionError, FilterScores, IMPRINT, Normalize, Scoring, WEIGHT_NORM,
};
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::plan::{self, ChannelConstraints, Plan, PlanError, Scope};
use layerprune::proto::tensor_proto::DataType;
use layerprune::proto::{AttributeProto, TensorProto, attribute_proto::AttributeType};
use layerprune::surgery;
use layerprune_infer::{Input, Session, SessionOptions};
use layerprune_testing::{Builder, found, int, ints, padded, resnet, string, vgg};

/// A weight of ones and twos in turns whose `dead` filters are zero.
fn filters(dims: &[usize], dead: &[usize]) -> TensorProto {
    let inner: usize = dims[1..].iter().product();
    let number = |place: usize| if dead.contains(&(place / inner)) { 0.0 } else { 0.1 + (place % 7) as f32 / 10.0 };
    tensor::from_f32(dims, &(0..dims.iter().product()).map(number).collect::<Vec<_>>())
}

fn conv(net: &mut Builder, name: &str, x: &str, dims: [usize; 4], dead: &[usize], groups: usize) -> String {
    let weight = net.tensor(&format!("{name}.weight"), filters(&dims, dead));
    let pad = (dims[2] / 2) as i64;
    let attributes = vec![int("group", groups as i64), ints("pads", &[pad; 4])];
    net.node("Conv", &format!("/{name}/Conv"), &[x, &weight], attributes)
}

fn outputs(model: &Model, shape: &[usize]) -> Vec<f32> {
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|place: usize| (place % 11) as f32 / 5.0 - 1.0).collect();
    let model = Model::from_bytes(&model.to_bytes()).unwrap();
    let session = Session::load(&model, &SessionOptions { threads: 1, ..Default::default() }).unwrap();
    session.run_inputs(&[Input::f32(shape, &numbers[..])]).unwrap().output(0).data.clone()
}

/// Removes what is dead, and checks that no output changes and costs are as predicted; the shapes of stored tensors.
fn without_dead(model: &Model, shape: &[usize]) -> (Model, Plan) {
    let (units, channels) = found(model);
    let plan = plan::dead_channels(&model.graph, &units, &channels, &Default::default());
    let cut = surgery::apply(model, &units, &plan).unwrap();
    let (before, after) = (outputs(model, shape), outputs(&cut, shape));
    let scale = before.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    assert!(scale > 0.0);
    for (a, b) in before.iter().zip(&after) {
        assert!((a - b).abs() <= 1e-5 * scale, "{a} became {b}");
    }
    assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after);
    (cut, plan)
}

fn dims(model: &Model, name: &str) -> Vec<i64> {
    model.graph.initializer(model.graph.value_named(name).unwrap()).unwrap().dims.clone()
}

fn filter_scores(
    criterion: &'static Criterion,
    model: &Model,
    units: &Units,
    channels: &Channels,
) -> Result<FilterScores, CriterionError> {
    FilterScores::of(&criterion.into(), &model.graph, units, channels, &Default::default())
}

#[test]
fn a_value_joined_with_itself_loses_both_copies_of_a_channel() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let a = conv(&mut net, "a", &x, [8, 3, 3, 3], &[1, 6], 1);
    let both = net.node("Concat", "/Concat", &[&a, &a], vec![int("axis", 1)]);
    let y = conv(&mut net, "b", &both, [4, 16, 1, 1], &[], 1);
    net.output(&y);
    let (cut, plan) = without_dead(&net.build(), &[1, 3, 6, 6]);
    assert_eq!((dims(&cut, "a.weight"), dims(&cut, "b.weight")), (vec![6, 3, 3, 3], vec![4, 12, 1, 1]));
    assert_eq!(plan.channels[0].removed, [1, 6]);
}

#[test]
fn conv_groups_lose_the_same_place_each_and_depthwise_groups_go_as_a_whole() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let a = conv(&mut net, "a", &x, [8, 3, 1, 1], &[1, 5], 1);
    let a = net.node("Relu", "/Relu", &[&a], vec![]);
    let b = conv(&mut net, "b", &a, [8, 4, 3, 3], &[], 2);
    let c = conv(&mut net, "c", &b, [6, 8, 1, 1], &[0, 4], 1);
    let d = conv(&mut net, "d", &c, [12, 1, 3, 3], &[], 6);
    let y = conv(&mut net, "e", &d, [3, 12, 1, 1], &[], 1);
    net.output(&y);
    let (cut, _) = without_dead(&net.build(), &[1, 3, 6, 6]);
    assert_eq!(dims(&cut, "a.weight"), [6, 3, 1, 1]);
    assert_eq!(dims(&cut, "b.weight"), [8, 3, 3, 3]);
    assert_eq!(dims(&cut, "d.weight"), [8, 1, 3, 3]);
    assert_eq!(dims(&cut, "e.weight"), [3, 8, 1, 1]);
    let groups: Vec<i64> = cut.graph.nodes().filter_map(|(_, node)| Some(node.attribute("group")?.i())).collect();
    assert_eq!(groups, [1, 2, 1, 4, 1]);
}

#[test]
fn a_channel_dead_in_one_conv_group_only_stays() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let a = conv(&mut net, "a", &x, [8, 3, 1, 1], &[1], 1);
    let b = conv(&mut net, "b", &a, [8, 4, 3, 3], &[], 2);
    net.output(&b);
    let (_, plan) = without_dead(&net.build(), &[1, 3, 6, 6]);
    assert!(plan.channels.is_empty());
}

#[test]
fn a_flattened_channel_takes_all_its_columns_along() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 4, 4]);
    let a = conv(&mut net, "a", &x, [8, 3, 3, 3], &[1, 6], 1);
    let flat = net.node("Flatten", "/Flatten", &[&a], vec![]);
    let y = net.gemm("/fc", &flat, 128, 10);
    net.output(&y);
    let (cut, _) = without_dead(&net.build(), &[2, 3, 4, 4]);
    assert_eq!(dims(&cut, "fc.weight"), [10, 96]);
}

#[test]
fn zero_goes_through_a_norm_that_shifts_it_below_zero_and_a_relu() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let a = conv(&mut net, "a", &x, [3, 3, 3, 3], &[0, 1, 2], 1);
    // Channel 0 is shifted below zero, channel 1 above, channel 2 has a scale of zero.
    let mut part = |name: &str, numbers: [f32; 3]| net.tensor(name, tensor::from_f32(&[3], &numbers));
    let parts = [
        part("scale", [1.0, 1.0, 0.0]),
        part("shift", [-0.5, 0.5, 0.0]),
        part("mean", [0.0, 0.0, 3.0]),
        part("variance", [1.0, 1.0, 1.0]),
    ];
    let [scale, shift, mean, variance] = &parts;
    let normed = net.node("BatchNormalization", "/bn", &[&a, scale, shift, mean, variance], vec![]);
    let relu = net.node("Relu", "/Relu", &[&normed], vec![]);
    let y = conv(&mut net, "b", &relu, [4, 3, 1, 1], &[], 1);
    net.output(&y);
    let (_, plan) = without_dead(&net.build(), &[1, 3, 6, 6]);
    assert_eq!(plan.channels[0].removed, [0, 2]);
}

#[test]
fn channels_that_nothing_reads_go_and_so_do_those_that_only_dead_filters_read() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let a = conv(&mut net, "a", &x, [4, 3, 1, 1], &[], 1);
    // Filter 0 of `b` alone reads channel 3 of `a`, and the slice leaves filter 0 out.
    let mut weight = filters(&[4, 4, 1, 1], &[]);
    let mut numbers = tensor::to_f32(&weight).unwrap().into_owned();
    for filter in 1..4 {
        numbers[filter * 4 + 3] = 0.0;
    }
    weight = tensor::from_f32(&[4, 4, 1, 1], &numbers);
    let weight = net.tensor("b.weight", weight);
    let b = net.node("Conv", "/b/Conv", &[&a, &weight], vec![]);
    let mut list = |name: &str, number: i64| net.tensor(name, tensor::from_i64(&[1], &[number]));
    let bounds = [list("start", 1), list("end", 4), list("axis", 1)];
    let part = net.node("Slice", "/Slice", &[&b, &bounds[0], &bounds[1], &bounds[2]], vec![]);
    let y = conv(&mut net, "c", &part, [2, 3, 1, 1], &[], 1);
    net.output(&y);
    let (cut, _) = without_dead(&net.build(), &[1, 3, 6, 6]);
    assert_eq!(dims(&cut, "a.weight"), [3, 3, 1, 1]);
    assert_eq!(dims(&cut, "b.weight"), [3, 3, 1, 1]);
    assert_eq!(dims(&cut, "c.weight"), [2, 3, 1, 1]);
}

#[test]
fn a_layer_whose_channels_are_all_dead_keeps_one() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let a = conv(&mut net, "a", &x, [4, 3, 1, 1], &[0, 1, 2, 3], 1);
    let weight = net.tensor("b.weight", filters(&[2, 4, 1, 1], &[]));
    let bias = net.tensor("b.bias", tensor::from_f32(&[2], &[1.0, 2.0]));
    let y = net.node("Conv", "/b/Conv", &[&a, &weight, &bias], vec![]);
    net.output(&y);
    let (cut, _) = without_dead(&net.build(), &[1, 3, 6, 6]);
    assert_eq!(dims(&cut, "a.weight"), [1, 3, 1, 1]);
}

#[test]
fn weights_read_twice_are_cut_once_and_hold_both_readers_together() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let weight = net.tensor("shared", filters(&[4, 3, 1, 1], &[2]));
    let a = net.node("Conv", "/a/Conv", &[&x, &weight], vec![]);
    let b = net.node("Conv", "/b/Conv", &[&x, &weight], vec![]);
    let y = conv(&mut net, "c", &a, [2, 4, 1, 1], &[], 1);
    let z = conv(&mut net, "d", &b, [2, 4, 1, 1], &[], 1);
    let sum = net.node("Add", "/Add", &[&y, &z], vec![]);
    net.output(&sum);
    let (cut, _) = without_dead(&net.build(), &[1, 3, 6, 6]);
    assert_eq!(dims(&cut, "shared"), [3, 3, 1, 1]);
    assert_eq!((dims(&cut, "c.weight"), dims(&cut, "d.weight")), (vec![2, 3, 1, 1], vec![2, 3, 1, 1]));
}

#[test]
fn weights_in_constant_nodes_behind_identities_and_of_half_precision_are_cut() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let value = AttributeProto {
        name: Some("value".to_owned()),
        r#type: Some(AttributeType::Tensor as i32),
        t: Some(filters(&[4, 3, 1, 1], &[1]).into()),
        ..Default::default()
    };
    let constant = net.node("Constant", "/weight", &[], vec![value]);
    let copy = net.node("Identity", "/copy", &[&constant], vec![]);
    let a = net.node("Conv", "/a/Conv", &[&x, &copy], vec![]);
    let half = TensorProto { data_type: Some(DataType::Float16 as i32), ..filters(&[2, 4, 1, 1], &[]) };
    let numbers = tensor::to_f32(&filters(&[2, 4, 1, 1], &[])).unwrap().into_owned();
    let half = net.tensor("half", tensor::with_f32(&half, &[2, 4, 1, 1], &numbers).unwrap());
    let wide = net.node("Cast", "/Cast", &[&half], vec![int("to", DataType::Float as i64)]);
    let y = net.node("Conv", "/b/Conv", &[&a, &wide], vec![]);
    net.output(&y);
    let model = net.build();
    let (units, channels) = found(&model);
    let plan = plan::dead_channels(&model.graph, &units, &channels, &Default::default());
    let cut = surgery::apply(&model, &units, &plan).unwrap();
    assert_eq!(dims(&cut, "half"), [2, 3, 1, 1]);
    let (_, node) = cut.graph.nodes().find(|(_, node)| node.op_type() == "Constant").unwrap();
    assert_eq!(node.attribute("value").unwrap().t.as_ref().unwrap().dims, [3, 3, 1, 1]);
}

#[test]
fn pixels_and_channels_change_places_together() {
    for (mode, dead) in [("CRD", [4, 5, 6, 7]), ("DCR", [1, 4, 7, 10])] {
        let mut net = Builder::new(1);
        let x = net.input("x", &[3, 4, 4]);
        let a = conv(&mut net, "a", &x, [12, 3, 1, 1], &dead, 1);
        let wide = net.node("DepthToSpace", "/D2S", &[&a], vec![int("blocksize", 2), string("mode", mode)]);
        let y = conv(&mut net, "b", &wide, [2, 3, 1, 1], &[], 1);
        net.output(&y);
        let (cut, _) = without_dead(&net.build(), &[1, 3, 4, 4]);
        assert_eq!((dims(&cut, "a.weight")[0], dims(&cut, "b.weight")[1]), (8, 2), "{mode}");
    }
}

/// The reason why the channels of the first layer are held.
fn held(build: impl FnOnce(&mut Builder, &str) -> String) -> String {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let a = conv(&mut net, "a", &x, [4, 3, 1, 1], &[], 1);
    let y = build(&mut net, &a);
    net.output(&y);
    let model = net.build();
    let (_, channels) = found(&model);
    assert_eq!(channels.layers[0].removable, 0, "{:?}", channels.layers);
    channels.layers[0].reason.clone().unwrap()
}

#[test]
fn what_holds_channels_is_said() {
    let output = held(|_, a| a.to_owned());
    assert_eq!(output, "axis 1 of `/a/Conv_output_0`: it is an axis of a model output");
    let mean = held(|net, a| net.node("ReduceMean", "/mean", &[a], vec![ints("axes", &[1])]));
    assert_eq!(mean, "axis 1 of `/a/Conv_output_0`, at `/mean` (ReduceMean): `ReduceMean` goes over it");
    let unknown = held(|net, a| net.node("Mystery", "/m", &[a], vec![]));
    assert_eq!(unknown, "axis 1 of `/a/Conv_output_0`, at `/m` (Mystery): operator `Mystery` is not known");
    let counted = held(|net, a| {
        let shape = net.node("Shape", "/Shape", &[a], vec![]);
        let one = net.tensor("one", tensor::from_i64(&[], &[1]));
        let channels = net.node("Gather", "/Gather", &[&shape, &one], vec![]);
        let number = net.node("Cast", "/Cast", &[&channels], vec![int("to", DataType::Float as i64)]);
        let divided = net.node("Div", "/Div", &[a, &number], vec![]);
        conv(net, "b", &divided, [2, 4, 1, 1], &[], 1)
    });
    assert_eq!(counted, "axis 1 of `/a/Conv_output_0`, at `/Cast` (Cast): its size is calculated with, by `/Cast`");
}

#[test]
fn the_way_to_what_holds_a_channel_is_shown_step_by_step() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let a = conv(&mut net, "a", &x, [4, 3, 1, 1], &[], 1);
    let a = net.node("Relu", "/Relu", &[&a], vec![]);
    net.output(&a);
    let model = net.build();
    let steps = found(&model).1.why(&model.graph, "a").unwrap();
    assert_eq!(
        steps,
        [
            "index 0 of axis 1 of `/a/Conv_output_0`",
            "index 0 of axis 1 of `/Relu_output_0`, by `/Relu` (Relu)",
            "held: axis 1 of `/Relu_output_0`: it is an axis of a model output"
        ]
    );
}

#[test]
fn the_batch_size_taken_from_a_shape_holds_nothing() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let a = conv(&mut net, "a", &x, [4, 3, 1, 1], &[1], 1);
    let shape = net.node("Shape", "/Shape", &[&a], vec![]);
    let zero = net.tensor("zero", tensor::from_i64(&[1], &[0]));
    let batch = net.node("Gather", "/Gather", &[&shape, &zero], vec![]);
    let rest = net.tensor("rest", tensor::from_i64(&[1], &[144]));
    let target = net.node("Concat", "/Concat", &[&batch, &rest], vec![int("axis", 0)]);
    let flat = net.node("Reshape", "/Reshape", &[&a, &target], vec![]);
    let y = net.gemm("/fc", &flat, 144, 3);
    net.output(&y);
    let (cut, plan) = without_dead(&net.build(), &[2, 3, 6, 6]);
    assert_eq!((plan.channels[0].removed.as_slice(), dims(&cut, "fc.weight")), (&[1][..], vec![3, 108]));
}

#[test]
fn residual_trunks_are_one_group_and_padded_shortcuts_make_one_for_each_part() {
    let model = resnet(3, [3, 8, 8], 1, &[4], 2, 3);
    let (_, channels) = found(&model);
    let rows: Vec<(&str, usize, usize)> =
        channels.groups.iter().map(|group| (group.name.as_str(), group.channels.len(), group.sources.len())).collect();
    assert_eq!(rows, [("conv1", 4, 3), ("layer1.0.conv1", 4, 1), ("layer1.1.conv1", 4, 1)]);
}

fn planned(model: &Model, constraints: &ChannelConstraints, scope: Scope, percent: f64) -> Result<Plan, PlanError> {
    let (units, channels) = found(model);
    let scores = filter_scores(&WEIGHT_NORM, model, &units, &channels).unwrap();
    plan::lowest_filters(&model.graph, &units, &channels, &scores, constraints, scope, percent)
}

fn kept(plan: &Plan) -> Vec<usize> {
    plan.channels.iter().map(|planned| planned.channels - planned.removed.len()).collect()
}

#[test]
fn shares_floors_and_multiples_are_kept() {
    let model = vgg(1, 8, &[10, 20, 0, 16], 4);
    let plain = ChannelConstraints { floor: 0.0, ..Default::default() };
    assert_eq!(kept(&planned(&model, &plain, Scope::Uniform, 30.0).unwrap()), [7, 14, 12]);
    let rounded = ChannelConstraints { round_to: 8, ..plain.clone() };
    assert_eq!(kept(&planned(&model, &rounded, Scope::Uniform, 50.0).unwrap()), [8, 16, 8]);
    let floor = ChannelConstraints { floor: 0.5, ..plain.clone() };
    assert_eq!(kept(&planned(&model, &floor, Scope::Uniform, 90.0).unwrap()), [5, 10, 8]);
    assert_eq!(kept(&planned(&model, &plain, Scope::Uniform, 100.0).unwrap()), [1, 1, 1]);
    let global = planned(&model, &plain, Scope::Global, 50.0).unwrap();
    assert_eq!(global.channels.iter().map(|planned| planned.removed.len()).sum::<usize>(), 23);
    let protected = ChannelConstraints {
        protected: ["features.0".to_owned(), "features.1".to_owned(), "features.3".to_owned()].into(),
        ..plain
    };
    assert_eq!(planned(&model, &protected, Scope::Uniform, 30.0), Err(PlanError::NoChannels));
}

#[test]
fn the_smallest_filters_go_first() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[1, 4, 4]);
    let weight = net.tensor("a.weight", tensor::from_f32(&[4, 1, 1, 1], &[3.0, -1.0, 2.0, -4.0]));
    let a = net.node("Conv", "/a/Conv", &[&x, &weight], vec![]);
    let y = conv(&mut net, "b", &a, [2, 4, 1, 1], &[], 1);
    net.output(&y);
    let plan = planned(&net.build(), &ChannelConstraints::default(), Scope::Uniform, 50.0).unwrap();
    assert_eq!(plan.channels[0].removed, [1, 2]);
}

#[test]
fn filters_of_grouped_transposed_convolutions_are_those_of_their_group() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[4, 4, 4]);
    // [C = 4, F/groups = 2] in 2 groups: filter 3 reads channels 2 and 3.
    let numbers = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let weight = net.tensor("weight", tensor::from_f32(&[4, 2, 1, 1], &numbers));
    let a = net.node("ConvTranspose", "/a/ConvTranspose", &[&x, &weight], vec![int("group", 2)]);
    let y = conv(&mut net, "b", &a, [2, 4, 1, 1], &[], 1);
    net.output(&y);
    let model = net.build();
    let (units, channels) = found(&model);
    let scores = filter_scores(&WEIGHT_NORM, &model, &units, &channels).unwrap();
    assert_eq!(scores.rows[0].scores, [10.0, 20.0, 74.0, 100.0]);
}

#[test]
fn filters_of_a_gemm_are_found_whichever_side_holds_the_weight() {
    use layerprune::analysis::FilterSite;
    // y = Aᵀ · x with A of 3 inputs and 2 filters, x of 3×4.
    let mut net = Builder::new(1);
    let x = net.input("x", &[4, 1, 1]);
    let x = net.node("Flatten", "/flat", &[&x], vec![]);
    let x = net.node("Transpose", "/turn", &[&x], vec![]);
    let weight = net.tensor("weight", tensor::from_f32(&[4, 2], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0]));
    let y = net.node("Gemm", "/gemm", &[&weight, &x], vec![int("transA", 1)]);
    net.output(&y);
    let model = net.build();
    let (units, _) = found(&model);
    let gemm = model.graph.nodes().find(|(_, node)| node.op_type() == "Gemm").unwrap().0;
    let site = FilterSite::of_node(&model.graph, &units.shapes, &model.graph.uses(), gemm).unwrap();
    assert_eq!(site.sums(&model.graph, &units.shapes, |weight| weight), Some(vec![10.0, 100.0]));
}

#[test]
fn normalized_scores_of_filters_are_kept_apart() {
    let model = vgg(1, 8, &[4, 6], 3);
    let (units, channels) = found(&model);
    let by = |how| {
        let scoring = Scoring::parse("weight-norm", how).unwrap();
        FilterScores::of(&scoring, &model.graph, &units, &channels, &Default::default()).unwrap()
    };
    let (plain, largest) = (by(Normalize::None), by(Normalize::Max));
    for (plain, largest) in plain.rows.iter().zip(&largest.rows) {
        let most = plain.scores.iter().copied().fold(0.0, f64::max);
        assert!(plain.scores.iter().zip(&largest.scores).all(|(a, b)| (a / most - b).abs() < 1e-12));
    }
    let ranked: Vec<f64> = by(Normalize::Rank).rows.into_iter().flat_map(|row| row.scores).collect();
    assert!(ranked.contains(&0.0) && ranked.contains(&1.0), "{ranked:?}");
}

#[test]
fn criteria_that_cannot_score_filters_say_so() {
    let model = vgg(1, 8, &[4, 4], 3);
    let (units, channels) = found(&model);
    let error = filter_scores(&IMPRINT, &model, &units, &channels).unwrap_err();
    assert_eq!(
        error.to_string(),
        "criterion `imprint` scores layers, not filters; `weight-norm`, `weight-norm-l1`, `weight-norm-l2`, \
         `batch-norm-scale`, `taylor-weight`, `taylor-gate`, `taylor-batch-norm`, `feature-maps`, `hrank`, `apoz`, \
         `mean-activation`, `fpgm`, `lamp`, `random` score filters"
    );
    assert!(filter_scores(&BATCH_NORM_SCALE, &model, &units, &channels).is_ok());
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let a = conv(&mut net, "a", &x, [4, 3, 1, 1], &[], 1);
    let y = conv(&mut net, "b", &a, [2, 4, 1, 1], &[], 1);
    net.output(&y);
    let folded = net.build();
    let (units, channels) = found(&folded);
    let error = filter_scores(&BATCH_NORM_SCALE, &folded, &units, &channels).unwrap_err();
    assert!(error.to_string().contains("folded into the convolutions"), "{error}");
}

#[test]
fn a_plan_of_channels_that_are_not_there_or_of_all_there_are_is_refused() {
    let model = vgg(1, 8, &[4, 4], 3);
    let (units, channels) = found(&model);
    let mut plan = planned(&model, &ChannelConstraints::default(), Scope::Uniform, 50.0).unwrap();
    plan.channels[0].removed = vec![0, 7];
    let error = surgery::apply(&model, &units, &plan).unwrap_err();
    assert_eq!(error.to_string(), "the plan removes channels of `features.0` that this model does not offer");
    plan.channels[0].removed = vec![0, 1, 2, 3];
    let error = surgery::apply(&model, &units, &plan).unwrap_err();
    assert!(error.to_string().starts_with("the plan leaves no channel of `"), "{error}");
    let names: Vec<&str> = channels.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["features.0", "features.1"]);
}

/// A file of a kilobyte that claims a million channels, several times over.
#[test]
fn channels_that_a_file_merely_claims_are_not_followed_without_limit() {
    let model = padded(0, 999_998, 12);
    let (_, channels) = found(&model);
    let followed: usize = channels.coupling.followed().map(|(_, size)| size).sum();
    assert!(followed <= 1 << 20, "{followed}");
    let stem = channels.layers.iter().find(|layer| layer.name == "stem").unwrap();
    assert_eq!((stem.channels, stem.removable), (2, 0));
}

/// A Reshape that nothing reads: its sizes follow the cut by a node that nothing else needs.
#[test]
fn what_a_dead_node_reads_stays_with_it() {
    let mut net = Builder::new(0);
    let x = net.input("input", &[3, 4, 4]);
    let x = net.conv("/a", &x, [3, 4], 1, 1, 1);
    let shape = net.node("Shape", "/Shape", &[&x], vec![]);
    let zero = net.tensor("zero", tensor::from_i64(&[1], &[0]));
    let batch = net.node("Gather", "/Gather", &[&shape, &zero], vec![int("axis", 0)]);
    let sizes = net.tensor("sizes", tensor::from_i64(&[3], &[4, 4, 4]));
    let sizes = net.node("Concat", "/Concat", &[&batch, &sizes], vec![int("axis", 0)]);
    net.node("Reshape", "/dead/Reshape", &[&x, &sizes], vec![]);
    let out = net.conv("/b", &x, [4, 2], 1, 1, 1);
    net.output(&out);
    let model = net.build();
    let (units, channels) = found(&model);
    let removed = vec![plan::PlannedChannels { group: "a".to_owned(), channels: 4, removed: vec![1] }];
    let plan = plan::of_channels(&model.graph, &units, &channels, None, "test".to_owned(), removed);
    let cut = surgery::apply(&model, &units, &plan).unwrap();
    assert!(cut.graph.nodes().any(|(_, node)| node.name() == "/dead/Reshape"));
    assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after);
}

/// A Reshape to the size of what is cut, of something that is not.
#[test]
fn a_size_that_shapes_another_value_is_held() {
    let mut net = Builder::new(0);
    let x = net.input("input", &[4, 4, 4]);
    let other = net.node("Relu", "/Relu", &[&x], vec![]);
    let y = net.conv("/a", &x, [4, 4], 1, 1, 1);
    let shape = net.node("Shape", "/Shape", &[&y], vec![]);
    let shaped = net.node("Reshape", "/Reshape", &[&other, &shape], vec![]);
    net.output(&shaped);
    let out = net.conv("/b", &y, [4, 2], 1, 1, 1);
    net.output(&out);
    let model = net.build();
    let (_, channels) = found(&model);
    let layer = channels.layers.iter().find(|layer| layer.name == "a").unwrap();
    assert_eq!(layer.removable, 0);
    assert!(layer.reason.as_deref().unwrap().contains("its size is calculated with"), "{:?}", layer.reason);
}

#[test]
fn channels_behind_a_pad_that_claims_too_many_are_held() {
    for before in [0, 3_000_000] {
        let model = padded(before, 5_000_000, 0);
        let (_, channels) = found(&model);
        let stem = channels.layers.iter().find(|layer| layer.name == "stem").unwrap();
        assert_eq!(stem.removable, 0, "{before}");
        assert!(stem.reason.as_deref().unwrap().contains("more than are followed"), "{:?}", stem.reason);
    }
}

/// The collection of surgery cases that lies beside the project, where it does.
#[test]
fn shared_cases_give_the_shapes_that_were_cut_by_hand() {
    let Some(folder) = std::env::var_os("LAYERPRUNE_SHARED").map(std::path::PathBuf::from) else {
        eprintln!("skipped: LAYERPRUNE_SHARED names no folder with surgery cases");
        return;
    };
    let folder = folder.join("cases");
    let text = std::fs::read_to_string(folder.join("cases.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for case in cases.iter().filter(|case| case.get("depth").is_none()) {
        let id = case["id"].as_str().unwrap();
        let model = Model::read(folder.join(format!("{id}.full.onnx"))).unwrap();
        let wanted = Model::read(folder.join(format!("{id}.want.onnx"))).unwrap();
        let shape: Vec<usize> = case["inp"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let (cut, _) = without_dead(&model, &shape);
        for &value in wanted.graph.initializers() {
            let name = wanted.graph.value_name(value);
            assert_eq!(dims(&cut, name), wanted.graph.initializer(value).unwrap().dims, "{id}: `{name}`");
        }
    }
}
