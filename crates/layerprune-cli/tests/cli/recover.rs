//! Recovery after a cut, from images alone.

use insta::assert_snapshot;
use layerprune::onnx::Model;

use crate::images;
use crate::nets;
use crate::place::Place;

const DATA: &str = "--data idx:data --normalize none";

fn file_of_images() -> Place {
    let place = Place::with_data(&nets::residual());
    images::write(&place.path("data"), 40, 10);
    place
}

/// Operators of a model in order.
fn operators(place: &Place, model: &str) -> Vec<String> {
    let model = Model::read(place.path(model)).unwrap();
    model.graph.nodes().map(|(_, node)| node.op_type().to_owned()).collect()
}

#[test]
fn a_bridge_takes_the_place_of_a_removed_block_and_lowers_the_error() {
    let place = file_of_images();
    let done =
        place.ok(&format!("prune net.onnx --remove layer1.1 --recover bridge {DATA} -o pruned.onnx --format json"));
    let json = done.json();
    assert_eq!(json["plan"]["removed"][0]["way"], "bridge");
    let recovery = &json["recovery"];
    assert_eq!(recovery["steps"], serde_json::json!(["bridge"]));
    assert_eq!((&recovery["images"], &recovery["held_out_images"]), (&108.into(), &12.into()));
    let fit = &recovery["bridges"][0];
    assert_eq!((&fit["unit"], &fit["parameters"], &fit["macs"]), (&"layer1.1".into(), &20.into(), &1024.into()));
    assert!(fit["r2"].as_f64().unwrap() > 0.0 && fit["held_out_r2"].as_f64().is_some(), "{done}");
    let error = |when: &str| recovery["output_error"][when].as_f64().unwrap();
    assert!(error("after") < error("before"), "{done}");
    assert_eq!(json["plan"]["after"], place.ok("inspect pruned.onnx --format json").json()["total"]);
}

#[test]
fn what_recovery_did_is_told() {
    let place = file_of_images();
    let done =
        place.ok(&format!("prune net.onnx --remove layer1.1,layer2.1 --recover scale-shift {DATA} -o pruned.onnx"));
    let numbers = |line: &str| line.split("R²").next().unwrap().split("held-out images:").next().unwrap().to_owned();
    let lines: Vec<String> = done.stdout.lines().map(numbers).collect();
    assert_snapshot!(lines.join("\n"), @"
    removed 2 layers:
      layer1.1 (a fitted scale and shift of each channel in its place)
      layer2.1 (a fitted scale and shift of each channel in its place)
    parameters: 2.8 k → 1.3 k (-52.2 %)
    MACs: 72.0 k → 35.5 k (-50.7 %)
    fitted to 108 images, no labels used:
      layer1.1: 
      layer2.1: 
    relative error of the output on 12 
    written: pruned.onnx
    its accuracy has changed: `recalibrate` or `finetune` it, then `eval`
    ");
}

#[test]
fn layers_that_change_channels_or_resolution_can_be_bridged() {
    let place = file_of_images();
    place.run("prune net.onnx --remove layer2.0 -o pruned.onnx").fails(1, &["`layer2.0` cannot be removed"]);
    place.ok(&format!("prune net.onnx --remove layer2.0 --recover bridge {DATA} -o pruned.onnx"));
    let names = place.ok("inspect pruned.onnx --format json").json();
    let names: Vec<&str> =
        names["units"].as_array().unwrap().iter().map(|unit| unit["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["conv1", "layer1.0", "layer1.1", "layer2.0.bridge", "layer2.1", "fc"]);
    place.run(&format!("prune net.onnx --remove layer2.0 --recover scale-shift {DATA} -o other.onnx")).fails(
        1,
        &["`layer2.0` cannot be removed: a scale and shift of each channel keeps their number, and it turns 4 into 8"],
    );
}

#[test]
fn labels_play_no_part() {
    let (place, other) = (file_of_images(), file_of_images());
    // The same images, every one with the label 0.
    let mut labels = other.bytes("data/train-labels-idx1-ubyte");
    labels[8..].fill(0);
    other.write("data/train-labels-idx1-ubyte", labels);
    let layers = "--remove layer1.0,layer2.1";
    for (what, recover) in [
        (layers, "bridge"),
        (layers, "scale-shift,recalibrate"),
        (layers, "bias"),
        ("--filters 40% --criterion weight-norm", "compensate,bias"),
    ] {
        for place in [&place, &other] {
            place.ok(&format!("prune net.onnx {what} --recover {recover} {DATA} -o pruned.onnx"));
        }
        assert_eq!(place.bytes("pruned.onnx"), other.bytes("pruned.onnx"), "{recover}");
    }
}

#[test]
fn the_same_command_gives_the_same_bytes_and_another_seed_others() {
    let place = file_of_images();
    let command = format!("prune net.onnx --remove layer1.1 --recover bridge --recover-samples 20 {DATA}");
    place.ok(&format!("{command} -o a.onnx"));
    place.ok(&format!("{command} -o b.onnx --threads 1"));
    place.ok(&format!("{command} -o c.onnx --seed 3"));
    assert_eq!(place.bytes("a.onnx"), place.bytes("b.onnx"));
    assert_ne!(place.bytes("a.onnx"), place.bytes("c.onnx"));
}

#[test]
fn batch_norms_are_recalibrated_after_bridges() {
    let place = file_of_images();
    let command = format!("prune net.onnx --criterion weight-norm --layers 2 {DATA}");
    let json = place.ok(&format!("{command} --recover bridge,recalibrate -o both.onnx --format json")).json();
    assert_eq!(json["recovery"]["steps"], serde_json::json!(["bridge", "recalibrate"]));
    place.ok(&format!("{command} --recover bridge -o bridge.onnx"));
    assert_ne!(place.bytes("both.onnx"), place.bytes("bridge.onnx"));
    assert_eq!(operators(&place, "both.onnx"), operators(&place, "bridge.onnx"));
    let json = place.ok(&format!("{command} --recover recalibrate -o plain.onnx --format json")).json();
    assert_eq!(json["recovery"]["bridges"], serde_json::json!([]));
    assert_eq!(operators(&place, "plain.onnx").iter().filter(|op| *op == "Conv").count(), 6);
}

#[test]
fn nothing_changes_without_recovery() {
    let place = file_of_images();
    place.ok("prune net.onnx --remove layer1.1 -o plain.onnx");
    let done = place.ok(&format!("prune net.onnx --remove layer1.1 --recover none {DATA} -o none.onnx --format json"));
    assert_eq!(place.bytes("plain.onnx"), place.bytes("none.onnx"));
    assert_eq!(done.json()["recovery"], serde_json::Value::Null);
}

#[test]
fn a_plan_with_bridges_needs_recovery_and_any_plan_can_be_bridged() {
    let place = file_of_images();
    place.ok("prune net.onnx --remove layer1.1 --dry-run --save-plan bypass.json");
    place.ok("prune net.onnx --remove layer2.0 --recover bridge --dry-run --save-plan bridge.json");
    assert_eq!(place.json("bridge.json")["removed"][0]["way"], "bridge");
    assert_snapshot!(place.run("prune net.onnx --plan bridge.json -o pruned.onnx"), @"
    exit status: 1
    ----- stderr
    error: `layer2.0` cannot be removed: the plan puts what has to be fitted in its place: give `--recover bridge`
    hint: `layerprune inspect MODEL` says of every layer why it cannot go; `--drop-branches`, `--shrink-chains` and `--recover bridge` allow more
    ");
    let done =
        place.ok(&format!("prune net.onnx --plan bypass.json --recover bridge {DATA} -o pruned.onnx --format json"));
    assert_eq!(done.json()["plan"]["removed"][0]["way"], "bridge");
    place
        .run(&format!("prune net.onnx --plan bridge.json --recover scale-shift {DATA} -o other.onnx"))
        .fails(1, &["`layer2.0` cannot be removed: a scale and shift"]);
}

#[test]
fn a_bridge_between_linear_layers_is_folded() {
    let mut net = layerprune_testing::Builder::new(3);
    let x = net.input("input", &[1, 8, 8]);
    let x = net.conv("/stem", &x, [1, 4], 3, 1, 1);
    let x = net.node("Relu", "/stem/Relu", &[&x], vec![]);
    let x = net.conv("/middle", &x, [4, 4], 3, 1, 1);
    let x = net.conv("/last", &x, [4, 3], 1, 1, 1);
    let x = net.node("GlobalAveragePool", "/pool/GlobalAveragePool", &[&x], vec![]);
    let x = net.node("Flatten", "/Flatten", &[&x], vec![]);
    net.output(&x);
    let place = Place::with_data(&net.build());
    let done =
        place.ok(&format!("prune net.onnx --remove middle --recover bridge {DATA} -o pruned.onnx --format json"));
    let json = done.json();
    assert_eq!(json["recovery"]["bridges"][0]["folded_into"], "/last/Conv");
    assert_eq!(json["plan"]["after"], place.ok("inspect pruned.onnx --format json").json()["total"]);
    assert_eq!(operators(&place, "pruned.onnx"), ["Conv", "Relu", "Conv", "GlobalAveragePool", "Flatten"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = file_of_images();
    let message = |recover: &str, more: &str| {
        place.run(&format!("prune net.onnx --remove layer1.1 --recover {recover} {more} -o pruned.onnx"))
    };
    message("bridge", "").fails(2, &["`--recover` needs images: give `--data KIND:PATH`"]);
    message("none,bridge", DATA).fails(2, &["`--recover none,bridge`: `none` stands alone"]);
    message("bridge,scale-shift", DATA).fails(2, &["`--recover bridge,scale-shift` would fit bridges twice"]);
    message("recalibrate,bridge,recalibrate", DATA).fails(2, &["would do `recalibrate` twice"]);
    message("bridge", &format!("{DATA} --drop-branches")).fails(2, &["`--drop-branches` and bridges are two ways"]);
    message("bridge", &format!("{DATA} --recover-samples 0")).fails(2, &["--recover-samples"]);
    message("training", DATA).fails(2, &["'training'"]);
    assert_eq!(place.names(), ["data", "net.onnx"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_nothing_behind() {
    let place = file_of_images();
    images::write(&place.path("data"), 20_000, 10);
    place.write("pruned.onnx", "old");
    let running = place.start(&format!(
        "prune net.onnx --remove layer1.0,layer1.1,layer2.1 --recover bridge --recover-samples 50000 {DATA} -o pruned.onnx"
    ));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let done = running.interrupt();
    done.fails(1, &["error: interrupted; nothing was written"]);
    assert_eq!(
        (place.bytes("pruned.onnx"), place.names()),
        (b"old".to_vec(), vec!["data".to_owned(), "net.onnx".to_owned(), "pruned.onnx".to_owned()])
    );
}

#[test]
fn what_reads_removed_channels_is_fitted_anew() {
    let place = file_of_images();
    let command = format!("prune net.onnx --filters 40% --criterion weight-norm {DATA}");
    let done = place.ok(&format!("{command} --recover compensate,recalibrate -o pruned.onnx --format json"));
    let json = done.json();
    let recovery = &json["recovery"];
    assert_eq!(recovery["steps"], serde_json::json!(["compensate", "recalibrate"]));
    let fits = recovery["compensated"].as_array().unwrap();
    assert!(fits.iter().all(|fit| fit["taken"] == true && fit["r2"].as_f64() > fit["r2_before"].as_f64()), "{done}");
    let error = |when: &str| recovery["output_error"][when].as_f64().unwrap();
    assert!(error("after") < error("before"), "{done}");
    place.ok(&format!("{command} --recover none -o plain.onnx"));
    assert_eq!(operators(&place, "pruned.onnx"), operators(&place, "plain.onnx"));
    let text = place.ok(&format!("{command} --recover compensate,bias -o pruned.onnx")).stdout;
    let count = fits.len();
    assert!(text.contains(&format!("fitted the weights of {count} nodes to what they gave, no labels used")), "{text}");
    assert!(text.contains("corrected the biases of "), "{text}");
}

#[test]
fn steps_that_do_not_go_with_what_is_removed_are_refused() {
    let place = file_of_images();
    assert_snapshot!(place.run(&format!("prune net.onnx --remove layer1.1 --recover compensate {DATA} -o a.onnx")), @"
    exit status: 2
    ----- stderr
    error: `--recover compensate` is for what reads channels that are gone; in place of layers, use `--recover bridge`
    ");
    assert_snapshot!(place.run(&format!("prune net.onnx --filters 20% --recover bridge {DATA} -o a.onnx")), @"
    exit status: 2
    ----- stderr
    error: a bridge stands for a whole layer; where channels go, use `--recover compensate`
    ");
    assert_snapshot!(place.run(&format!("prune net.onnx --filters 20% --recover bias,bias {DATA} -o a.onnx")), @"
    exit status: 2
    ----- stderr
    error: `--recover bias,bias` would do `bias` twice
    ");
    place.ok("prune net.onnx --remove layer1.1 --dry-run --save-plan layers.json");
    place
        .run(&format!("prune net.onnx --plan layers.json --recover compensate {DATA} -o a.onnx"))
        .fails(2, &["in place of layers, use `--recover bridge`"]);
    place.ok("prune net.onnx --filters 20% --dry-run --save-plan filters.json");
    place
        .run(&format!("prune net.onnx --plan filters.json --recover bridge {DATA} -o a.onnx"))
        .fails(2, &["a bridge stands for a whole layer"]);
    let done = place.ok(&format!("prune net.onnx --plan filters.json --recover compensate {DATA} -o a.onnx"));
    assert!(done.stdout.contains("fitted the weights of"), "{done}");
}
