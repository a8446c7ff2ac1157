//! Inserted scales: neutral at one, folded exactly, and read off as what can go.

use std::collections::BTreeSet;

use layerprune::analysis::{Kind, Way};
use layerprune::graph::{Graph, tensor};
use layerprune::onnx::Model;
use layerprune::plan::{self, Constraints};
use layerprune::proto::TensorProto;
use layerprune::proto::tensor_proto::DataType;
use layerprune::stats::SplitMix;
use layerprune::surgery::{self, ScaleOf, find_scales, fold_scales, insert_scales, scale_sites};
use layerprune_testing::{Builder, bottleneck_net, float, found, mobilenet_v2, resnet, units, vgg};

use crate::oracle::{assert_close, run};

const BOTH: [ScaleOf; 2] = [ScaleOf::Block, ScaleOf::Filters];

fn scaled(model: &Model, kinds: &[ScaleOf]) -> Model {
    kinds.iter().fold(model.clone(), |model, &of| {
        let units = units(&model);
        insert_scales(&model, &units, &scale_sites(&model, &units, of), 1.0).unwrap()
    })
}

/// Sets all numbers of the scales of one kind, place by place.
fn set(model: &mut Model, of: ScaleOf, mut number: impl FnMut(&str, usize) -> f32) {
    for scale in find_scales(&model.graph).into_iter().filter(|scale| scale.of == of) {
        let old = model.graph.initializer(scale.factor).unwrap().clone();
        let dims: Vec<usize> = old.dims.iter().map(|&size| size as usize).collect();
        let numbers: Vec<f32> = (0..scale.numbers.len()).map(|index| number(&scale.name, index)).collect();
        model.graph.set_initializer(scale.factor, tensor::from_f32(&dims, &numbers));
    }
}

fn multiplications(graph: &Graph) -> usize {
    graph.nodes().filter(|(_, node)| node.op_type() == "Mul").count()
}

fn nets() -> Vec<(Model, usize)> {
    vec![
        (resnet(1, [3, 16, 16], 1, &[8, 12], 3, 10), 16),
        (bottleneck_net(2, 8, 4, 3), 8),
        (mobilenet_v2(3, 16, &[(8, 1), (12, 2), (12, 1)]), 16),
        (vgg(4, 16, &[8, 0, 12, 12], 5), 16),
    ]
}

#[test]
fn scales_of_one_change_neither_outputs_nor_names() {
    for (model, size) in nets() {
        let scaled = scaled(&model, &BOTH);
        assert!(multiplications(&scaled.graph) >= 3);
        assert_close(&run(&scaled, size, 7), &run(&model, size, 7));
        let layers = |model: &Model| -> Vec<String> {
            let (_, channels) = found(model);
            channels.layers.into_iter().map(|layer| layer.name).collect()
        };
        let names = |model: &Model, kind: Option<Kind>| -> Vec<String> {
            let units = units(model).units.into_iter().filter(|unit| kind.is_none_or(|kind| unit.kind == kind));
            units.map(|unit| unit.name).collect()
        };
        assert_eq!(layers(&scaled), layers(&model));
        assert_eq!(names(&scaled, Some(Kind::Block)), names(&model, Some(Kind::Block)));
        let blocks_alone = self::scaled(&model, &[ScaleOf::Block]);
        assert_eq!(names(&blocks_alone, None), names(&model, None));
        let (back, folded) = fold_scales(&scaled, &Default::default()).unwrap();
        assert!(folded.iter().all(|folded| folded.into == Ok(Vec::new())), "{folded:?}");
        assert_eq!(back.to_bytes(), model.to_bytes(), "ones leave nothing behind");
    }
}

#[test]
fn folding_any_scales_keeps_the_outputs() {
    for (model, size) in nets() {
        let mut random = SplitMix::new(5);
        let mut scaled = scaled(&model, &BOTH);
        set(&mut scaled, ScaleOf::Block, |_, _| random.normal() as f32);
        set(&mut scaled, ScaleOf::Filters, |_, index| if index % 3 == 0 { 0.0 } else { 1.0 });
        let (folded, what) = fold_scales(&scaled, &Default::default()).unwrap();
        assert!(what.iter().all(|folded| folded.into.is_ok()), "{what:?}");
        assert_eq!(multiplications(&folded.graph), 0);
        assert_close(&run(&folded, size, 7), &run(&scaled, size, 7));
    }
    let (model, size) = (resnet(1, [3, 16, 16], 1, &[8, 12], 3, 10), 16);
    let mut scaled = scaled(&model, &[ScaleOf::Filters]);
    let mut random = SplitMix::new(6);
    set(&mut scaled, ScaleOf::Filters, |_, _| 2.0 * random.uniform() as f32);
    let (folded, what) = fold_scales(&scaled, &Default::default()).unwrap();
    assert!(what.iter().all(|folded| folded.into.is_ok()), "{what:?}");
    assert_close(&run(&folded, size, 7), &run(&scaled, size, 7));
}

#[test]
fn blocks_whose_scale_is_zero_go_and_leave_the_outputs() {
    let model = resnet(1, [3, 16, 16], 1, &[8, 12], 3, 10);
    let mut scaled = scaled(&model, &[ScaleOf::Block]);
    let zero = ["layer1.1", "layer2.0"];
    set(&mut scaled, ScaleOf::Block, |name, _| if zero.contains(&name) { 0.0 } else { 1.25 });
    let zeros = surgery::zero_scales(&scaled.graph);
    assert_eq!((&zeros.blocks[..], zeros.filters.len()), (&zero.map(str::to_owned)[..], 0));
    let constraints = Constraints { ways: BTreeSet::from([Way::Bypass, Way::DropBranch]), ..Constraints::default() };
    let before = run(&scaled, 16, 3);
    let (folded, _) = fold_scales(&scaled, &Default::default()).unwrap();
    for model in [scaled, folded] {
        let units = units(&model);
        let plan = plan::named(&units, &zeros.blocks, &constraints).unwrap();
        let cut = surgery::apply(&model, &units, &plan).unwrap();
        assert_close(&run(&cut, 16, 3), &before);
        assert_eq!(self::units(&cut).costs.total(), plan.after);
        assert!(plan.after.parameters < plan.before.parameters);
    }
}

#[test]
fn filters_whose_mask_is_zero_go_and_leave_the_outputs() {
    for (model, size) in nets() {
        let mut scaled = scaled(&model, &[ScaleOf::Filters]);
        set(&mut scaled, ScaleOf::Filters, |_, index| if index < 2 { 0.0 } else { 1.0 });
        let zeros = surgery::zero_scales(&scaled.graph);
        assert!(zeros.blocks.is_empty() && zeros.filters.values().all(|filters| filters == &[0, 1]));
        let before = run(&scaled, size, 3);
        let (folded, _) = fold_scales(&scaled, &Default::default()).unwrap();
        let (units, channels) = found(&folded);
        let planned = surgery::zero_channels(&channels, &zeros);
        assert!(!planned.is_empty() && planned.iter().all(|planned| planned.removed == [0, 1]), "{planned:?}");
        let plan = plan::of_channels(&folded.graph, &units, &channels, None, "zero masks".to_owned(), planned);
        let cut = surgery::apply(&folded, &units, &plan).unwrap();
        assert_close(&run(&cut, size, 3), &before);
        let dead = plan::dead_channels(&folded.graph, &units, &channels, &BTreeSet::new());
        let cut = surgery::apply(&folded, &units, &dead).unwrap();
        assert_close(&run(&cut, size, 3), &before);
        assert!(dead.after.parameters <= plan.after.parameters, "what is masked is dead");
    }
}

#[test]
fn what_cannot_be_folded_stays_and_says_why() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[3, 8, 8]);
    let x = net.conv("/first", &x, [3, 4], 3, 1, 1);
    let x = net.node("Sigmoid", "/first/Sigmoid", &[&x], vec![]);
    let x = net.conv("/second", &x, [4, 4], 3, 1, 1);
    let x = net.node("LeakyRelu", "/second/LeakyRelu", &[&x], vec![float("alpha", 0.1)]);
    let x = net.conv("/third", &x, [4, 4], 3, 1, 1);
    let x = net.node("Tanh", "/third/Tanh", &[&x], vec![]);
    let x = net.conv("/last", &x, [4, 2], 1, 1, 1);
    net.output(&x);
    let model = net.build();
    let mut scaled = scaled(&model, &[ScaleOf::Filters]);
    assert_eq!(multiplications(&scaled.graph), 3, "filters of an output cannot go");
    let fold = |model: &Model| {
        let (folded, what) = fold_scales(model, &Default::default()).unwrap();
        let scale = 1.0_f32;
        let pairs = run(&folded, 8, 2).into_iter().zip(run(model, 8, 2));
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-4 * scale, "{a} instead of {b}"));
        what.into_iter().map(|folded| folded.into.map_err(|reason| format!("{}: {reason}", folded.name))).collect()
    };
    set(&mut scaled, ScaleOf::Filters, |_, index| if index == 0 { 0.0 } else { 1.0 });
    let found: Vec<Result<Vec<String>, String>> = fold(&scaled);
    let into = |name: &str| Ok(vec![name.to_owned()]);
    let refused =
        |layer: &str, op: &str| Err(format!("{layer}: `/{layer}/{op}` ({op}) before it does not commute with it"));
    assert_eq!(found, [refused("first", "Sigmoid"), into("/second/Conv"), into("/third/Conv")]);
    set(&mut scaled, ScaleOf::Filters, |_, _| 0.5);
    assert_eq!(fold(&scaled), [refused("first", "Sigmoid"), into("/second/Conv"), refused("third", "Tanh")]);
    set(&mut scaled, ScaleOf::Filters, |_, _| -1.0);
    let found: Vec<Result<Vec<String>, String>> = fold(&scaled);
    assert_eq!(found[1], refused("second", "LeakyRelu"));
}

#[test]
fn a_scale_that_a_weight_cannot_hold_stays_and_the_others_go() {
    let model = resnet(1, [3, 16, 16], 1, &[8, 12], 2, 10);
    let mut scaled = scaled(&model, &[ScaleOf::Block]);
    for (_, node) in scaled.graph.clone().nodes() {
        for value in node.inputs().iter().flatten() {
            let Some(old) = scaled.graph.initializer(*value).cloned() else { continue };
            if let Ok(numbers) = tensor::to_f32(&old) {
                let dims: Vec<usize> = old.dims.iter().map(|&size| size as usize).collect();
                let half = TensorProto { data_type: Some(DataType::Float16 as i32), ..old.as_ref().clone() };
                let half = tensor::with_f32(&half, &dims, &numbers).unwrap();
                scaled.graph.set_initializer(*value, half);
            }
        }
    }
    for scale in find_scales(&scaled.graph) {
        let old = scaled.graph.initializer(scale.factor).unwrap().clone();
        let number = if scale.name == "layer1.1" { 60000.0 } else { 0.5 };
        scaled.graph.set_initializer(scale.factor, tensor::with_f32(&old, &[1, 1, 1, 1], &[number]).unwrap());
    }
    let weights = |model: &Model| multiplications(&model.graph);
    let (folded, what) = fold_scales(&scaled, &Default::default()).unwrap();
    assert_eq!((weights(&scaled), weights(&folded)), (4, 1));
    for folded in what {
        match folded.name.as_str() {
            "layer1.1" => assert!(folded.into.unwrap_err().contains("which its type cannot hold scaled")),
            _ => assert!(folded.into.is_ok(), "{folded:?}"),
        }
    }
}

#[test]
fn places_without_a_scale_say_why() {
    let model = resnet(1, [3, 16, 16], 1, &[8, 12], 2, 10);
    let sites = |model: &Model, of| scale_sites(model, &units(model), of);
    let all = sites(&model, ScaleOf::Block);
    assert_eq!(
        all.iter().map(|site| site.name.as_str()).collect::<Vec<_>>(),
        ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]
    );
    assert!(all.iter().all(|site| site.place.is_ok()));
    let again = sites(&scaled(&model, &[ScaleOf::Block]), ScaleOf::Block);
    assert!(again.iter().all(|site| site.place == Err("it has a scale already".to_owned())), "{again:?}");
    let last = sites(&model, ScaleOf::Filters).pop().unwrap();
    assert_eq!(last.name, "fc");
    assert!(last.place.unwrap_err().contains("output"), "the classifier's outputs stay");
    assert!(sites(&vgg(4, 16, &[8, 0, 12, 12], 5), ScaleOf::Block).is_empty());
}
