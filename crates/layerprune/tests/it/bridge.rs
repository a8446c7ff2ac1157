//! Bridges: where they can stand, what they cost, that they are fitted and folded without a change, and why not.

use std::collections::BTreeSet;

use layerprune::analysis::{Units, Way};
use layerprune::batch::Maps;
use layerprune::fit::FitError;
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::pipeline::{BridgeFit, Observe, Part, PortError, Visit, fit_bridges};
use layerprune::plan::{self, Constraints, Plan, PlannedRemoval};
use layerprune::stats::SplitMix;
use layerprune::surgery::{self, Bridged, Folded};
use layerprune_infer::{Session, SessionOptions};
use layerprune_testing::{Builder, bottleneck_net, int, ints, mobilenet_v1, mobilenet_v2, resnet, units, vgg};
use proptest::prelude::*;

pub(crate) fn by(way: Way) -> Constraints {
    Constraints { ways: BTreeSet::from([way]), ..Constraints::default() }
}

pub(crate) fn session(model: &Model) -> Session {
    let written = Model::from_bytes(&model.to_bytes()).unwrap();
    Session::load(&written, &SessionOptions { threads: 1, ..Default::default() }).unwrap()
}

/// Random images, in batches of two.
pub(crate) struct Images {
    shape: [usize; 3],
    fitted: usize,
    held_out: usize,
}

impl Images {
    pub(crate) fn new(shape: [usize; 3]) -> Self {
        Self { shape, fitted: 12, held_out: 4 }
    }

    fn batches(&self) -> impl Iterator<Item = (Part, Vec<f32>)> {
        let mut random = SplitMix::new(1);
        let length = 2 * self.shape.iter().product::<usize>();
        let parts = std::iter::repeat_n(Part::Fitted, self.fitted / 2)
            .chain(std::iter::repeat_n(Part::HeldOut, self.held_out / 2));
        parts.map(move |part| (part, (0..length).map(|_| random.normal() as f32).collect()))
    }
}

impl Observe for Images {
    fn pairs(&mut self, first: &Model, second: &Model, visit: &mut Visit<'_>) -> Result<(), PortError> {
        let (first, second) = (session(first), session(second));
        let [channels, height, width] = self.shape;
        for (part, images) in self.batches() {
            let run = |session: &Session| session.run(&images, [2, channels, height, width]);
            let (a, b) = (run(&first)?, run(&second)?);
            visit(part, a.output(0).maps(), b.output(0).maps())?;
        }
        Ok(())
    }
}

pub(crate) fn run(model: &Model, shape: [usize; 3]) -> Vec<f32> {
    let session = session(model);
    let mut random = SplitMix::new(2);
    let images: Vec<f32> = (0..2 * shape.iter().product::<usize>()).map(|_| random.normal() as f32).collect();
    session.run(&images, [2, shape[0], shape[1], shape[2]]).unwrap().output(0).data.clone()
}

pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    assert!(scale > 0.0, "the reference gives nothing but zeros");
    a.iter().zip(b).fold(0.0_f32, |largest, (x, y)| largest.max((x - y).abs())) / scale
}

struct Recovered {
    cut: Model,
    model: Model,
    bridges: Vec<Bridged>,
    fits: Vec<BridgeFit>,
}

fn recover(model: &Model, plan: &Plan, shape: [usize; 3], penalty: f64) -> Recovered {
    let (cut, bridges) = surgery::apply_with_bridges(model, &units(model), plan).unwrap();
    let mut recovered = cut.clone();
    let mut seen = 0;
    let mut port = Images::new(shape);
    let fits = fit_bridges(model, &mut recovered, &bridges, penalty, &mut port, &mut |_| seen += 1).unwrap();
    assert_eq!((fits.len(), seen), (bridges.len(), bridges.len()));
    Recovered { cut, model: recovered, bridges, fits }
}

fn bridged(model: &Model, names: &[&str], way: Way, shape: [usize; 3]) -> Recovered {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let plan = plan::named(&units(model), &names, &by(way)).unwrap();
    recover(model, &plan, shape, 1e-9)
}

/// A residual block whose branch is one linear 1x1 convolution and a batch norm, between a stem and a head.
fn linear_block(stride: usize, filters: usize) -> Model {
    let mut net = Builder::new(11);
    let x = net.input("input", &[3, 9, 9]);
    let x = net.conv("/stem", &x, [3, 4], 3, 1, 1);
    let x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    let y = net.conv("/block/conv", &x, [4, filters], 1, stride, 1);
    let y = net.batch_norm("/block/bn", &y, filters);
    let shortcut = if stride == 1 && filters == 4 {
        x
    } else {
        let pooled = net.conv("/block/shortcut/conv", &x, [4, filters], 1, stride, 2);
        net.node("Identity", "/block/shortcut/Identity", &[&pooled], vec![])
    };
    let z = net.conv("/block/conv2", &y, [filters, filters], 1, 1, 1);
    let sum = net.node("Add", "/block/Add", &[&z, &shortcut], vec![]);
    let x = net.node("Relu", "/block/Relu", &[&sum], vec![]);
    let out = net.conv("/head", &x, [filters, 5], 3, 1, 1);
    net.output(&out);
    net.build()
}

#[test]
fn a_region_that_is_a_linear_map_is_bridged_exactly() {
    for (stride, filters) in [(1, 4), (1, 6), (2, 4), (3, 8)] {
        let model = linear_block(stride, filters);
        let done = bridged(&model, &["block"], Way::Bridge, [3, 9, 9]);
        let apart = distance(&run(&done.model, [3, 9, 9]), &run(&model, [3, 9, 9]));
        assert!(apart <= 1e-4, "stride {stride}, {filters} filters: {apart}");
        assert!(distance(&run(&done.cut, [3, 9, 9]), &run(&model, [3, 9, 9])) > 0.05);
        let [fit] = done.fits.as_slice() else { panic!("one bridge") };
        assert!(fit.r2.unwrap() > 0.999_999 && fit.held_out_r2.unwrap() > 0.999_999, "{fit:?}");
        let ops: Vec<&str> = done.model.graph.nodes().map(|(_, node)| node.op_type()).collect();
        assert_eq!(ops, ["Conv", "Relu", "Conv", "Relu", "Conv"]);
        let node = done.model.graph.node(done.bridges[0].node);
        assert_eq!(node.name(), "/block/bridge/Conv");
        assert_eq!(node.attribute("strides").unwrap().ints, [stride as i64; 2]);
    }
}

#[test]
fn a_region_that_scales_and_shifts_is_replaced_exactly() {
    let mut net = Builder::new(5);
    let x = net.input("input", &[3, 6, 6]);
    let x = net.conv("/stem", &x, [3, 4], 3, 1, 1);
    let y = net.conv("/layer/conv", &x, [4, 4], 1, 1, 4);
    let y = net.batch_norm("/layer/conv.bn", &y, 4);
    let x = net.node("Relu", "/layer/conv.relu/Relu", &[&y], vec![]);
    let out = net.conv("/head", &x, [4, 2], 3, 1, 1);
    net.output(&out);
    let model = net.build();
    let done = bridged(&model, &["layer.conv"], Way::ScaleShift, [3, 6, 6]);
    assert!(distance(&run(&done.model, [3, 6, 6]), &run(&model, [3, 6, 6])) <= 1e-4);
    assert_eq!((done.fits[0].cost.parameters, done.fits[0].cost.macs), (8, Some(4 * 36)));
    assert_eq!(done.model.graph.node(done.bridges[0].node).attribute("group").unwrap().i, Some(4));
}

#[test]
fn a_strong_penalty_makes_a_bypass_of_a_bridge() {
    let model = resnet(3, [3, 12, 12], 1, &[4, 8], 3, 4);
    let found = units(&model);
    let names = ["layer1.1".to_owned(), "layer2.2".to_owned()];
    let bypass = plan::named(&found, &names, &Constraints::bypass_only()).unwrap();
    let bypassed = run(&surgery::apply(&model, &found, &bypass).unwrap(), [3, 12, 12]);
    for way in [Way::Bridge, Way::ScaleShift] {
        let plan = plan::named(&found, &names, &by(way)).unwrap();
        let unfitted = surgery::apply(&model, &found, &plan).unwrap();
        assert!(distance(&run(&unfitted, [3, 12, 12]), &bypassed) <= 1e-5);
        let free = recover(&model, &plan, [3, 12, 12], 1e-3);
        let held = recover(&model, &plan, [3, 12, 12], 1e12);
        let whole = run(&model, [3, 12, 12]);
        assert!(distance(&run(&free.model, [3, 12, 12]), &whole) < distance(&bypassed, &whole));
        // The shift is not penalised.
        for fit in held.fits {
            assert!(fit.r2.unwrap() < free.fits.iter().find(|free| free.unit == fit.unit).unwrap().r2.unwrap());
        }
    }
}

#[test]
fn a_block_inside_a_bridged_stage_costs_nothing_of_its_own() {
    let model = resnet(3, [3, 12, 12], 1, &[4, 8], 3, 4);
    let found = units(&model);
    let nested = found.nested.iter().find(|unit| unit.name == "layer2").unwrap();
    assert!(nested.bridge.is_ok());
    for names in [&["layer2"][..], &["layer2", "layer2.1"], &["layer2.1", "layer2"]] {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let plan = plan::named(&found, &names, &by(Way::Bridge)).unwrap();
        assert_eq!(plan.removed.len(), 1);
        assert_eq!(units(&surgery::apply(&model, &found, &plan).unwrap()).costs.total(), plan.after);
    }
    // A plan from a file may name both, by ways of their own.
    for (outer, inner) in [(Way::Bridge, Way::Bypass), (Way::Bridge, Way::Bridge), (Way::Bridge, Way::ScaleShift)] {
        let removed =
            [("layer2", outer), ("layer2.1", inner)].map(|(unit, way)| PlannedRemoval { unit: unit.to_owned(), way });
        let plan = plan::of(&found, None, "by hand".to_owned(), removed.to_vec());
        let (cut, bridges) = surgery::apply_with_bridges(&model, &found, &plan).unwrap();
        assert_eq!(units(&cut).costs.total(), plan.after, "{inner:?}");
        assert_eq!(bridges.len(), 1, "{inner:?}");
    }
}

/// A random selection of what can be bridged, a random way for each.
fn random_plan(units: &Units, seed: u64) -> Plan {
    let mut random = SplitMix::new(seed);
    let mut removed = Vec::new();
    for unit in &units.units {
        let ways = [Way::Bypass, Way::DropBranch, Way::Bridge, Way::ScaleShift];
        let ways: Vec<Way> = ways.into_iter().filter(|&way| unit.removal_by(way).is_some()).collect();
        if random.below(3) > 0 && !ways.is_empty() {
            removed.push(PlannedRemoval { unit: unit.name.clone(), way: ways[random.below(ways.len())] });
        }
    }
    plan::of(units, None, "at random".to_owned(), removed)
}

/// The predicted cost is the counted one, and folding leaves what the fitted model gives.
fn check(model: &Model, size: usize, seed: u64) {
    let found = units(model);
    let plan = random_plan(&found, seed);
    let done = recover(model, &plan, [3, size, size], 1e-2);
    assert_eq!(units(&done.model).costs.total(), plan.after, "predicted cost is counted cost");
    assert!(units(&done.model).shapes.barriers().is_empty());
    let (folded, gone) = surgery::fold(&done.model, &found, &done.bridges).unwrap();
    let apart = distance(&run(&folded, [3, size, size]), &run(&done.model, [3, size, size]));
    assert!(apart <= 1e-4, "{gone:?}: {apart}");
    assert_eq!(folded.graph.node_count(), done.model.graph.node_count() - gone.len());
    assert!(units(&folded).costs.total().macs <= plan.after.macs);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn bridges_cost_what_is_predicted_and_fold_without_a_change(seed: u64) {
        check(&resnet(seed, [3, 12, 12], 1, &[4, 8], 3, 4), 12, seed);
        check(&bottleneck_net(seed, 8, 4, 3), 8, seed);
        check(&mobilenet_v2(seed, 12, &[(8, 1), (12, 2), (12, 1), (16, 1), (16, 1)]), 12, seed);
        check(&mobilenet_v1(seed, 8, &[(8, 1), (16, 2), (16, 1)]), 8, seed);
        check(&vgg(seed, 8, &[6, 6, 0, 8, 8, 8], 3), 8, seed);
    }
}

/// input → stem → `layer` (linear, to be bridged) → head with this kernel and padding; `edit` adds what is to be different.
fn between(kernel: usize, pad: i64, edit: impl Fn(&mut Builder, &str) -> String) -> Model {
    let mut net = Builder::new(9);
    let x = net.input("input", &[3, 8, 8]);
    let x = net.conv("/stem", &x, [3, 4], 3, 1, 1);
    let x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    let x = net.conv("/layer", &x, [4, 4], 3, 1, 1);
    let x = net.batch_norm("/layer.bn", &x, 4);
    let x = edit(&mut net, &x);
    let weight = net.random("head.weight", &[5, 4, kernel, kernel], 0.3);
    let window = vec![ints("kernel_shape", &[kernel as i64; 2]), ints("pads", &[pad; 4])];
    let out = net.node("Conv", "/head/Conv", &[&x, &weight], window);
    net.output(&out);
    net.build()
}

fn fold(model: &Model, way: Way) -> Vec<Folded> {
    let done = bridged(model, &["layer"], way, [3, 8, 8]);
    let (folded, gone) = surgery::fold(&done.model, &units(model), &done.bridges).unwrap();
    assert!(distance(&run(&folded, [3, 8, 8]), &run(&done.model, [3, 8, 8])) <= 1e-5);
    gone
}

#[test]
fn a_bridge_folds_into_a_convolution_behind_it_that_has_no_padding() {
    let same = |_: &mut Builder, x: &str| x.to_owned();
    let head = vec![Folded { unit: "layer".to_owned(), into: "/head/Conv".to_owned() }];
    for way in [Way::Bridge, Way::ScaleShift] {
        assert_eq!(fold(&between(1, 0, same), way), head);
        assert_eq!(fold(&between(3, 0, same), way), head);
        assert_eq!(fold(&between(3, 1, same), way), [], "padding stands for zeros behind the bridge");
        let relu = |net: &mut Builder, x: &str| net.node("Relu", "/layer.relu/Relu", &[x], vec![]);
        assert_eq!(fold(&between(1, 0, relu), way), [], "an activation lies between");
        let twice = |net: &mut Builder, x: &str| {
            let other = net.node("Sigmoid", "/other/Sigmoid", &[x], vec![]);
            net.node("Mul", "/other/Mul", &[x, &other], vec![])
        };
        assert_eq!(fold(&between(1, 0, twice), way), [], "something else reads it");
    }
}

#[test]
fn a_bridge_folds_into_what_gives_its_entry() {
    let build = |norm: bool, relu: bool, tap: bool| {
        let mut net = Builder::new(9);
        let x = net.input("input", &[3, 8, 8]);
        let mut x = net.conv("/stem", &x, [3, 4], 3, 1, 1);
        if norm {
            x = net.batch_norm("/stem.bn", &x, 4);
        }
        if relu {
            x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
        }
        let y = net.conv("/layer", &x, [4, 4], 3, 1, 1);
        let y = net.node("Sigmoid", "/layer.act/Sigmoid", &[&y], vec![]);
        let out = net.conv("/head", &y, [4, 2], 3, 1, 1);
        net.output(&out);
        if tap {
            net.output(&x);
        }
        net.build()
    };
    let into = |node: &str| vec![Folded { unit: "layer".to_owned(), into: node.to_owned() }];
    assert_eq!(fold(&build(false, false, false), Way::Bridge), into("/stem/Conv"));
    assert_eq!(fold(&build(false, false, false), Way::ScaleShift), into("/stem/Conv"));
    assert_eq!(fold(&build(true, false, false), Way::ScaleShift), into("/stem.bn/BatchNormalization"));
    assert_eq!(fold(&build(true, false, false), Way::Bridge), [], "a batch norm holds no matrix");
    for way in [Way::Bridge, Way::ScaleShift] {
        assert_eq!(fold(&build(false, true, false), way), [], "an activation lies between");
        assert_eq!(fold(&build(false, false, true), way), [], "the entry is a graph output");
    }
}

#[test]
fn a_weight_that_another_node_reads_stays_when_a_bridge_is_folded() {
    let mut net = Builder::new(9);
    let x = net.input("input", &[4, 8, 8]);
    let shared = net.random("shared", &[4, 4, 1, 1], 0.5);
    let x = net.node("Conv", "/first/Conv", &[&x, &shared], vec![]);
    let x = net.node("Relu", "/first/Relu", &[&x], vec![]);
    let x = net.conv("/layer", &x, [4, 4], 3, 1, 1);
    let out = net.node("Conv", "/head/Conv", &[&x, &shared], vec![]);
    net.output(&out);
    let model = net.build();
    let done = bridged(&model, &["layer"], Way::Bridge, [4, 8, 8]);
    let (folded, gone) = surgery::fold(&done.model, &units(&model), &done.bridges).unwrap();
    assert_eq!(gone.len(), 1);
    assert!(distance(&run(&folded, [4, 8, 8]), &run(&done.model, [4, 8, 8])) <= 1e-5);
    let stored = |model: &Model| {
        let value = model.graph.value_named("shared").unwrap();
        tensor::to_f32(model.graph.initializer(value).unwrap()).unwrap().into_owned()
    };
    assert_eq!(stored(&folded), stored(&model));
}

#[test]
fn the_stem_is_bridged_from_the_images_themselves() {
    let model = resnet(3, [3, 8, 8], 1, &[4], 1, 4);
    let done = bridged(&model, &["conv1"], Way::Bridge, [3, 8, 8]);
    assert!(done.fits[0].r2.unwrap() > 0.0);
    assert!(distance(&run(&done.model, [3, 8, 8]), &run(&model, [3, 8, 8])) < 1.0);
}

#[test]
fn bridged_units_are_found_again_by_their_names() {
    let model = resnet(3, [3, 12, 12], 1, &[4, 8], 2, 4);
    let done = bridged(&model, &["layer1.1", "layer2.0"], Way::Bridge, [3, 12, 12]);
    let names: Vec<String> = units(&done.model).units.into_iter().map(|unit| unit.name).collect();
    assert_eq!(names, ["conv1", "layer1.0", "layer1.1.bridge", "layer2.0.bridge", "layer2.1", "fc"]);
    let again = bridged(&done.model, &["layer1.1.bridge"], Way::Bridge, [3, 12, 12]);
    assert!(distance(&run(&again.model, [3, 12, 12]), &run(&done.model, [3, 12, 12])) < 1e-3);
}

#[test]
fn each_unit_that_cannot_be_bridged_says_why() {
    let reason = |model: &Model, unit: &str, way| units(model).named(unit).unwrap().no_bridge(way);
    let net = resnet(3, [3, 12, 12], 1, &[4, 8], 2, 4);
    assert_eq!(reason(&net, "layer1.0", Way::Bridge), None);
    assert_eq!(reason(&net, "layer2.0", Way::Bridge), None);
    assert_eq!(
        reason(&net, "layer2.0", Way::ScaleShift).unwrap(),
        "a scale and shift of each channel keeps their number, and it turns 4 into 8"
    );
    assert_eq!(reason(&net, "fc", Way::Bridge).unwrap(), "its exit `/fc/Gemm_output_0` is a graph output");
    let refused = plan::named(&units(&net), &["fc".to_owned()], &by(Way::Bridge)).unwrap_err();
    assert_eq!(refused.to_string(), "`fc` cannot be removed: its exit `/fc/Gemm_output_0` is a graph output");

    let layer = |pads: i64, upsample: bool| {
        let mut net = Builder::new(2);
        let x = net.input("input", &[3, 8, 8]);
        let weight = net.random("weight", &[4, 3, 3, 3], 0.3);
        let window = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[pads; 4])];
        let x = net.node("Conv", "/layer/Conv", &[&x, &weight], window);
        let x = if upsample { net.node("Flatten", "/Flatten", &[&x], vec![int("axis", 1)]) } else { x };
        let x = net.node("Relu", "/last/Relu", &[&x], vec![]);
        net.output(&x);
        net.build()
    };
    assert_eq!(
        reason(&layer(0, true), "layer", Way::Bridge).unwrap(),
        "no stride of a 1x1 convolution turns N×3×8×8 into N×4×6×6"
    );
    assert_eq!(
        reason(&layer(2, true), "layer", Way::Bridge).unwrap(),
        "no stride of a 1x1 convolution turns N×3×8×8 into N×4×10×10"
    );
    assert_eq!(reason(&layer(1, false), "layer", Way::Bridge), None, "the activation stays and is the output");

    let mut net = Builder::new(2);
    let x = net.input("input", &[6]);
    let x = net.gemm("/fc1", &x, 6, 6);
    let x = net.node("Relu", "/fc1/Relu", &[&x], vec![]);
    let x = net.gemm("/fc2", &x, 6, 2);
    net.output(&x);
    assert_eq!(
        reason(&net.build(), "fc1", Way::Bridge).unwrap(),
        "a bridge is a convolution over maps N×C×H×W of known sizes, and it turns N×6 into N×6"
    );
}

#[test]
fn a_layer_with_a_second_input_is_not_bridged() {
    let mut net = Builder::new(2);
    let x = net.input("input", &[4, 6, 6]);
    let x = net.conv("/stem", &x, [4, 4], 3, 1, 1);
    let x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    let mean = net.node("GlobalAveragePool", "/pool", &[&x], vec![]);
    let shape = net.tensor("shape", tensor::from_i64(&[1], &[4]));
    let bias = net.node("Reshape", "/Reshape", &[&mean, &shape], vec![]);
    let weight = net.random("weight", &[4, 4, 1, 1], 0.3);
    let x = net.node("Conv", "/layer/Conv", &[&x, &weight, &bias], vec![]);
    let out = net.conv("/head", &x, [4, 2], 1, 1, 1);
    net.output(&out);
    assert_eq!(
        units(&net.build()).named("layer").unwrap().no_bridge(Way::Bridge).unwrap(),
        "it also reads `/Reshape_output_0`, which depends on the model's input"
    );
}

#[test]
fn a_bridge_beyond_reason_is_refused() {
    let mut net = Builder::new(2);
    let channels = 1 << 14;
    let x = net.input("input", &[channels, 1, 1]);
    let x = net.conv("/layer", &x, [channels, channels], 1, 1, channels);
    let out = net.node("Relu", "/layer/Relu", &[&x], vec![]);
    net.output(&out);
    assert_eq!(
        units(&net.build()).named("layer").unwrap().no_bridge(Way::ScaleShift).unwrap(),
        "a bridge of 16384 channels into 16384 is beyond what is fitted"
    );
}

#[test]
fn a_pass_that_fails_names_the_unit() {
    struct Broken;
    impl Observe for Broken {
        fn pairs(&mut self, _: &Model, _: &Model, visit: &mut Visit<'_>) -> Result<(), PortError> {
            let maps = Maps { data: &[f32::NAN], shape: &[1, 4, 12, 12] };
            Ok(visit(Part::Fitted, maps, maps)?)
        }
    }
    let model = resnet(3, [3, 12, 12], 1, &[4], 2, 4);
    let found = units(&model);
    let plan = plan::named(&found, &["layer1.1".to_owned()], &by(Way::Bridge)).unwrap();
    let (mut cut, bridges) = surgery::apply_with_bridges(&model, &found, &plan).unwrap();
    let error = fit_bridges(&model, &mut cut, &bridges, 1e-3, &mut Broken, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "cannot fit the bridge in place of `layer1.1`");
    let cause = std::error::Error::source(&error).unwrap();
    assert!(matches!(cause.downcast_ref(), Some(FitError::Shape { .. })), "{cause}");
}
