use insta::assert_snapshot;
use layerprune_testing::{densenet, mobilenet_v2};

use crate::nets;
use crate::place::Place;

#[test]
fn blocks_of_a_residual_net_are_listed_with_cost_and_verdict() {
    assert_snapshot!(Place::with(&nets::residual()).run("inspect net.onnx"), @r#"
    exit status: 0
    ----- stdout
    layer     kind   output   parameters           MACs  removable
    conv1     layer  N×4×8×8          44   2.3 k  3.2 %  no: it is the stem: it changes channels: N×1×8×8 into N×4×8×8
    layer1.0  block  N×4×8×8         304  18.4 k 25.6 %  yes: bypass, exact
    layer1.1  block  N×4×8×8         304  18.4 k 25.6 %  yes: bypass, exact
    layer2.0  block  N×8×4×4         896  13.8 k 19.2 %  branch only: it changes channels and resolution: N×4×8×8 into N×8×4×4 (shortcut: Conv + BatchNormalization)
    layer2.1  block  N×8×4×4       1.2 k  18.4 k 25.6 %  yes: bypass, exact
    fc        layer  N×3              27      24  0.0 %  no: its exit `/fc/Gemm_output_0` is a graph output

    3 of 6 layers can be removed, 1 more by `--drop-branches`. Model: 2.8 k parameters, 72.0 k MACs for one sample.

    Weights in no layer of their own:
      /layer2/layer2.0/downsample/downsample.0/Conv: it is on the shortcut of the block that ends in `/layer2/layer2.0/Add`
    "#);
}

#[test]
fn layers_of_a_chain_are_listed_with_cost_and_verdict() {
    assert_snapshot!(Place::with(&nets::chain()).run("inspect net.onnx"), @r#"
    exit status: 0
    ----- stdout
    layer       kind   output    parameters           MACs  removable
    features.0  layer  N×8×8×8          232  13.8 k 13.0 %  no: it is the stem: it changes channels: N×3×8×8 into N×8×8×8
    features.1  layer  N×8×8×8          592  36.9 k 34.8 %  yes: bypass
    features.3  layer  N×16×4×4       1.2 k  18.4 k 17.4 %  by shrinking: it changes channels: N×8×4×4 into N×16×4×4
    features.4  layer  N×16×4×4       2.3 k  36.9 k 34.8 %  yes: bypass
    fc          layer  N×3               51      48  0.0 %  no: its exit `/fc/Gemm_output_0` is a graph output

    2 of 5 layers can be removed, 1 more by `--shrink-chains`. Model: 4.4 k parameters, 106.0 k MACs for one sample.
    "#);
}

#[test]
fn the_tree_shows_what_lies_in_blocks_and_what_holds_them() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("inspect net.onnx --tree"), @"
    exit status: 0
    ----- stdout
    layer                      kind   output   parameters           MACs  removable
    conv1                      layer  N×4×8×8          44   2.3 k  3.2 %  no: it is the stem: it changes channels: N×1×8×8 into N×4×8×8
    layer1                     stage  N×4×8×8         608  36.9 k 51.2 %  yes: bypass, exact
      layer1.0                 block  N×4×8×8         304  18.4 k 25.6 %  yes: bypass, exact
        layer1.0.conv1         layer  N×4×8×8         152   9.2 k 12.8 %  yes: bypass
        layer1.0.conv2         layer  N×4×8×8         152   9.2 k 12.8 %  yes: bypass
      layer1.1                 block  N×4×8×8         304  18.4 k 25.6 %  yes: bypass, exact
        layer1.1.conv1         layer  N×4×8×8         152   9.2 k 12.8 %  yes: bypass
        layer1.1.conv2         layer  N×4×8×8         152   9.2 k 12.8 %  yes: bypass
    layer2                     stage  N×8×4×4       2.1 k  32.8 k 45.5 %  no: it changes channels and resolution: N×4×8×8 into N×8×4×4
      layer2.0                 block  N×8×4×4         896  13.8 k 19.2 %  branch only: it changes channels and resolution: N×4×8×8 into N×8×4×4 (shortcut: Conv + BatchNormalization)
        layer2.0.conv1         layer  N×8×4×4         304   4.6 k  6.4 %  by shrinking: it changes channels and resolution: N×4×8×8 into N×8×4×4
        layer2.0.conv2         layer  N×8×4×4         592   9.2 k 12.8 %  yes: bypass
        layer2.0.downsample.0  layer  N×8×4×4          48     512  0.7 %  no: it changes channels and resolution: N×4×8×8 into N×8×4×4; `/layer2/layer2.0/Add` behind it reads more than its output
      layer2.1                 block  N×8×4×4       1.2 k  18.4 k 25.6 %  yes: bypass, exact
        layer2.1.conv1         layer  N×8×4×4         592   9.2 k 12.8 %  yes: bypass
        layer2.1.conv2         layer  N×8×4×4         592   9.2 k 12.8 %  yes: bypass
    fc                         layer  N×3              27      24  0.0 %  no: its exit `/fc/Gemm_output_0` is a graph output

    What is indented lies in what stands above it. `prune --remove NAME` takes any of these names.

    Weights in no layer of their own:
      /layer2/layer2.0/downsample/downsample.0/Conv: it is on the shortcut of the block that ends in `/layer2/layer2.0/Add`
    ");
    let json = place.ok("inspect net.onnx --tree --format json").json();
    let stage = json["units"].as_array().unwrap().iter().find(|unit| unit["name"] == "layer1").unwrap();
    assert_eq!((&stage["kind"], &stage["scored"], &stage["exact"]), (&"stage".into(), &false.into(), &true.into()));
    let block = &stage["children"][0];
    assert_eq!((&block["name"], &block["scored"]), (&"layer1.0".into(), &true.into()));
    assert_eq!(block["children"][1]["name"], "layer1.0.conv2");
}

#[test]
fn dense_layers_are_listed_and_can_go() {
    let place = Place::with(&densenet(1, 8, 4, 2));
    let done = place.ok("inspect net.onnx");
    let line = "features.denseblock1.denselayer2  dense layer  N×4×8×8";
    assert!(done.stdout.contains(line), "{done}");
    assert!(done.stdout.contains("yes: with its features"), "{done}");
    let json = place
        .ok("prune net.onnx --remove *denseblock1.denselayer2,features.denseblock2.denselayer1 -o pruned.onnx --format json")
        .json();
    assert_eq!(json["plan"]["removed"][0]["way"], "drop-features");
    let left = place.ok("inspect pruned.onnx --format json").json();
    assert_eq!(json["plan"]["after"], left["total"]);
    let names: Vec<&str> =
        left["units"].as_array().unwrap().iter().map(|unit| unit["name"].as_str().unwrap()).collect();
    let dense: Vec<&str> = names.into_iter().filter(|name| name.contains("denselayer")).collect();
    assert_eq!(dense, ["features.denseblock1.denselayer1", "features.denseblock2.denselayer2"]);
    place.ok("prune net.onnx --criterion weight-norm --layers 3 -o ranked.onnx");
}

#[test]
fn inverted_residuals_are_named_after_their_modules() {
    let json =
        Place::with(&mobilenet_v2(1, 8, &[(8, 1), (16, 2), (16, 1)])).ok("inspect net.onnx --format json").json();
    let units: Vec<_> = json["units"].as_array().unwrap().iter().map(|unit| (&unit["name"], &unit["ways"])).collect();
    let removable: Vec<_> =
        units.iter().filter(|(_, ways)| **ways != serde_json::json!([])).map(|(name, _)| *name).collect();
    assert_eq!(removable, ["features.1", "features.3"], "{units:?}");
}

#[test]
fn json_has_the_units_of_the_table_with_their_numbers() {
    let json = Place::with(&nets::residual()).ok("inspect net.onnx --format json").json();
    assert_eq!(json["schema"], 1);
    let names: Vec<_> = json["units"].as_array().unwrap().iter().map(|unit| unit["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["conv1", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "fc"]);
    let block = &json["units"][1];
    assert_eq!(block["kind"], "block");
    assert_eq!(block["ways"], serde_json::json!(["bypass"]));
    assert_eq!(block["exact"], true);
    assert_eq!(block["reason"], serde_json::Value::Null);
    // Two convolutions of 4x4x3x3 and two batch norms with scale and shift; each convolution on 8x8 positions.
    assert_eq!(block["parameters"], 2 * (4 * 4 * 9 + 2 * 4));
    assert_eq!(block["macs"], 2 * 4 * 4 * 9 * 64);
    let projecting = &json["units"][3];
    assert_eq!(projecting["ways"], serde_json::json!(["drop-branch"]));
    assert!(projecting["reason"].is_string());
    assert_eq!(json["barriers"], serde_json::json!([]));
}

#[test]
fn a_node_that_no_rule_knows_is_named_as_a_barrier() {
    assert_snapshot!(Place::with(&nets::mysterious()).run("inspect net.onnx"), @r#"
exit status: 0
----- stdout
layer  kind   output   parameters   MACs  removable
stem   layer  N×4×8×8          36  2.3 k  no: it is the stem: it changes channels: N×1×8×8 into N×4×8×8
last   layer  ?               144      ?  no: its shapes are not known behind `/middle/Mystery`, a barrier
fc     layer  ?1×3             15     12  no: its exit `/fc/Gemm_output_0` is a graph output

0 of 3 layers can be removed. Model: 195 parameters, unknown MACs for one sample.

1 nodes that no rule can follow (barriers):
  /middle/Mystery: operator `Mystery` is not known
"#);
}

#[test]
fn a_model_without_layers_is_told_by_the_exit_status() {
    assert_snapshot!(Place::with(&nets::without_layers()).run("inspect net.onnx"), @r#"
exit status: 1
----- stdout
layer  kind  output  parameters  MACs  removable

0 of 0 layers can be removed. Model: 0 parameters, 0 MACs for one sample.
----- stderr
error: the model holds no layer that this program knows
"#);
}

#[test]
fn a_missing_file_is_named() {
    assert_snapshot!(Place::new().run("inspect none.onnx"), @r#"
exit status: 1
----- stderr
error: cannot use the model `none.onnx`
  because: cannot read `none.onnx`
  because: No such file or directory (os error 2)
"#);
}

#[test]
fn a_text_file_is_no_model() {
    let place = Place::new();
    place.write("net.onnx", "This is a letter, not a model.\n");
    assert_snapshot!(place.run("inspect net.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: cannot use the model `net.onnx`
      because: not an ONNX model: failed to decode Protobuf message: unexpected end group tag (of 31 bytes)
    "#);
}

#[test]
fn an_empty_file_is_no_model() {
    let place = Place::new();
    place.write("net.onnx", "");
    place.run("inspect net.onnx").fails(1, &["error: cannot use the model `net.onnx`", "because: not an ONNX model"]);
}

#[test]
fn a_folder_is_no_model() {
    Place::new().run("inspect .").fails(1, &["error: cannot use the model `.`"]);
}

#[test]
fn a_truncated_model_is_refused_wherever_it_ends() {
    let whole = nets::residual().to_bytes();
    let place = Place::new();
    for eighths in 1..8 {
        place.write("net.onnx", &whole[..whole.len() * eighths / 8]);
        place.run("inspect net.onnx").fails(1, &["error: cannot use the model `net.onnx`", "  because: "]);
    }
}

#[test]
fn an_input_shape_that_contradicts_the_file_is_refused() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("inspect net.onnx --input-shape 1,3,8,8"), @r#"
    exit status: 1
    ----- stderr
    error: input `input` is declared as N×1×8×8, which [1, 3, 8, 8] does not fit
    "#);
    assert_snapshot!(place.run("inspect net.onnx --input-shape image=1,1,8,8"), @r#"
    exit status: 1
    ----- stderr
    error: the model has no input `image`; its inputs are `input`
    "#);
    assert_snapshot!(place.run("inspect net.onnx --input-shape 1,1,8"), @r#"
    exit status: 1
    ----- stderr
    error: input `input` is declared as N×1×8×8, which [1, 1, 8] does not fit
    "#);
}

#[test]
fn an_input_shape_that_is_no_list_of_sizes_is_wrong_usage() {
    let place = Place::with(&nets::residual());
    for text in ["", "1,,8", "1,1,8,0", "1,1,-8,8", "big"] {
        let expected = format!("error: `--input-shape {text}` is no list of sizes above 0\n");
        let done = place.run(&format!("inspect net.onnx --input-shape={text}"));
        assert_eq!((done.code, done.stderr), (Some(2), expected));
    }
}

#[test]
fn an_input_shape_is_taken_with_and_without_a_name() {
    let place = Place::with(&nets::residual());
    let plain = place.ok("inspect net.onnx").stdout.replace("N×", "1×");
    for shape in ["1,1,8,8", "input=1,1,8,8", "1x1x8x8"] {
        assert_eq!(place.ok(&format!("inspect net.onnx --input-shape {shape}")).stdout, plain);
    }
}
