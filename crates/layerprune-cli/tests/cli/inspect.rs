use insta::assert_snapshot;
use layerprune_testing::mobilenet_v2;

use crate::nets;
use crate::place::Place;

#[test]
fn blocks_of_a_residual_net_are_listed_with_cost_and_verdict() {
    assert_snapshot!(Place::with(&nets::residual()).run("inspect net.onnx"), @"");
}

#[test]
fn layers_of_a_chain_are_listed_with_cost_and_verdict() {
    assert_snapshot!(Place::with(&nets::chain()).run("inspect net.onnx"), @"");
}

#[test]
fn inverted_residuals_are_named_after_their_modules() {
    let json =
        Place::with(&mobilenet_v2(1, 8, &[(8, 1), (16, 2), (16, 1)])).ok("inspect net.onnx --format json").json();
    let units: Vec<_> = json["units"].as_array().unwrap().iter().map(|unit| (&unit["name"], &unit["ways"])).collect();
    let removable: Vec<_> = units.iter().filter(|(_, ways)| **ways != serde_json::json!([])).map(|(name, _)| *name).collect();
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
    assert_snapshot!(Place::with(&nets::mysterious()).run("inspect net.onnx"), @"");
}

#[test]
fn a_model_without_layers_is_told_by_the_exit_status() {
    assert_snapshot!(Place::with(&nets::without_layers()).run("inspect net.onnx"), @"");
}

#[test]
fn a_missing_file_is_named() {
    assert_snapshot!(Place::new().run("inspect none.onnx"), @"");
}

#[test]
fn a_text_file_is_no_model() {
    let place = Place::new();
    place.write("net.onnx", "This is a letter, not a model.\n");
    assert_snapshot!(place.run("inspect net.onnx"), @"");
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
    assert_snapshot!(place.run("inspect net.onnx --input-shape 1,3,8,8"), @"");
    assert_snapshot!(place.run("inspect net.onnx --input-shape image=1,1,8,8"), @"");
    assert_snapshot!(place.run("inspect net.onnx --input-shape 1,1,8"), @"");
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
    let plain = place.ok("inspect net.onnx").stdout.replace("N×", "2×");
    for shape in ["2,1,8,8", "input=2,1,8,8", "2x1x8x8"] {
        assert_eq!(place.ok(&format!("inspect net.onnx --input-shape {shape}")).stdout, plain);
    }
}
