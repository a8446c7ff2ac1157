use insta::assert_snapshot;
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune_testing::{Builder, ints};

use crate::nets;
use crate::place::Place;

/// Two convolutions of which the first has two filters of zeros.
fn with_dead_channels() -> Model {
    let mut net = Builder::new(1);
    let x = net.input("input", &[1, 8, 8]);
    let numbers: Vec<f32> = (0..36).map(|place| if [1, 2].contains(&(place / 9)) { 0.0 } else { 0.1 }).collect();
    let weight = net.tensor("a.weight", tensor::from_f32(&[4, 1, 3, 3], &numbers));
    let a = net.node("Conv", "/a/Conv", &[&x, &weight], vec![ints("pads", &[1; 4])]);
    let a = net.node("Relu", "/a/Relu", &[&a], vec![]);
    let y = net.conv("/b", &a, [4, 3], 1, 1, 1);
    net.output(&y);
    net.build()
}

#[test]
fn a_share_of_the_filters_goes() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("prune net.onnx --filters 50% --scope uniform -o pruned.onnx"), @"
    exit status: 0
    ----- stdout
    channels of     removed  stay
    conv1                 2     2
    layer1.0.conv1        2     2
    layer1.1.conv1        2     2
    layer2.0.conv1        4     4
    layer2.0.conv2        4     4
    layer2.1.conv1        4     4
    removed 18 channels of 6 groups
    parameters: 2.8 k → 749 (-73.3 %)
    MACs: 72.0 k → 18.6 k (-74.2 %)
    written: pruned.onnx
    its accuracy has changed: `recalibrate` or `finetune` it, then `eval`
    ");
    let plan = place.ok("prune net.onnx --filters 50% -o pruned.onnx --save-plan plan.json --format json").json();
    let counted = place.ok("inspect pruned.onnx --format json").json();
    assert_eq!(plan["plan"]["after"], counted["total"]);
    place.ok("prune net.onnx --plan plan.json -o again.onnx");
    assert_eq!(place.ok("verify pruned.onnx again.onnx --format json").json()["same"], true);
}

#[test]
fn dead_channels_go_and_no_output_changes() {
    let place = Place::with(&with_dead_channels());
    assert_snapshot!(place.run("prune net.onnx --dead-channels -o pruned.onnx"), @"
    exit status: 0
    ----- stdout
    channels of  removed  stay
    a                  2     2
    removed 2 channels of 1 group
    parameters: 48 → 24 (-50.0 %)
    MACs: 3.1 k → 1.5 k (-50.0 %)
    written: pruned.onnx
    what was removed did nothing: the outputs are the same, as `verify` shows
    ");
    assert_eq!(place.ok("verify net.onnx pruned.onnx --tolerance 1e-5 --format json").json()["same"], true);
    assert_snapshot!(place.run("prune pruned.onnx --dead-channels -o again.onnx"), @"
    exit status: 0
    ----- stdout
    nothing is removed
    parameters: 24 → 24 (-0.0 %)
    MACs: 1.5 k → 1.5 k (-0.0 %)
    written: again.onnx
    ");
}

#[test]
fn groups_and_what_holds_the_rest_are_listed() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("inspect net.onnx --channels"), @"
    exit status: 0
    ----- stdout
    channels of     number  made by
    conv1                4  3 layers: conv1, layer1.0.conv2, layer1.1.conv2
    layer1.0.conv1       4  layer1.0.conv1
    layer1.1.conv1       4  layer1.1.conv1
    layer2.0.conv1       8  layer2.0.conv1
    layer2.0.conv2       8  3 layers: layer2.0.conv2, layer2.0.downsample.0, layer2.1.conv2
    layer2.1.conv1       8  layer2.1.conv1

    6 groups; 99.9 % of the parameters lie in channels that can go.

    Channels that stay (`--why LAYER` shows the way to what holds them):
      fc: 3 of 3: axis 1 of `/fc/Gemm_output_0`: it is an axis of a model output
    ");
}

#[test]
fn what_holds_a_layer_is_shown() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("inspect net.onnx --why fc"), @"
    exit status: 0
    ----- stdout
    what keeps `fc` from being removed: its exit `/fc/Gemm_output_0` is a graph output
    what holds its channels:
      index 0 of axis 1 of `/fc/Gemm_output_0`
      held: axis 1 of `/fc/Gemm_output_0`: it is an axis of a model output
    ");
    assert_snapshot!(place.run("inspect net.onnx --why layer2.0"), @"
    exit status: 0
    ----- stdout
    what keeps `layer2.0` from being removed: it changes channels and resolution: N×4×8×8 into N×8×4×4 (shortcut: Conv + BatchNormalization)
    ");
    assert_snapshot!(place.run("inspect net.onnx --why layer1.0.conv1"), @"
    exit status: 0
    ----- stdout
    what keeps `layer1.0.conv1` from being removed: nothing: it can be bypassed
    nothing holds its channels: each can go
    ");
    assert_snapshot!(place.run("inspect net.onnx --why nothing"), @"
    exit status: 2
    ----- stderr
    error: there is no layer `nothing`; `inspect MODEL` and `inspect MODEL --channels` list them
    ");
}

#[test]
fn protected_layers_stay_whole_and_only_those_allowed_lose_filters() {
    let place = Place::with(&nets::residual());
    let groups = |line: &str| {
        let json =
            place.ok(&format!("prune net.onnx --filters 50% --scope uniform {line} --dry-run --format json")).json();
        let rows = json["plan"]["channels"].as_array().unwrap().clone();
        rows.iter().map(|row| row["group"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(groups("--only layer1.*.conv1"), ["layer1.0.conv1", "layer1.1.conv1"]);
    assert!(!groups("--protect layer1.0.conv2").contains(&"conv1".to_owned()), "conv1 shares channels with it");
    place.run("prune net.onnx --filters 50% --only nothing --dry-run").fails(2, &["no layer matches `nothing`"]);
    place.run("prune net.onnx --filters 50% --protect * --dry-run").fails(1, &["no filter may be removed"]);
}

#[test]
fn what_cannot_score_filters_is_refused() {
    let place = Place::with(&nets::folded());
    place.run("prune net.onnx --filters 30% --criterion imprint --dry-run").fails(1, &["scores layers, not filters"]);
    let folded = place.run("prune net.onnx --filters 30% --criterion batch-norm-scale --dry-run");
    folded.fails(1, &["needs a batch norm"]);
}

#[test]
fn a_model_checks_itself() {
    let place = Place::with(&nets::residual());
    let json = place.ok("selfcheck net.onnx --rounds 3 --format json").json();
    assert_eq!((json["rounds"].as_u64(), json["groups"].as_u64()), (Some(3), Some(6)));
    assert!(json["removed"].as_u64().unwrap() > 0 && json["worst"].as_f64().unwrap() <= 1e-3);
    place.add("none.onnx", &nets::without_layers());
    assert_snapshot!(place.run("selfcheck none.onnx"), @"
    exit status: 1
    ----- stderr
    error: nothing to check
      because: the model has no channel that could be removed
    ");
}
