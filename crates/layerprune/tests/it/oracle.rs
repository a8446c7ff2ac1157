//! Cutting equals masking: for random nets and random plans, the cut model gives what the whole model gives with the
//! same units switched off by their weights, run by an engine that is not ours on the bytes that we wrote.

use std::collections::BTreeSet;

use layerprune::analysis::{ChannelCut, Channels, Kind, Units, Way};
use layerprune::onnx::Model;
use layerprune::plan::{self, Constraints, Plan};
use layerprune::stats::SplitMix;
use layerprune::surgery;
use layerprune_infer::{Input, Session, SessionOptions};
use layerprune_testing::{
    Builder, any_line, any_net, bottleneck_net, densenet, found, int, mask, mobilenet_v1, mobilenet_v2, resnet, vgg,
};
use proptest::prelude::*;

fn any_way() -> Constraints {
    Constraints { ways: BTreeSet::from([Way::Bypass, Way::DropBranch]), ..Constraints::default() }
}

/// A random selection of what can be removed, by a random one of `ways` that each unit offers.
fn random_plan(units: &Units, ways: &BTreeSet<Way>, seed: u64) -> Plan {
    let mut random = SplitMix::new(seed);
    let mut removed = Vec::new();
    for unit in &units.units {
        let offered: Vec<Way> =
            unit.removals.iter().map(|removal| removal.way).filter(|way| ways.contains(way)).collect();
        if random.below(2) == 0 && !offered.is_empty() {
            let way = offered[random.below(offered.len())];
            removed.push(plan::PlannedRemoval { unit: unit.name.clone(), way });
        }
    }
    plan::of(units, None, "at random".to_owned(), removed)
}

pub(crate) fn run(model: &Model, size: usize, seed: u64) -> Vec<f32> {
    run_shape(model, &[2, 3, size, size], seed).remove(0)
}

/// All outputs of the model as it is read back from a file, for a random input of this shape.
fn run_shape(model: &Model, shape: &[usize], seed: u64) -> Vec<Vec<f32>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    model.write(&path).unwrap();
    let model = Model::read(&path).unwrap();
    let mut random = SplitMix::new(seed);
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| random.normal() as f32).collect();
    let session = Session::load(&model, &SessionOptions { threads: 1, ..Default::default() }).unwrap();
    let outputs = session.run_inputs(&[Input::f32(shape, &numbers[..])]).unwrap();
    outputs.outputs().iter().map(|output| output.data.clone()).collect()
}

/// Cuts random channels, and compares with the same channels masked where they are read.
fn check_channels(model: &Model, shape: &[usize], seed: u64) -> usize {
    let (units, channels) = found(model);
    let plan = plan::random_channels(&model.graph, &units, &channels, &mut SplitMix::new(seed));
    let cut = plan::cut_of(&model.graph, &channels, &plan.channels).unwrap();
    let pruned = surgery::apply(model, &units, &plan).unwrap();
    let masked = surgery::masked(model, &units.shapes, &channels.coupling, &cut).unwrap();
    for (a, b) in run_shape(&pruned, shape, seed).iter().zip(&run_shape(&masked, shape, seed)) {
        assert_close(a, b);
    }
    let counted = Units::find(&pruned, &Default::default()).unwrap().costs.total();
    assert_eq!(counted, plan.after, "predicted cost is counted cost");
    plan.channels.iter().map(|planned| planned.removed.len()).sum()
}

/// `x = Concat(x, f(x))`, layer by layer, the other way in which dense blocks are written.
fn nested_concats(seed: u64, layers: usize) -> Model {
    let mut net = Builder::new(seed);
    let mut x = net.input("input", &[3, 8, 8]);
    for layer in 0..layers {
        let channels = 3 + 2 * layer;
        let y = net.conv(&format!("/dense{layer}/conv"), &x, [channels, 2], 3, 1, 1);
        let y = net.node("Relu", &format!("/dense{layer}/Relu"), &[&y], vec![]);
        x = net.node("Concat", &format!("/Concat{layer}"), &[&x, &y], vec![int("axis", 1)]);
    }
    let out = net.conv("/head", &x, [3 + 2 * layers, 4], 3, 1, 1);
    net.output(&out);
    net.build()
}

/// Dense layers before a gate, whose convolution reads and makes a channel for each of their features.
fn gated_concats(seed: u64, layers: usize) -> Model {
    let mut net = Builder::new(seed);
    let x = net.input("input", &[3, 8, 8]);
    let mut x = net.conv("/stem/conv", &x, [3, 4], 3, 1, 1);
    for layer in 0..layers {
        let y = net.conv(&format!("/dense{layer}/conv"), &x, [4 + 2 * layer, 2], 3, 1, 1);
        let y = net.node("Relu", &format!("/dense{layer}/Relu"), &[&y], vec![]);
        x = net.node("Concat", &format!("/Concat{layer}"), &[&x, &y], vec![int("axis", 1)]);
    }
    let channels = 4 + 2 * layers;
    let gate = net.node("GlobalAveragePool", "/gate/GlobalAveragePool", &[&x], vec![]);
    let gate = net.conv("/gate/conv", &gate, [channels, channels], 1, 1, 1);
    let gate = net.node("Sigmoid", "/gate/Sigmoid", &[&gate], vec![]);
    let x = net.node("Mul", "/gate/Mul", &[&x, &gate], vec![]);
    let out = net.conv("/head", &x, [channels, 5], 1, 1, 1);
    net.output(&out);
    net.build()
}

/// Removes the dense layers of these numbers, and compares with their features masked where they are added up.
fn check_dense(model: &Model, numbers: &[usize], seed: u64) -> Model {
    let units = Units::find(model, &Default::default()).unwrap();
    let dense: Vec<_> = units.units.iter().filter(|unit| unit.removal_by(Way::DropFeatures).is_some()).collect();
    let gone: Vec<_> = numbers.iter().map(|&number| dense[number]).collect();
    let names: Vec<String> = gone.iter().map(|unit| unit.name.clone()).collect();
    let plan = plan::named(&units, &names, &Constraints::plain()).unwrap();
    let pruned = surgery::apply(model, &units, &plan).unwrap();
    let channels = Channels::find(model, &units.model, &units.shapes);
    let cut = ChannelCut::all(gone.iter().map(|unit| &unit.features.as_ref().unwrap().cut));
    let masked = surgery::masked(model, &units.shapes, &channels.coupling, &cut).unwrap();
    assert_close(&run(&pruned, 8, seed), &run(&masked, 8, seed));
    let left = Units::find(&pruned, &Default::default()).unwrap();
    assert_eq!(left.costs.total(), plan.after, "predicted cost is counted cost");
    assert_eq!(plan, serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap());
    let dense_left = left.units.iter().filter(|unit| unit.kind == Kind::DenseLayer).count();
    assert_eq!(dense_left, dense.len() - numbers.len());
    pruned
}

#[test]
fn dense_layers_go_with_their_features() {
    let model = densenet(0, 8, 4, 3);
    for numbers in [&[0][..], &[2], &[3], &[5], &[0, 1], &[1, 2, 4], &[0, 1, 2], &[0, 1, 2, 3, 4, 5]] {
        check_dense(&model, numbers, 1);
    }
    for numbers in [&[0][..], &[1], &[3], &[0, 2], &[1, 2, 3], &[0, 1, 2, 3]] {
        check_dense(&nested_concats(5, 4), numbers, 2);
    }
    // The gate's weight loses rows to one layer and columns to another.
    for numbers in [&[1][..], &[0, 1], &[0, 2], &[0, 1, 2]] {
        check_dense(&gated_concats(6, 3), numbers, 3);
    }
}

#[test]
fn a_dense_layer_costs_what_reads_its_features_too() {
    let model = densenet(0, 8, 4, 2);
    let units = Units::find(&model, &Default::default()).unwrap();
    let unit = units.named("features.denseblock1.denselayer2").unwrap();
    // Norm of 12, 1x1 of 12 to 8, norm of 8, 3x3 of 8 to 4; of the transition, the norm of 4 and 4 of the
    // 16 channels that 8 filters read.
    let own = 2 * 12 + 12 * 8 + 2 * 8 + 8 * 4 * 9;
    assert_eq!(unit.cost.parameters, own + 2 * 4 + 4 * 8);
    assert_eq!(unit.cost.macs, Some((12 * 8 + 8 * 4 * 9 + 4 * 8) * 64));
    let pruned = check_dense(&model, &[0, 1], 3);
    let ops: Vec<&str> = pruned.graph.nodes().map(|(_, node)| node.op_type()).collect();
    assert_eq!(ops[..4], ["Conv", "BatchNormalization", "Relu", "Conv"], "nothing is joined where nothing is added");
}

#[test]
fn a_dense_layer_whose_features_are_held_stays_and_says_why() {
    let mut net = Builder::new(3);
    let x = net.input("input", &[3, 8, 8]);
    let y = net.conv("/dense/conv", &x, [3, 2], 3, 1, 1);
    let x = net.node("Concat", "/Concat", &[&x, &y], vec![int("axis", 1)]);
    net.output(&x);
    let units = Units::find(&net.build(), &Default::default()).unwrap();
    let unit = units.named("dense.conv").unwrap();
    assert!(unit.removals.is_empty());
    let reason = unit.reason.as_deref().unwrap();
    assert!(reason.starts_with("its features cannot all go: axis 1 of `"), "{reason}");
    let error = plan::named(&units, &names(&["dense.conv"]), &Constraints::plain()).unwrap_err();
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn a_dense_layer_does_not_go_with_what_reads_its_features_by_another_way() {
    let mut net = Builder::new(4);
    let x = net.input("input", &[3, 8, 8]);
    let x = net.conv("/stem/conv", &x, [3, 4], 3, 1, 1);
    let y = net.conv("/dense/conv", &x, [4, 2], 3, 1, 1);
    let x = net.node("Concat", "/Concat", &[&x, &y], vec![int("axis", 1)]);
    let x = net.conv("/plain/conv", &x, [6, 6], 3, 1, 1);
    let x = net.conv("/head/conv", &x, [6, 2], 1, 1, 1);
    net.output(&x);
    let model = net.build();
    let units = Units::find(&model, &Default::default()).unwrap();
    let both = plan::named(&units, &names(&["dense.conv", "plain.conv"]), &Constraints::plain()).unwrap_err();
    assert_eq!(
        both.to_string(),
        "`dense.conv` and `plain.conv` cannot go together: the features of the one are among what the other reads or gives"
    );
}

/// A gate computed from elsewhere, whose two layers could be shrunk to one: the second makes a channel for each feature.
#[test]
fn a_layer_is_not_shrunk_onto_one_that_loses_features() {
    let mut net = Builder::new(9);
    let x = net.input("input", &[3, 8, 8]);
    let x = net.conv("/stem/conv", &x, [3, 4], 3, 1, 1);
    let side = net.conv("/squeeze/conv", &x, [4, 3], 1, 1, 1);
    let side = net.conv("/gate/conv", &side, [3, 6], 1, 1, 1);
    let y = net.conv("/dense/conv", &x, [4, 2], 3, 1, 1);
    let x = net.node("Concat", "/Concat", &[&x, &y], vec![int("axis", 1)]);
    let x = net.node("Mul", "/Mul", &[&x, &side], vec![]);
    let out = net.conv("/head", &x, [6, 2], 1, 1, 1);
    net.output(&out);
    let model = net.build();
    let units = Units::find(&model, &Default::default()).unwrap();
    let ways = BTreeSet::from([Way::DropFeatures, Way::ShrinkChain]);
    let constraints = Constraints { ways, ..Constraints::default() };
    for name in ["squeeze.conv", "dense.conv"] {
        let plan = plan::named(&units, &names(&[name]), &constraints).unwrap();
        let cut = surgery::apply(&model, &units, &plan).unwrap();
        assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after, "{name}");
    }
    let both = plan::named(&units, &names(&["squeeze.conv", "dense.conv"]), &constraints).unwrap_err();
    assert!(both.to_string().starts_with("`dense.conv` and `squeeze.conv` cannot go together: "), "{both}");
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn shrinking() -> Constraints {
    Constraints { ways: BTreeSet::from([Way::Bypass, Way::ShrinkChain]), ..Constraints::default() }
}

/// The model without `removed`, after a look at what it costs.
fn without(model: &Model, removed: &[&str]) -> Model {
    let units = Units::find(model, &Default::default()).unwrap();
    let plan = plan::named(&units, &names(removed), &shrinking()).unwrap();
    let cut = surgery::apply(model, &units, &plan).unwrap();
    assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after);
    cut
}

/// `name kernel strides` of the nodes with a window.
fn windows(model: &Model) -> Vec<String> {
    let sizes = |node: &layerprune::graph::Node, name: &str| {
        node.attribute(name).map(|found| format!("{:?}", found.ints)).unwrap_or_default()
    };
    let windowed = model.graph.nodes().filter(|(_, node)| node.attribute("strides").is_some());
    windowed
        .map(|(_, node)| format!("{} {} {}", node.name(), sizes(node, "kernel_shape"), sizes(node, "strides")))
        .collect()
}

pub(crate) fn assert_close(a: &[f32], b: &[f32]) {
    let scale = b.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    assert!(scale > 0.0, "the reference gives nothing but zeros");
    let largest = a.iter().zip(b).fold(0.0_f32, |largest, (x, y)| largest.max((x - y).abs()));
    assert!(largest <= 1e-4 * scale, "largest difference {largest} at a scale of {scale}");
}

fn check(model: &Model, size: usize, seed: u64) -> usize {
    let units = Units::find(model, &Default::default()).unwrap();
    let plan = random_plan(&units, &any_way().ways, seed);
    let cut = surgery::apply(model, &units, &plan).unwrap();
    let masked = mask(model, &units, &plan);
    assert_close(&run(&cut, size, seed), &run(&masked, size, seed));
    let counted = Units::find(&cut, &Default::default()).unwrap().costs.total();
    assert_eq!(counted, plan.after, "predicted cost is counted cost");
    plan.removed.len()
}

proptest! {

    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn any_dense_layers_go_as_if_masked(seed in any::<u64>(), layers in 1..4_usize, kind in 0..3_usize) {
        let (model, all) = match kind {
            0 => (densenet(seed, 8, 3, layers), 2 * layers),
            1 => (nested_concats(seed, layers), layers),
            _ => (gated_concats(seed, layers), layers),
        };
        let mut random = SplitMix::new(seed);
        let numbers: Vec<usize> = (0..all).filter(|_| random.below(2) == 0).collect();
        check_dense(&model, &numbers, seed);
    }

    #[test]
    fn cutting_blocks_of_a_residual_net_equals_masking(seed: u64, blocks in 1..4_usize, stages in 1..4_usize) {
        let widths: Vec<usize> = (0..stages).map(|stage| 4 << stage).collect();
        check(&resnet(seed, [3, 12, 12], 1, &widths, blocks, 4), 12, seed);
    }

    #[test]
    fn cutting_bottlenecks_equals_masking(seed: u64, blocks in 1..4_usize) {
        check(&bottleneck_net(seed, 8, 4, blocks), 8, seed);
    }

    #[test]
    fn cutting_inverted_residuals_equals_masking(seed: u64) {
        check(&mobilenet_v2(seed, 12, &[(8, 1), (12, 2), (12, 1), (12, 1)]), 12, seed);
    }

    #[test]
    fn cutting_layers_of_a_chain_equals_passing_through(seed: u64) {
        check(&vgg(seed, 8, &[6, 6, 0, 8, 8, 8], 3), 8, seed);
        check(&mobilenet_v1(seed, 8, &[(8, 1), (16, 2), (16, 1)]), 8, seed);
    }

    /// Any units of the tree, each at random, as far as they go together.
    #[test]
    fn cutting_nested_units_equals_masking(seed: u64, blocks in 2..4_usize) {
        let models = [
            (resnet(seed, [3, 12, 12], 1, &[4, 8], blocks, 4), 12),
            (bottleneck_net(seed, 8, 4, blocks), 8),
            (vgg(seed, 8, &[6, 6, 6, 0, 8, 8, 8], 3), 8),
            (nested_net(seed), 8),
        ];
        for (model, size) in models {
            let units = Units::find(&model, &Default::default()).unwrap();
            let mut random = SplitMix::new(seed);
            let mut chosen: Vec<String> = Vec::new();
            for unit in units.all().filter(|unit| unit.removal(&any_way().ways).is_some()) {
                if random.below(4) == 0 {
                    chosen.push(unit.name.clone());
                    if plan::named(&units, &chosen, &any_way()).is_err() {
                        chosen.pop();
                    }
                }
            }
            let plan = plan::named(&units, &chosen, &any_way()).unwrap();
            let cut = surgery::apply(&model, &units, &plan).unwrap();
            assert_close(&run(&cut, size, seed), &run(&mask(&model, &units, &plan), size, seed));
            assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after);
            // The same removals as they were named, the inner ones included.
            let way = |name: &String| units.named(name).unwrap().removal(&any_way().ways).unwrap().way;
            let all = chosen.iter().map(|name| plan::PlannedRemoval { unit: name.clone(), way: way(name) }).collect();
            let spelled_out = plan::of(&units, None, plan.target.clone(), all);
            assert_eq!(spelled_out.after, plan.after);
            assert_eq!(surgery::apply(&model, &units, &spelled_out).unwrap(), cut);
        }
    }

    /// As above, with shrinking as well, inside of blocks too: what comes out runs and costs what was predicted.
    #[test]
    fn nested_units_go_together_with_shrunk_ones(seed: u64) {
        let models = [
            (resnet(seed, [3, 12, 12], 1, &[4, 8], 2, 4), 12),
            (bottleneck_net(seed, 8, 4, 2), 8),
            (vgg(seed, 8, &[6, 6, 9, 0, 8, 7, 7], 3), 8),
            (linear_chain("AveragePool", [1, 2, 1]), 16),
        ];
        let every = Constraints { ways: BTreeSet::from([Way::Bypass, Way::DropBranch, Way::ShrinkChain]), ..any_way() };
        for (model, size) in models {
            let units = Units::find(&model, &Default::default()).unwrap();
            let mut random = SplitMix::new(seed);
            let mut chosen: Vec<String> = Vec::new();
            for unit in units.all().filter(|unit| unit.removal(&every.ways).is_some()) {
                if random.below(2) == 0 {
                    chosen.push(unit.name.clone());
                    if plan::named(&units, &chosen, &every).is_err() {
                        chosen.pop();
                    }
                }
            }
            let plan = plan::named(&units, &chosen, &every).unwrap();
            let cut = surgery::apply(&model, &units, &plan).unwrap();
            assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after);
            assert_eq!(run(&cut, size, seed).len(), run(&model, size, seed).len());
        }
    }

    /// Weights of layers with activations are composed as if these were not there; what is checked is that the
    /// file is sound, keeps its output shape and costs what was predicted.
    #[test]
    fn shrunk_chains_run_and_cost_what_was_predicted(
        seed: u64,
        widths in prop::collection::vec(prop_oneof![Just(0_usize), 4..9_usize], 2..8),
    ) {
        let mut widths = widths;
        widths.insert(0, 4);
        let size = 1 << widths.iter().filter(|&&width| width == 0).count().max(2);
        let model = vgg(seed, 2 * size, &widths, 3);
        let units = Units::find(&model, &Default::default()).unwrap();
        let plan = random_plan(&units, &shrinking().ways, seed);
        let cut = surgery::apply(&model, &units, &plan).unwrap();
        assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after);
        assert_eq!(run(&cut, 2 * size, seed).len(), 2 * 3);
    }
}

/// A long shortcut over two blocks and a convolution.
fn nested_net(seed: u64) -> Model {
    let mut net = Builder::new(seed);
    let x = net.input("input", &[3, 8, 8]);
    let x = net.conv("/stem", &x, [3, 4], 3, 1, 1);
    let start = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    let mut x = start.clone();
    for block in 0..2 {
        let module = format!("/group/group.{block}");
        let mut y = net.conv(&format!("{module}/conv1"), &x, [4, 4], 3, 1, 1);
        y = net.node("Relu", &format!("{module}/relu1"), &[&y], vec![]);
        y = net.conv(&format!("{module}/conv2"), &y, [4, 4], 3, 1, 1);
        x = net.node("Add", &format!("{module}/Add"), &[&y, &x], vec![]);
        x = net.node("Relu", &format!("{module}/relu2"), &[&x], vec![]);
    }
    x = net.conv("/group/last", &x, [4, 4], 3, 1, 1);
    x = net.node("Add", "/group/Add", &[&x, &start], vec![]);
    x = net.node("Relu", "/group/Relu", &[&x], vec![]);
    let out = net.conv("/head", &x, [4, 2], 1, 1, 1);
    net.output(&out);
    net.build()
}

/// A stem, then linear layers without padding, whose composition is exact: the cut model is the whole one.
fn linear_chain(pools: &str, strides: [usize; 3]) -> Model {
    let mut net = Builder::new(11);
    let mut x = net.input("input", &[3, 16, 16]);
    x = net.conv("/stem", &x, [3, 6], 3, 1, 1);
    x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    let window =
        || vec![layerprune_testing::ints("kernel_shape", &[2, 2]), layerprune_testing::ints("strides", &[2, 2])];
    x = net.node(pools, "/pool1", &[&x], window());
    x = net.conv("/a", &x, [6, 8], 1, strides[0], 1);
    x = net.batch_norm("/a.bn", &x, 8);
    x = net.node(pools, "/pool2", &[&x], window());
    x = net.conv("/b", &x, [8, 7], 1, strides[1], 1);
    x = net.batch_norm("/b.bn", &x, 7);
    x = net.conv("/c", &x, [7, 5], 1, strides[2], 1);
    x = net.node("Relu", "/c/Relu", &[&x], vec![]);
    let flat = net.node("Flatten", "/Flatten", &[&x], vec![]);
    let logits = net.gemm("/fc", &flat, 5 * (4 / strides.iter().product::<usize>()).pow(2), 3);
    net.output(&logits);
    net.build()
}

#[test]
fn a_linear_layer_composed_into_the_next_changes_nothing() {
    let model = linear_chain("AveragePool", [1; 3]);
    let whole = run(&model, 16, 1);
    for removed in [&["a"][..], &["b"], &["a", "b"]] {
        let cut = without(&model, removed);
        assert_close(&run(&cut, 16, 1), &whole);
        assert_eq!(cut.graph.nodes().filter(|(_, node)| node.op_type() == "Conv").count(), 4 - removed.len());
    }
}

#[test]
fn the_pool_before_takes_over_the_window_of_the_one_behind() {
    for pools in ["AveragePool", "MaxPool"] {
        let cut = without(&linear_chain(pools, [1; 3]), &["a"]);
        assert_eq!(
            windows(&cut),
            ["/stem/Conv [3, 3] [1, 1]", "/pool1 [4, 4] [4, 4]", "/b/Conv [1, 1] [1, 1]", "/c/Conv [1, 1] [1, 1]"]
        );
    }
}

#[test]
fn the_next_layer_takes_over_a_stride_that_no_pool_can() {
    let model = linear_chain("AveragePool", [1, 2, 1]);
    let cut = without(&model, &["b"]);
    // A pool before the layer comes first.
    assert_eq!(windows(&cut)[3..], ["/pool2 [4, 4] [4, 4]", "/c/Conv [1, 1] [1, 1]"]);
    let mut net = Builder::new(2);
    let mut x = net.input("input", &[3, 8, 8]);
    x = net.conv("/stem", &x, [3, 6], 3, 1, 1);
    x = net.conv("/a", &x, [6, 4], 1, 2, 1);
    x = net.conv("/b", &x, [4, 5], 1, 1, 1);
    net.output(&x);
    let model = net.build();
    let cut = without(&model, &["a"]);
    assert_eq!(windows(&cut), ["/stem/Conv [3, 3] [1, 1]", "/b/Conv [1, 1] [2, 2]"]);
    assert_close(&run(&cut, 8, 3), &run(&model, 8, 3));
}

#[test]
fn a_depthwise_pair_is_composed_as_one_linear_layer() {
    let mut net = Builder::new(4);
    let mut x = net.input("input", &[3, 8, 8]);
    x = net.conv("/stem", &x, [3, 6], 3, 1, 1);
    let weight = net.random("dw.weight", &[6, 1, 1, 1], 1.0);
    x = net.node("Conv", "/dw/Conv", &[&x, &weight], vec![layerprune_testing::int("group", 6)]);
    x = net.batch_norm("/dw.bn", &x, 6);
    x = net.conv("/pw", &x, [6, 9], 1, 1, 3);
    x = net.conv("/next", &x, [9, 4], 1, 1, 1);
    net.output(&x);
    let model = net.build();
    assert_close(&run(&without(&model, &["pw"]), 8, 5), &run(&model, 8, 5));
}

#[test]
fn a_linear_layer_before_a_flattening_classifier_is_composed_into_it() {
    for pooled in [false, true] {
        let mut net = Builder::new(6);
        let mut x = net.input("input", &[3, 8, 8]);
        x = net.conv("/stem", &x, [3, 6], 3, 1, 1);
        x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
        x = net.conv("/last", &x, [6, 8], 1, 1, 1);
        x = net.batch_norm("/last.bn", &x, 8);
        if pooled {
            x = net.node("GlobalAveragePool", "/pool", &[&x], vec![]);
        }
        x = net.node("Flatten", "/Flatten", &[&x], vec![]);
        let x = net.gemm("/fc", &x, if pooled { 8 } else { 8 * 64 }, 3);
        net.output(&x);
        let model = net.build();
        assert_close(&run(&without(&model, &["last"]), 8, 7), &run(&model, 8, 7));
    }
}

#[test]
fn a_linear_gemm_is_composed_into_the_next_whichever_way_they_are_stored() {
    for transposed in [[0, 0], [0, 1], [1, 0], [1, 1]] {
        let mut net = Builder::new(12);
        let x = net.input("input", &[3, 4, 4]);
        let x = net.conv("/stem", &x, [3, 6], 3, 1, 1);
        let x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
        let pooled = net.node("GlobalAveragePool", "/pool", &[&x], vec![]);
        let mut x = net.node("Flatten", "/Flatten", &[&pooled], vec![]);
        for (name, transposed, [inputs, outputs], alpha) in
            [("a", transposed[0], [6, 5], 0.5), ("b", transposed[1], [5, 3], 2.0)]
        {
            let dims = if transposed == 1 { [outputs, inputs] } else { [inputs, outputs] };
            let weight = net.random(&format!("{name}.weight"), &dims, 0.5);
            let bias = net.random(&format!("{name}.bias"), &[outputs], 1.0);
            let settings = vec![
                layerprune_testing::int("transB", transposed),
                layerprune_testing::float("alpha", alpha),
                layerprune_testing::float("beta", 0.25),
            ];
            x = net.node("Gemm", &format!("/{name}/Gemm"), &[&x, &weight, &bias], settings);
        }
        net.output(&x);
        let model = net.build();
        assert_close(&run(&without(&model, &["a"]), 4, 13), &run(&model, 4, 13));
    }
}

#[test]
fn declared_shapes_go_where_they_would_no_longer_be_true() {
    let mut net = Builder::new(14);
    let x = net.input("input", &[3, 8, 8]);
    let stem = net.conv("/stem", &x, [3, 6], 3, 1, 1);
    let window = vec![layerprune_testing::ints("kernel_shape", &[2, 2]), layerprune_testing::ints("strides", &[2, 2])];
    let pool = net.node("MaxPool", "/pool", &[&stem], window);
    let relu = net.node("Relu", "/relu", &[&pool], vec![]);
    let drop = net.node("Dropout", "/drop", &[&relu], vec![]);
    let a = net.conv("/a", &drop, [6, 8], 1, 2, 1);
    let neg = net.node("Neg", "/behind/Neg", &[&a], vec![]);
    let soft = net.node("Identity", "/behind/Identity", &[&neg], vec![]);
    let b = net.conv("/b", &soft, [8, 3], 1, 1, 1);
    let out = net.node("Relu", "/out", &[&b], vec![]);
    net.output(&out);
    for (value, sizes) in [(&stem, [6, 8, 8]), (&pool, [6, 4, 4]), (&relu, [6, 4, 4]), (&drop, [6, 4, 4])] {
        net.declare(value, &sizes);
    }
    for (value, sizes) in [(&a, [8, 2, 2]), (&neg, [8, 2, 2]), (&soft, [8, 2, 2]), (&b, [3, 2, 2])] {
        net.declare(value, &sizes);
    }
    let cut = without(&net.build(), &["a"]);
    assert_eq!(windows(&cut)[1], "/pool [4, 4] [4, 4]");
    let left: Vec<&str> = cut.graph.declared().iter().map(|port| cut.graph.value_name(port.value)).collect();
    assert_eq!(left, [&stem, &b]);
}

#[test]
fn a_shared_weight_is_copied_for_the_layer_that_changes() {
    let mut net = Builder::new(8);
    let mut x = net.input("input", &[3, 8, 8]);
    x = net.conv("/stem", &x, [3, 3], 1, 1, 1);
    x = net.conv("/a", &x, [3, 4], 1, 1, 1);
    let shared = net.random("shared", &[4, 4, 1, 1], 0.5);
    x = net.node("Conv", "/b/Conv", &[&x, &shared], vec![]);
    x = net.node("Relu", "/b/Relu", &[&x], vec![]);
    x = net.node("Conv", "/c/Conv", &[&x, &shared], vec![]);
    net.output(&x);
    let model = net.build();
    let cut = without(&model, &["a"]);
    assert_close(&run(&cut, 8, 9), &run(&model, 8, 9));
    assert!(cut.graph.value_named("shared_2").is_some());
}

/// A shrunk layer whose next one is bypassed: the one behind that takes the input.
#[test]
fn a_layer_is_shrunk_onto_the_first_one_that_stays() {
    let mut net = Builder::new(9);
    let mut x = net.input("input", &[3, 8, 8]);
    x = net.conv("/stem", &x, [3, 6], 1, 1, 1);
    x = net.conv("/a", &x, [6, 4], 1, 1, 1);
    let identity: Vec<f32> = (0..16).map(|at| if at % 5 == 0 { 1.0 } else { 0.0 }).collect();
    let identity = net.tensor("same", layerprune::graph::tensor::from_f32(&[4, 4, 1, 1], &identity));
    x = net.node("Conv", "/same/Conv", &[&x, &identity], vec![]);
    x = net.conv("/b", &x, [4, 7], 1, 1, 1);
    net.output(&x);
    let model = net.build();
    for removed in [&["a", "same"][..], &["same", "a"]] {
        let cut = without(&model, removed);
        assert_eq!(cut.graph.node_count(), 2);
        assert_close(&run(&cut, 8, 10), &run(&model, 8, 10));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn cutting_channels_of_a_random_net_equals_masking(seed: u64) {
        let (model, shape) = any_net(seed);
        check_channels(&model, &shape, seed);
    }

    #[test]
    fn cutting_channels_of_a_random_net_on_signals_equals_masking(seed: u64) {
        let (model, shape) = any_line(seed);
        check_channels(&model, &shape, seed);
    }

    #[test]
    fn cutting_channels_of_known_nets_equals_masking(seed: u64) {
        let removed = check_channels(&resnet(seed, [3, 12, 12], 1, &[4, 8], 2, 4), &[2, 3, 12, 12], seed)
            + check_channels(&bottleneck_net(seed, 8, 4, 2), &[2, 3, 8, 8], seed)
            + check_channels(&mobilenet_v2(seed, 12, &[(8, 1), (12, 2), (12, 1)]), &[2, 3, 12, 12], seed)
            + check_channels(&mobilenet_v1(seed, 8, &[(8, 1), (16, 2)]), &[2, 3, 8, 8], seed)
            + check_channels(&vgg(seed, 8, &[6, 6, 0, 8], 3), &[2, 3, 8, 8], seed);
        prop_assert!(removed > 0, "nothing was removed: the test would pass whatever surgery does");
    }
}

#[test]
fn plans_apply_together_as_one_after_the_other() {
    let model = resnet(5, [3, 12, 12], 1, &[4, 8], 3, 4);
    let units = Units::find(&model, &Default::default()).unwrap();
    let both = plan::named(&units, &["layer1.0".to_owned(), "layer2.1".to_owned()], &any_way()).unwrap();
    let together = surgery::apply(&model, &units, &both).unwrap();
    let mut one_by_one = model;
    for name in ["layer1.0", "layer2.1"] {
        let units = Units::find(&one_by_one, &Default::default()).unwrap();
        let plan = plan::named(&units, &[name.to_owned()], &any_way()).unwrap();
        one_by_one = surgery::apply(&one_by_one, &units, &plan).unwrap();
    }
    assert_eq!(together.to_bytes(), one_by_one.to_bytes());
}

#[test]
fn the_empty_plan_changes_nothing() {
    let model = mobilenet_v2(1, 12, &[(8, 1), (12, 2)]);
    let units = Units::find(&model, &Default::default()).unwrap();
    let plan = plan::named(&units, &[], &any_way()).unwrap();
    assert_eq!(surgery::apply(&model, &units, &plan).unwrap(), model);
}

#[test]
fn a_plan_for_another_model_is_refused() {
    let (model, other) = (resnet(1, [3, 8, 8], 1, &[4], 2, 3), resnet(2, [3, 8, 8], 1, &[4], 2, 3));
    let units = Units::find(&model, &Default::default()).unwrap();
    let plan = plan::named(&Units::find(&other, &Default::default()).unwrap(), &["layer1.0".to_owned()], &any_way());
    let error = surgery::apply(&model, &units, &plan.unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("the plan was made for another model (digest "), "{error}");
}

#[test]
fn dropping_the_branch_of_a_down_sampling_block_keeps_its_projection() {
    let model = resnet(3, [3, 12, 12], 1, &[4, 8], 2, 4);
    let units = Units::find(&model, &Default::default()).unwrap();
    let unit = units.named("layer2.0").unwrap();
    assert_eq!((unit.kind, unit.removals.len(), unit.removals[0].way), (Kind::Block, 1, Way::DropBranch));
    let plan = plan::named(&units, &["layer2.0".to_owned()], &any_way()).unwrap();
    let cut = surgery::apply(&model, &units, &plan).unwrap();
    let names: Vec<&str> = cut.graph.nodes().map(|(_, node)| node.name()).filter(|n| n.contains("layer2.0")).collect();
    assert_eq!(
        names,
        [
            "/layer2/layer2.0/downsample/downsample.0/Conv",
            "/layer2/layer2.0/downsample/downsample.1/BatchNormalization",
            "/layer2/layer2.0/relu2"
        ]
    );
}

/// A linear stem, a layer that rectifies, and a block behind it whose entry is rectified by that layer alone.
#[test]
fn a_relu_stays_where_another_removal_takes_what_rectified_its_entry() {
    let mut net = Builder::new(7);
    let x = net.input("input", &[3, 8, 8]);
    let mut x = net.conv("/stem", &x, [3, 4], 3, 1, 1);
    x = net.batch_norm("/stem.bn", &x, 4);
    let mut mid = net.conv("/mid", &x, [4, 4], 3, 1, 1);
    mid = net.node("Relu", "/mid/Relu", &[&mid], vec![]);
    let branch = net.conv("/block/conv", &mid, [4, 4], 3, 1, 1);
    let sum = net.node("Add", "/block/Add", &[&branch, &mid], vec![]);
    let relu = net.node("Relu", "/block/Relu", &[&sum], vec![]);
    let out = net.conv("/head", &relu, [4, 2], 1, 1, 1);
    net.output(&out);
    let model = net.build();
    let units = Units::find(&model, &Default::default()).unwrap();
    let cut_ops = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let plan = plan::named(&units, &names, &any_way()).unwrap();
        let cut = surgery::apply(&model, &units, &plan).unwrap();
        cut.graph.nodes().map(|(_, node)| node.op_type().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(cut_ops(&["block"]), ["Conv", "BatchNormalization", "Conv", "Relu", "Conv"]);
    assert_eq!(cut_ops(&["mid", "block"]), ["Conv", "BatchNormalization", "Relu", "Conv"]);
}

#[test]
fn the_predicted_cost_is_right_where_blocks_share_a_weight() {
    let mut net = Builder::new(3);
    let mut x = net.input("input", &[4, 8, 8]);
    let shared = net.random("shared", &[4, 4, 3, 3], 0.3);
    for block in 0..3 {
        let pads = vec![layerprune_testing::ints("pads", &[1; 4])];
        let y = net.node("Conv", &format!("/b{block}/Conv"), &[&x, &shared], pads);
        x = net.node("Add", &format!("/b{block}/Add"), &[&y, &x], vec![]);
    }
    let out = net.conv("/head", &x, [4, 2], 1, 1, 1);
    net.output(&out);
    let model = net.build();
    let units = Units::find(&model, &Default::default()).unwrap();
    for count in 0..=3 {
        let names: Vec<String> = (0..count).map(|block| format!("b{block}")).collect();
        let plan = plan::named(&units, &names, &any_way()).unwrap();
        let cut = surgery::apply(&model, &units, &plan).unwrap();
        assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after);
        assert_eq!(plan.after.parameters, if count == 3 { 8 } else { 152 });
    }
}
