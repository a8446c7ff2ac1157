//! What can be removed from nets of each class, and the reasons for the rest.

use layerprune::analysis::{Kind, Units};
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune_testing::{Builder, bottleneck_net, densenet, int, mobilenet_v1, mobilenet_v2, resnet, vgg};

/// `name: what happens to it`, a line each.
fn verdicts(model: &Model) -> Vec<String> {
    let units = Units::find(model, &Default::default()).unwrap();
    let verdict = |unit: &layerprune::analysis::Unit| {
        let ways: Vec<String> = unit.removals.iter().map(|removal| format!("{:?}", removal.way)).collect();
        let reason = unit.reason.as_deref().map(|reason| format!("; {reason}")).unwrap_or_default();
        format!("{}: {}{reason}", unit.name, ways.join(" "))
    };
    units.units.iter().map(verdict).collect()
}

#[test]
fn a_residual_net_gives_its_blocks_and_the_down_sampling_one_only_its_branch() {
    assert_eq!(
        verdicts(&resnet(0, [3, 16, 16], 1, &[4, 8], 2, 3)),
        [
            "conv1: ; it is the stem: it changes channels: N×3×16×16 into N×4×16×16",
            "layer1.0: Bypass",
            "layer1.1: Bypass",
            "layer2.0: DropBranch; it changes channels and resolution: N×4×16×16 into N×8×8×8 \
             (shortcut: Conv + BatchNormalization)",
            "layer2.1: Bypass",
            "fc: ; its exit `/fc/Gemm_output_0` is a graph output",
        ]
    );
}

#[test]
fn a_bottleneck_is_scored_by_the_two_convolutions_whose_channels_end_in_it() {
    let model = bottleneck_net(0, 8, 4, 2);
    let units = Units::find(&model, &Default::default()).unwrap();
    let scored: Vec<String> = units.named("layer1.1").unwrap().scored.iter().map(|&id| model.graph.label(id)).collect();
    assert_eq!(scored, ["/layer1/layer1.1/conv1/Conv", "/layer1/layer1.1/conv2/Conv"]);
}

#[test]
fn a_chain_gives_the_layers_that_keep_their_shape() {
    assert_eq!(
        verdicts(&vgg(0, 8, &[6, 6, 0, 8, 8], 3)),
        [
            "features.0: ; it is the stem: it changes channels: N×3×8×8 into N×6×8×8",
            "features.1: Bypass",
            "features.3: ShrinkChain; it changes channels: N×6×4×4 into N×8×4×4",
            "features.4: Bypass",
            "fc: ; its exit `/fc/Gemm_output_0` is a graph output",
        ]
    );
}

#[test]
fn a_depthwise_separable_pair_is_one_layer() {
    let verdicts = verdicts(&mobilenet_v1(0, 8, &[(8, 1), (16, 2), (16, 1)]));
    assert_eq!(verdicts.len(), 5, "{verdicts:?}");
    assert_eq!(verdicts[1], "model.0.0: Bypass");
    assert_eq!(
        verdicts[2],
        "model.1.0: ; it changes channels and resolution: N×8×8×8 into N×16×4×4; the next layer, `/model/model.2/model.2.0/Conv`, \
         cannot take other channels: it has 16 conv groups"
    );
}

#[test]
fn inverted_residuals_with_a_shortcut_are_blocks_and_exact() {
    let units = Units::find(&mobilenet_v2(0, 12, &[(8, 1), (12, 2), (12, 1)]), &Default::default()).unwrap();
    let blocks: Vec<_> = units.units.iter().filter(|unit| unit.kind == Kind::Block).collect();
    assert_eq!(blocks.iter().map(|unit| unit.name.as_str()).collect::<Vec<_>>(), ["features.1", "features.3"]);
    assert!(blocks.iter().all(|unit| unit.removals[0].exact));
}

/// A block with squeeze-and-excitation, whose entry several nodes of the branch depend on twice.
#[test]
fn a_gate_inside_a_branch_goes_with_its_block() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[4, 8, 8]);
    let stem = net.conv("/stem", &x, [4, 4], 3, 1, 1);
    let stem = net.node("Relu", "/stem/Relu", &[&stem], vec![]);
    let y = net.conv("/block/conv1", &stem, [4, 4], 3, 1, 1);
    let squeezed = net.node("GlobalAveragePool", "/block/se/pool/GlobalAveragePool", &[&y], vec![]);
    let gate = net.conv("/block/se/conv", &squeezed, [4, 4], 1, 1, 1);
    let gate = net.node("Sigmoid", "/block/se/Sigmoid", &[&gate], vec![]);
    let gated = net.node("Mul", "/block/Mul", &[&y, &gate], vec![]);
    let sum = net.node("Add", "/block/Add", &[&gated, &stem], vec![]);
    let out = net.conv("/head", &sum, [4, 2], 1, 1, 1);
    net.output(&out);
    let verdicts = verdicts(&net.build());
    assert_eq!(verdicts[1], "block: Bypass");
}

#[test]
fn a_value_inside_a_branch_that_is_read_outside_keeps_the_block() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[4, 8, 8]);
    let y = net.conv("/block/conv1", &x, [4, 4], 3, 1, 1);
    let z = net.conv("/block/conv2", &y, [4, 4], 3, 1, 1);
    let sum = net.node("Add", "/block/Add", &[&z, &x], vec![]);
    let both = net.node("Mul", "/Mul", &[&sum, &y], vec![]);
    let out = net.conv("/head", &both, [4, 2], 1, 1, 1);
    net.output(&out);
    let verdicts = verdicts(&net.build());
    assert_eq!(verdicts[0], "block: ; `/block/conv1/Conv_output_0` inside it is also read outside, by `/Mul`");
}

#[test]
fn an_unknown_operator_in_a_branch_is_a_barrier_with_a_reason() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[4, 8, 8]);
    let y = net.conv("/block/conv1", &x, [4, 4], 3, 1, 1);
    let y = net.node("Frobnicate", "/block/Frobnicate", &[&y], vec![]);
    let sum = net.node("Add", "/block/Add", &[&y, &x], vec![]);
    let out = net.conv("/head", &sum, [4, 2], 1, 1, 1);
    net.output(&out);
    let model = net.build();
    assert_eq!(verdicts(&model)[0], "block: ; it holds `/block/Frobnicate`, which is a barrier");
    let barriers = Units::find(&model, &Default::default()).unwrap().rows(&model.graph).barriers;
    assert_eq!(barriers[0].reason, "operator `Frobnicate` is not known");
}

#[test]
fn a_sum_that_is_a_graph_output_keeps_its_block() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[4, 8, 8]);
    let y = net.conv("/block/conv1", &x, [4, 4], 3, 1, 1);
    let sum = net.node("Add", "/block/Add", &[&y, &x], vec![]);
    net.output(&sum);
    assert_eq!(verdicts(&net.build())[0], "block: ; its sum `/block/Add_output_0` is a graph output");
}

#[test]
fn open_map_sizes_keep_a_chain_layer_whose_shape_is_certain_anyway() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[4, 8, 8]);
    let y = net.conv("/a", &x, [4, 4], 3, 1, 1);
    let y = net.conv("/b", &y, [4, 4], 3, 1, 1);
    net.output(&y);
    let mut proto = net.build();
    let mut info = proto.graph.inputs()[0].info.clone();
    use layerprune::proto::{tensor_shape_proto::dimension::Value, type_proto};
    if let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_mut().and_then(|kind| kind.value.as_mut()) {
        for (axis, name) in [(2, "H"), (3, "W")] {
            tensor.shape.as_mut().unwrap().dim[axis].value = Some(Value::DimParam(name.to_owned()));
        }
    }
    let value = proto.graph.value_named("input").unwrap();
    proto.graph.redeclare_input(value, info);
    assert_eq!(verdicts(&proto)[0], "a: Bypass");
}

/// The folder of larger models that are not part of the project; a test that needs it says so when it is not there.
fn shared(test: &str) -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("LAYERPRUNE_SHARED").map(Into::into);
    if folder.is_none() {
        #[allow(clippy::print_stderr, reason = "a test that skips says so")]
        {
            eprintln!("skipped: {test} needs the models in the folder that LAYERPRUNE_SHARED names");
        }
    }
    folder
}

#[test]
fn resnet56_has_27_blocks_of_which_the_two_down_sampling_ones_cannot_be_bypassed() {
    let Some(folder) = shared("resnet56_has_27_blocks") else { return };
    for file in ["cifar10_resnet56_bn.onnx", "cifar10_resnet56_folded.onnx"] {
        let model = Model::read(folder.join("models").join(file)).unwrap();
        let units = Units::find(&model, &Default::default()).unwrap();
        let blocks: Vec<_> = units.units.iter().filter(|unit| unit.kind == Kind::Block).collect();
        assert_eq!(blocks.len(), 27);
        assert!(blocks.iter().all(|unit| unit.tapped));
        let stay: Vec<_> = blocks.iter().filter(|unit| unit.reason.is_some()).map(|unit| unit.name.as_str()).collect();
        assert_eq!(stay, ["layer2.0", "layer3.0"]);
        assert_eq!(units.costs.total().macs, Some(125_485_696));
    }
}

#[test]
fn a_block_or_layer_without_effect_goes_and_leaves_the_outputs_as_they_were() {
    use layerprune::criteria::{Scoring, WEIGHT_NORM};
    let Some(folder) = shared("a_block_or_layer_without_effect_goes") else { return };
    for (case, name) in [("c31", "n15_Add"), ("c32", "n3_Conv")] {
        let read = |kind: &str| Model::read(folder.join("cases").join(format!("{case}.{kind}.onnx"))).unwrap();
        let model = read("full");
        let units = Units::find(&model, &Default::default()).unwrap();
        let scores = Scoring::from(&WEIGHT_NORM).score(&model.graph, &units, &Default::default()).unwrap();
        let limits = layerprune::plan::Constraints::bypass_only();
        let plan = layerprune::plan::lowest(&units, &scores, &limits, 1).unwrap();
        assert_eq!(plan.removed[0].unit, name);
        let cut = layerprune::surgery::apply(&model, &units, &plan).unwrap();
        let wanted = Units::find(&read("want"), &Default::default()).unwrap().costs.total();
        assert_eq!(plan.after, wanted);
        assert_eq!(cut.graph.node_count(), read("want").graph.node_count());
    }
}

#[test]
fn a_layer_that_is_a_whole_side_of_a_sum_stays() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[4, 8, 8]);
    let stem = net.conv("/stem", &x, [4, 4], 3, 1, 1);
    let (f, g) = (net.conv("/f", &stem, [4, 4], 3, 1, 1), net.conv("/g", &stem, [4, 4], 3, 1, 1));
    let inner = net.node("Add", "/inner/Add", &[&stem, &f], vec![]);
    let outer = net.node("Add", "/outer/Add", &[&inner, &g], vec![]);
    let out = net.conv("/head", &outer, [4, 2], 1, 1, 1);
    net.output(&out);
    let verdicts = verdicts(&net.build());
    assert!(
        verdicts.contains(
            &"g: ; it is one whole side of the sum `/outer/Add`, which would count its entry instead".to_owned()
        ),
        "{verdicts:?}"
    );
}

#[test]
fn squeeze_and_excitation_is_neither_tapped_nor_scored() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[4, 8, 8]);
    let y = net.conv("/a", &x, [4, 4], 3, 1, 1);
    let squeezed = net.node("GlobalAveragePool", "/se/GlobalAveragePool", &[&y], vec![]);
    let gate = net.conv("/se/fc", &squeezed, [4, 4], 1, 1, 1);
    let gate = net.node("Sigmoid", "/se/Sigmoid", &[&gate], vec![]);
    let gated = net.node("Mul", "/Mul", &[&y, &gate], vec![]);
    let y = net.conv("/b", &gated, [4, 4], 3, 1, 1);
    let out = net.conv("/head", &y, [4, 2], 1, 1, 1);
    net.output(&out);
    let units = Units::find(&net.build(), &Default::default()).unwrap();
    let tapped: Vec<_> = units.units.iter().filter(|unit| unit.tapped).map(|unit| unit.name.as_str()).collect();
    assert_eq!(tapped, ["a", "b"]);
}

#[test]
fn a_batch_size_taken_from_the_input_leaves_the_layers_between_on_the_trunk() {
    let mut net = Builder::new(0).opset(15);
    let input = net.input("input", &[3, 8, 8]);
    let mut x = net.conv("/stem", &input, [3, 4], 3, 1, 1);
    x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    let y = net.conv("/layer1/layer1.0/conv", &x, [4, 4], 3, 1, 1);
    x = net.node("Add", "/layer1/layer1.0/Add", &[&x, &y], vec![]);
    x = net.node("GlobalAveragePool", "/avgpool/GlobalAveragePool", &[&x], vec![]);
    let batch = net.node("Shape", "/Shape", &[&input], vec![int("start", 0), int("end", 1)]);
    let channels = net.tensor("channels", tensor::from_i64(&[1], &[4]));
    let sizes = net.node("Concat", "/Concat", &[&batch, &channels], vec![int("axis", 0)]);
    x = net.node("Reshape", "/Reshape", &[&x, &sizes], vec![]);
    let scores = net.gemm("/fc", &x, 4, 3);
    net.output(&scores);
    let units = Units::find(&net.build(), &Default::default()).unwrap();
    let tapped: Vec<_> = units.units.iter().filter(|unit| unit.tapped).map(|unit| unit.name.as_str()).collect();
    assert_eq!(tapped, ["layer1.0"]);
}

/// `name: what happens to it` for the whole tree, a line each, two spaces deeper inside another.
fn tree(model: &Model) -> Vec<String> {
    fn lines(rows: &[layerprune::analysis::TreeRow], depth: usize, text: &mut Vec<String>) {
        for row in rows {
            let reason = row.unit.reason.as_deref().map(|reason| format!("; {reason}")).unwrap_or_default();
            let (exact, scored) = (if row.unit.exact { " exact" } else { "" }, if row.scored { "*" } else { "" });
            let (name, kind, ways) = (&row.unit.name, row.unit.kind, &row.unit.ways);
            text.push(format!("{:1$}{name}{scored} {kind:?}: {ways:?}{exact}{reason}", "", 2 * depth));
            lines(&row.children, depth + 1, text);
        }
    }
    let mut text = Vec::new();
    lines(&Units::find(model, &Default::default()).unwrap().tree(&model.graph).units, 0, &mut text);
    text
}

#[test]
fn the_tree_holds_layers_in_blocks_in_stages() {
    assert_eq!(
        tree(&resnet(0, [3, 16, 16], 1, &[4, 8], 3, 3)),
        [
            "conv1* Layer: []; it is the stem: it changes channels: N×3×16×16 into N×4×16×16",
            "layer1 Stage: [Bypass] exact",
            "  layer1.0* Block: [Bypass] exact",
            "    layer1.0.conv1 Layer: [Bypass]",
            "    layer1.0.conv2 Layer: [Bypass]",
            "  layer1.1* Block: [Bypass] exact",
            "    layer1.1.conv1 Layer: [Bypass]",
            "    layer1.1.conv2 Layer: [Bypass]",
            "  layer1.2* Block: [Bypass] exact",
            "    layer1.2.conv1 Layer: [Bypass]",
            "    layer1.2.conv2 Layer: [Bypass]",
            "layer2 Stage: []; it changes channels and resolution: N×4×16×16 into N×8×8×8",
            "  layer2.0* Block: [DropBranch] exact; it changes channels and resolution: N×4×16×16 into N×8×8×8 (shortcut: Conv + BatchNormalization)",
            "    layer2.0.conv1 Layer: [ShrinkChain]; it changes channels and resolution: N×4×16×16 into N×8×8×8",
            "    layer2.0.conv2 Layer: [Bypass]",
            "    layer2.0.downsample.0 Layer: []; it changes channels and resolution: N×4×16×16 into N×8×8×8; `/layer2/layer2.0/Add` behind it reads more than its output",
            "  layer2.1..layer2.2 Stage: [Bypass] exact",
            "    layer2.1* Block: [Bypass] exact",
            "      layer2.1.conv1 Layer: [Bypass]",
            "      layer2.1.conv2 Layer: [Bypass]",
            "    layer2.2* Block: [Bypass] exact",
            "      layer2.2.conv1 Layer: [Bypass]",
            "      layer2.2.conv2 Layer: [Bypass]",
            "fc* Layer: []; its exit `/fc/Gemm_output_0` is a graph output",
        ]
    );
}

#[test]
fn a_block_that_holds_blocks_is_above_them() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[3, 8, 8]);
    let start = net.conv("/stem", &x, [3, 4], 3, 1, 1);
    let mut y = net.conv("/outer/inner/conv", &start, [4, 4], 3, 1, 1);
    y = net.node("Add", "/outer/inner/Add", &[&y, &start], vec![]);
    y = net.conv("/outer/conv", &y, [4, 4], 3, 1, 1);
    let sum = net.node("Add", "/outer/Add", &[&y, &start], vec![]);
    let out = net.conv("/head", &sum, [4, 2], 1, 1, 1);
    net.output(&out);
    assert_eq!(
        tree(&net.build()),
        [
            "stem* Layer: []; it is the stem: it changes channels: N×3×8×8 into N×4×8×8",
            "outer Block: [Bypass] exact",
            "  outer.inner* Block: [Bypass] exact",
            "    outer.inner.conv Layer: []; it is one whole side of the sum `/outer/inner/Add`, which would count its entry instead",
            "  outer.conv* Layer: [Bypass]",
            "head* Layer: []; its exit `/head/Conv_output_0` is a graph output",
        ]
    );
}

#[test]
fn a_dense_layer_is_found_by_what_its_new_features_are_computed_from() {
    let model = densenet(0, 8, 4, 2);
    let verdicts = verdicts(&model);
    let dense: Vec<&String> = verdicts.iter().filter(|verdict| verdict.contains("DropFeatures")).collect();
    assert_eq!(
        dense,
        [
            "features.denseblock1.denselayer1: DropFeatures; it adds features: N×4×8×8 to N×8×8×8",
            "features.denseblock1.denselayer2: DropFeatures; it adds features: N×4×8×8 to N×12×8×8",
            "features.denseblock2.denselayer1: DropFeatures; it adds features: N×4×4×4 to N×8×4×4",
            "features.denseblock2.denselayer2: DropFeatures; it adds features: N×4×4×4 to N×12×4×4",
        ]
    );
    let units = Units::find(&model, &Default::default()).unwrap();
    let layer = units.named("features.denseblock1.denselayer2").unwrap();
    assert_eq!((layer.kind, layer.nodes.len()), (Kind::DenseLayer, 6));
    let goes = layer.removals[0].from;
    assert_eq!(model.graph.value_name(goes), "/features/denseblock1/denselayer2/conv2/Conv_output_0");
}

/// `x = Concat(x, f(x))`, layer by layer, as some write it.
#[test]
fn a_dense_layer_is_found_where_each_concat_reads_the_one_before() {
    let mut net = Builder::new(1);
    let mut x = net.input("input", &[4, 8, 8]);
    for (layer, channels) in [4, 7].into_iter().enumerate() {
        let y = net.conv(&format!("/dense{layer}/conv"), &x, [channels, 3], 3, 1, 1);
        x = net.node("Concat", &format!("/Concat{layer}"), &[&x, &y], vec![layerprune_testing::int("axis", 1)]);
    }
    let out = net.conv("/head", &x, [10, 2], 1, 1, 1);
    net.output(&out);
    let verdicts = verdicts(&net.build());
    assert_eq!(
        verdicts[..2],
        [
            "dense0.conv: DropFeatures; it adds features: N×3×8×8 to N×4×8×8",
            "dense1.conv: DropFeatures; it adds features: N×3×8×8 to N×7×8×8"
        ]
    );
}

#[test]
fn what_other_nodes_read_or_another_resolution_gives_is_no_dense_layer() {
    let kinds = |read: bool| {
        let mut net = Builder::new(1);
        let x = net.input("input", &[4, 8, 8]);
        let mut y = net.conv("/down", &x, [4, 4], 3, 2, 1);
        if read {
            y = net.conv("/same", &x, [4, 4], 3, 1, 1);
        } else {
            let scales = net.tensor("scales", layerprune::graph::tensor::from_f32(&[4], &[1.0, 1.0, 2.0, 2.0]));
            y = net.node("Resize", "/up", &[&y, "", &scales], vec![]);
        }
        let joined = net.node("Concat", "/Concat", &[&x, &y], vec![layerprune_testing::int("axis", 1)]);
        let mut out = net.conv("/head", &joined, [8, 4], 1, 1, 1);
        if read {
            out = net.node("Mul", "/Mul", &[&out, &y], vec![]);
        }
        net.output(&out);
        let units = Units::find(&net.build(), &Default::default()).unwrap();
        units.all().map(|unit| unit.kind).collect::<Vec<_>>()
    };
    for read in [true, false] {
        assert!(!kinds(read).contains(&Kind::DenseLayer));
    }
}

#[test]
fn a_chain_gives_its_runs_of_equal_layers() {
    assert_eq!(
        tree(&vgg(0, 8, &[6, 6, 6, 0, 8, 8, 8], 3)),
        [
            "features Stage: []; it begins with the stem: it changes channels and resolution: N×3×8×8 into N×8×4×4",
            "  features.0* Layer: []; it is the stem: it changes channels: N×3×8×8 into N×6×8×8",
            "  features.1..features.2 Stage: [Bypass]",
            "    features.1* Layer: [Bypass]",
            "    features.2* Layer: [Bypass]",
            "  features.4* Layer: [ShrinkChain]; it changes channels: N×6×4×4 into N×8×4×4",
            "  features.5..features.6 Stage: [Bypass]",
            "    features.5* Layer: [Bypass]",
            "    features.6* Layer: [Bypass]",
            "fc* Layer: []; its exit `/fc/Gemm_output_0` is a graph output",
        ]
    );
}

/// The verdict on layer `a`, from 4 to 8 channels, between a stem and what `behind` makes of it.
fn verdict_on_a(stride: usize, behind: impl FnOnce(&mut Builder, String) -> String) -> String {
    let mut net = Builder::new(1);
    let x = net.input("input", &[3, 9, 9]);
    let x = net.conv("/stem", &x, [3, 4], 3, 1, 1);
    let x = net.conv("/a", &x, [4, 8], 3, stride, 1);
    let out = behind(&mut net, x);
    net.output(&out);
    let verdicts = verdicts(&net.build());
    verdicts.into_iter().find(|verdict| verdict.starts_with("a: ")).unwrap()
}

#[test]
fn a_chain_layer_that_cannot_be_shrunk_away_says_why() {
    let changes = "a: ; it changes channels: N×4×9×9 into N×8×9×9; ";
    let because = |reason: &str| format!("{changes}{reason}");
    assert_eq!(
        verdict_on_a(1, |net, x| {
            let (b, c) = (net.conv("/b", &x, [8, 4], 1, 1, 1), net.conv("/c", &x, [8, 4], 1, 1, 1));
            net.node("Concat", "/Concat", &[&b, &c], vec![layerprune_testing::int("axis", 1)])
        }),
        because("2 nodes read `/a/Conv_output_0` behind it")
    );
    assert_eq!(
        verdict_on_a(1, |net, x| {
            let slope = net.random("slope", &[8, 1, 1], 1.0);
            let x = net.node("Neg", "/Neg", &[&x], vec![]);
            let x = net.node("PRelu", "/prelu", &[&x, &slope], vec![]);
            net.conv("/b", &x, [8, 4], 3, 1, 1)
        }),
        because("`/prelu` behind it, a PRelu, does not treat all channels alike")
    );
    assert_eq!(
        verdict_on_a(1, |net, x| {
            let x = net.node("Frobnicate", "/odd", &[&x], vec![]);
            net.conv("/b", &x, [8, 4], 3, 1, 1)
        }),
        because("`/odd` behind it is a barrier")
    );
    assert_eq!(
        verdict_on_a(1, |net, x| net.conv("/b", &x, [8, 8], 3, 1, 8)),
        because("the next layer, `/b/Conv`, cannot take other channels: it has 8 conv groups")
    );
    assert_eq!(
        verdict_on_a(1, |net, x| {
            let weight = net.random("w", &[4, 8, 1, 1], 1.0);
            let weight = net.node("Neg", "/w/Neg", &[&weight], vec![]);
            net.node("Conv", "/b/Conv", &[&x, &weight], vec![])
        }),
        because("the next layer, `/b/Conv`, cannot take other channels: its weight is not stored")
    );
}

#[test]
fn a_stride_that_nothing_can_take_over_keeps_the_layer() {
    let flat = |net: &mut Builder, x: String| {
        let flat = net.node("Flatten", "/Flatten", &[&x], vec![]);
        net.gemm("/fc", &flat, 8 * 25, 3)
    };
    assert_eq!(
        verdict_on_a(2, flat),
        "a: ; it changes channels and resolution: N×4×9×9 into N×8×5×5; no pool beside it nor the next layer, `/fc/Gemm`, can \
         take over its stride"
    );
    assert_eq!(
        verdict_on_a(2, |net, x| net.conv("/b", &x, [8, 4], 3, 1, 1)),
        "a: ShrinkChain; it changes channels and resolution: N×4×9×9 into N×8×5×5"
    );
}

#[test]
fn a_layer_that_costs_less_than_the_next_would_grow_stays() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[3, 8, 8]);
    let x = net.conv("/stem", &x, [3, 16], 3, 1, 1);
    let x = net.conv("/a", &x, [16, 4], 1, 1, 1);
    let x = net.conv("/b", &x, [4, 4], 3, 1, 1);
    net.output(&x);
    assert_eq!(
        verdicts(&net.build())[1],
        "a: ; it changes channels: N×16×8×8 into N×4×8×8; without it the next layer would cost more than it does"
    );
}

#[test]
fn a_weight_that_a_caller_may_replace_is_not_rewritten() {
    let mut net = Builder::new(1);
    let x = net.input("input", &[3, 8, 8]);
    let x = net.conv("/stem", &x, [3, 4], 3, 1, 1);
    let x = net.conv("/a", &x, [4, 8], 3, 1, 1);
    let weight = net.random("b.weight", &[4, 8, 1, 1], 1.0);
    net.default_input("b.weight", &[4, 8, 1, 1]);
    let x = net.node("Conv", "/b/Conv", &[&x, &weight], vec![]);
    net.output(&x);
    assert_eq!(
        verdicts(&net.build())[1],
        "a: ; it changes channels: N×4×8×8 into N×8×8×8; the next layer, `/b/Conv`, cannot take other channels: `b.weight` is a \
         graph input, which a caller may replace"
    );
}

#[test]
fn names_of_units_are_unique_whatever_the_nodes_are_called() {
    let mut net = Builder::new(1);
    let mut x = net.input("input", &[4, 8, 8]);
    for (place, name) in ["a/Conv", "a/Conv2", "a#2/Conv"].into_iter().enumerate() {
        let weight = net.random(&format!("w{place}"), &[4, 4, 1, 1], 1.0);
        x = net.node("Conv", name, &[&x, &weight], vec![]);
    }
    net.output(&x);
    let units = Units::find(&net.build(), &Default::default()).unwrap();
    assert_eq!(units.units.iter().map(|unit| unit.name.as_str()).collect::<Vec<_>>(), ["a", "a#2", "a#2#2"]);
}
